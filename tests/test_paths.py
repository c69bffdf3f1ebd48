# SPDX-License-Identifier: Apache-2.0
"""Files are found from anywhere, and paths of a datalist cannot leave their root."""

from __future__ import annotations

from pathlib import Path

import pytest

from libra_monai import paths
from libra_monai.errors import StudyError
from libra_monai.files import write_text


def test_bundle_and_overlays_are_found_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (Path(paths.bundle_root()) / "configs" / "train.json").is_file()
    assert (Path(paths.overlay_root()) / "stage" / "align.json").is_file()
    assert (Path(paths.tiny_model()) / "report_model.json").is_file()


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../b.png"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path, path):
    with pytest.raises(StudyError, match="leaves the data root"):
        paths.inside(tmp_path, path)


def test_a_link_that_leaves_the_root_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(StudyError, match="leaves the data root"):
        paths.inside(tmp_path / "root", "link/x.png")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    write_text(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "new \ud800")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
