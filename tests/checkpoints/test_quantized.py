# SPDX-License-Identifier: Apache-2.0
"""A model folder loaded with its language model in fewer bits: the rest in float, drafts as before or nearly."""

from __future__ import annotations

import pytest
import torch

from libra_monai import paths
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.errors import ConfigError
from libra_monai.metrics.labelers import present_findings
from libra_monai.networks.quantize import is_quantized, stored


def _bytes(part):
    return sum(stored(p)[1] for p in part.parameters())


@pytest.mark.parametrize("kind, package, share", [("int8", "torchao", 0.45), ("nf4", "bitsandbytes", 0.35)])
def test_the_language_model_shrinks_and_says_nearly_the_same(phantom, kind, package, share):
    pytest.importorskip(package)
    plain, small = load_pretrained(paths.tiny_model()), load_pretrained(paths.tiny_model(), quantize=kind)
    assert _bytes(small.model.language) < share * _bytes(plain.model.language)
    quantised = {name.split(".")[0] for name, part in small.model.named_modules() if is_quantized(part)}
    assert quantised == {"language"}
    assert all(p.dtype == torch.float32 for p in small.model.connector.parameters())
    records = [r for r in load_records(phantom / "datalist.json", "training") if r["prior"]][:4]
    said, wanted = (
        {(r["study_id"], *pair) for r in records for pair in present_findings(one.report_record(r, phantom).text)} for one in (small, plain)
    )
    assert len(said & wanted) >= 0.6 * len(said | wanted) and wanted


def test_an_unknown_kind_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match="int7"):
        load_pretrained(tmp_path / "nowhere", quantize="int7")
