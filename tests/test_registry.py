# SPDX-License-Identifier: Apache-2.0
"""Parts are built by name, errors say which name was meant, and an outside package adds parts."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from torch import nn

import libra_monai
from libra_monai import registry
from libra_monai.errors import ConfigError


def test_build_makes_the_part_and_keeps_its_json_form():
    part = libra_monai.build(kind="connector", name="linear", width=4, hidden_size=8)
    assert isinstance(part, nn.Module)
    assert part.build_spec == {"name": "linear", "width": 4, "hidden_size": 8}


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "says"),
    [
        ("connector", "tacc", {}, "Did you mean 'tac'"),
        ("conector", "tac", {}, "Did you mean 'connector'"),
        ("connector", "linear", {"widht": 3}, "widht"),
        ("metric", "nothing_like_it", {}, "Known: bleu"),
    ],
)
def test_a_wrong_name_is_named_with_a_remedy(kind, name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        libra_monai.build(kind=kind, name=name, **arguments)


def test_a_name_cannot_be_taken_twice():
    registry.find("connector", "tac")
    with pytest.raises(ConfigError, match="registered twice"):
        registry.register("connector", "tac")(nn.Identity)


def test_an_outside_package_adds_a_part_through_its_entry_point(tmp_path):
    (tmp_path / "mean_pool_plugin.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            from libra_monai.registry import register

            @register("connector", "mean_pool")
            class MeanPool(nn.Module):
                \"\"\"One token: the mean of all patches.\"\"\"
                views = ("current",)

                def __init__(self, width, hidden_size):
                    super().__init__()
                    self.width, self.hidden_size = width, hidden_size
                    self.projection = nn.Linear(width, hidden_size)

                def forward(self, features, index, embed):
                    pooled = features.layers[:, -1].mean(dim=1, keepdim=True)
                    return {"image": self.projection(pooled)[index["current"]]}
            """
        )
    )
    info = tmp_path / "mean_pool_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-pool-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[libra_monai.plugins]\nmean_pool = mean_pool_plugin\n")
    code = (
        "import libra_monai; p = libra_monai.build(kind='connector', name='mean_pool', width=4, hidden_size=8); "
        "print(type(p).__name__, p.hidden_size)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, check=True
    )
    assert run.stdout.split() == ["MeanPool", "8"]
