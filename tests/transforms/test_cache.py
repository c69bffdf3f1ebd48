# SPDX-License-Identifier: Apache-2.0
"""A picture is read once for all runs; what could be stale or damaged is read again."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from PIL import Image

from libra_monai.data.cache import PictureCache
from libra_monai.errors import ConfigError, StudyError
from libra_monai.transforms import FitSquare, LoadRadiograph, StudyPicturesd

from ..helpers import make_processor
from .dicoms import PICTURE, write

SIZE = 37


def _steps(**options):
    return [LoadRadiograph(**options), FitSquare(SIZE)]


def _reader(steps):
    calls = []

    def make(path):
        calls.append(path)
        return steps[1](steps[0](path))

    return make, calls


@pytest.fixture
def png(tmp_path):
    """A picture file that has not been touched for a minute, as far as its times tell."""
    path = tmp_path / "a.png"
    Image.fromarray(np.rint(255 * PICTURE).astype(np.uint8)).save(path)
    return path


def _entries(cache):
    return sorted(path for path in cache.pictures.rglob("*") if path.is_file())


def test_the_second_look_reads_the_cache_and_is_equal_in_pixels_and_notes(tmp_path):
    path = str(write(tmp_path / "a.dcm", np.rint(4000 * PICTURE), PatientOrientation=None))
    steps = _steps()
    make, calls = _reader(steps)
    first, second = (PictureCache(tmp_path / "cache", steps).picture(path, make) for _ in range(2))
    assert len(calls) == 1 and torch.equal(first, second) and second.dtype == torch.uint8
    names = ("sop_uid", "study_uid", "view", "projection", "burned_in", "export_allowed", "warnings", "filename_or_obj")
    assert [second.meta[name] for name in names] == [first.meta[name] for name in names]
    second[0, 0, 0] = 77  # and is the caller's own
    assert PictureCache(tmp_path / "cache", steps).picture(path, make)[0, 0, 0] == first[0, 0, 0]


def test_one_byte_a_pixel_stands_on_disk(tmp_path, png):
    cache = PictureCache(tmp_path / "cache", _steps())
    cache.picture(str(png), _reader(_steps())[0])
    assert [path.stat().st_size - SIZE * SIZE < 400 for path in _entries(cache)] == [True]


@pytest.mark.parametrize("picture", [torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(1, 8, 8)])
def test_three_channels_or_floats_are_refused(tmp_path, png, picture):
    with pytest.raises(ConfigError, match="uint8"):
        PictureCache(tmp_path / "cache", _steps()).picture(str(png), lambda path: picture)


def test_the_content_is_the_key_not_the_name(tmp_path, png):
    cache, (make, calls) = PictureCache(tmp_path / "cache", _steps()), _reader(_steps())
    copy = tmp_path / "b.png"
    copy.write_bytes(png.read_bytes())
    first, second = cache.picture(str(png), make), cache.picture(str(copy), make)
    assert len(calls) == 1 and torch.equal(first, second)
    assert second.meta["filename_or_obj"] == str(copy)


def test_a_file_replaced_under_its_name_is_read_anew_even_with_its_size_and_time(tmp_path):
    path, cache, (make, calls) = tmp_path / "a.bmp", PictureCache(tmp_path / "cache", _steps()), _reader(_steps())
    grey = np.rint(255 * PICTURE).astype(np.uint8)
    Image.fromarray(grey).save(path)
    stat = path.stat()
    time.sleep(2.1)  # long enough to be remembered by name
    old = cache.picture(str(path), make)
    assert (cache.names).is_dir() and cache.picture(str(path), make).equal(old)
    Image.fromarray(255 - grey).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert not cache.picture(str(path), make).equal(old) and len(calls) == 2


def test_a_file_that_has_not_changed_is_not_hashed_again(tmp_path, png, monkeypatch):
    import libra_monai.data.cache as module

    hashed = []
    monkeypatch.setattr(
        module.hashlib, "file_digest", lambda file, kind: (hashed.append(1), module.hashlib.new(kind, file.read()))[1]
    )
    make = _reader(_steps())[0]
    PictureCache(tmp_path / "cache", _steps()).picture(str(png), make)
    time.sleep(2.1)
    for _ in range(3):
        PictureCache(tmp_path / "cache", _steps()).picture(str(png), make)
    assert len(hashed) == 2  # once while it was fresh, once to be remembered


@pytest.mark.parametrize(
    "other",
    [[LoadRadiograph(equalise=True), FitSquare(SIZE)], [LoadRadiograph(window=1), FitSquare(SIZE)],
     [LoadRadiograph(policy={"min_age": 0}), FitSquare(SIZE)], [LoadRadiograph(), FitSquare(SIZE, fill=135)],
     [LoadRadiograph(), FitSquare(SIZE, aspect="crop")], [LoadRadiograph(), FitSquare(SIZE + 1)]],
)  # fmt: skip
def test_every_setting_has_entries_of_its_own(tmp_path, other):
    cache, changed = PictureCache(tmp_path, _steps()), PictureCache(tmp_path, other)
    assert cache.pictures != changed.pictures and PictureCache(tmp_path, _steps()).pictures == cache.pictures


def test_a_step_that_does_not_say_what_it_does_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot tell what function does"):
        PictureCache(tmp_path, [LoadRadiograph(), lambda picture: picture])


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"", lambda data: data[:20], lambda data: data[:-1], lambda data: data + b"\0",
     lambda data: bytes(len(data)), lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
     lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:]],
    ids=["empty", "header cut", "one byte short", "one byte long", "zeros", "one bit of the pixels", "one bit of the notes"],
)  # fmt: skip
def test_a_damaged_entry_is_built_again(tmp_path, png, spoil):
    cache, (make, calls) = PictureCache(tmp_path / "cache", _steps()), _reader(_steps())
    whole = cache.picture(str(png), make)
    (entry,) = _entries(cache)
    data = entry.read_bytes()
    entry.write_bytes(spoil(data))
    assert torch.equal(cache.picture(str(png), make), whole) and len(calls) == 2
    assert entry.read_bytes() == data


def test_what_cannot_be_read_is_never_kept(tmp_path):
    cache, (make, calls) = PictureCache(tmp_path / "cache", _steps()), _reader(_steps())
    (tmp_path / "a.dcm").write_text("no picture")
    for name in ("a.dcm", "a.dcm", "missing.png"):
        with pytest.raises(StudyError):
            cache.picture(str(tmp_path / name), make)
    assert len(calls) == 3 and _entries(cache) == []


def test_a_folder_that_cannot_be_written_costs_time_not_the_picture(tmp_path, png, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache, (make, calls) = PictureCache(tmp_path / "cache", _steps()), _reader(_steps())
    first, second = cache.picture(str(png), make), cache.picture(str(png), make)
    assert torch.equal(first, second) and len(calls) == 2
    assert caplog.text.count("cannot be written") == 1


def _read_many(arguments):
    folder, names = arguments
    torch.set_num_threads(1)
    cache, (make, _) = PictureCache(folder, _steps()), _reader(_steps())
    return [int(cache.picture(name, make).sum()) for name in names]


def test_processes_and_threads_that_write_at_once_agree(tmp_path):
    names = []
    for number in range(6):
        names.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.roll(np.rint(255 * PICTURE).astype(np.uint8), number, axis=1)).save(names[-1])
    alone = _read_many((tmp_path / "alone", names))
    jobs = [(tmp_path / "cache", names)] * 4
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(_read_many, jobs)) == [alone] * 4
    found = []
    job = (tmp_path / "threads", names)
    threads = [threading.Thread(target=lambda: found.append(_read_many(job))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4
    left = [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert left == []  # no temporary files


def test_a_study_from_the_cache_gives_the_batch_of_one_without(tmp_path, png):
    processor = make_processor(tmp_path / "tokenizer")
    record = {"study_id": "s", "current": "a.png", "prior": None, "lateral": None}
    plain = processor.pictures(str(tmp_path))(record)["current"]
    kept = [processor.pictures(str(tmp_path), cache=tmp_path / "cache") for _ in range(2)]
    assert [torch.equal(read(record)["current"], plain) for read in kept] == [True, True]
    assert (kept[0].cache.misses, kept[1].cache.hits) == (1, 1)
    assert isinstance(kept[0], StudyPicturesd) and processor.pictures(str(tmp_path)).cache is None
