# SPDX-License-Identifier: Apache-2.0
"""Saving costs one hash of the base, and never the folder that was there before."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from safetensors.torch import save_file

from libra_monai.checkpoints import folder as folder_module
from libra_monai.checkpoints import hashing, load_pretrained, save_model
from libra_monai.errors import ModelError

from ..networks.conftest import make_model
from .runs import CARD, entries_of, make_trained


def test_a_hash_is_what_sha256sum_prints_and_is_computed_once(tmp_path, base, processor, monkeypatch):
    model = make_trained(str(base), {"connector": True})
    monkeypatch.setattr(hashing, "_known", {})
    small = save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    file = base / "language/model.safetensors"
    assert entries_of(small)["language"]["base"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    read = []
    monkeypatch.setattr(hashing, "open", lambda path, mode: read.append(path) or open(path, mode), raising=False)
    save_model(model, processor, tmp_path / "small", CARD, base=str(base))
    load_pretrained(small)
    assert not read
    os.utime(file, ns=(1, 1))
    load_pretrained(small)
    assert read == [os.path.realpath(file)]


def test_the_hash_of_several_files_is_that_of_their_list(tmp_path):
    for name in "ba":
        (tmp_path / name).write_text(name)
    lines = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in "ab")
    assert hashing.digest([tmp_path / "b", tmp_path / "a"]) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("with_base", [False, True])
def test_a_full_disk_leaves_the_old_folder_untouched(tmp_path, base, processor, monkeypatch, with_base):
    out = save_model(make_model(), processor, tmp_path / "out", CARD)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    model = make_trained(str(base), {"connector": True, "encoder": True})
    calls = []

    def full(tensors, path, **options):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"begun")
            raise OSError(errno.ENOSPC, "No space left on device", path)
        save_file(tensors, path, **options)

    monkeypatch.setattr(folder_module, "save_file", full)
    with pytest.raises(ModelError, match="out cannot be written .*No space left") as caught:
        save_model(model, processor, out, CARD, base=str(base) if with_base else None)
    assert "Free space" in caught.value.remedy and len(calls) == 2
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "out"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, processor, monkeypatch):
    out = save_model(make_model(), processor, tmp_path / "out", CARD)
    before = (out / "connector.safetensors").read_bytes()
    rename = Path.rename

    def fails(self, target):
        if self.name == "model":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(ModelError, match="Input/output error"):
        save_model(make_model(seed=5), processor, out, CARD)
    assert (out / "connector.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
