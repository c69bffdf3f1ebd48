# SPDX-License-Identifier: Apache-2.0
"""Every compression gives the stored values back, and a decoder that dies takes nobody along."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os

import numpy as np
import pydicom
import pytest

from libra_monai.errors import StudyError
from libra_monai.transforms import LoadRadiograph, decoding
from libra_monai.transforms.codestream import claimed_size
from libra_monai.transforms.decoder_process import DecodeError, DecoderProcess, decoder_process

from .dicoms import LOSSLESS, NEEDS_IMAGECODECS, PICTURE, codestream, write

HAS_IMAGECODECS = importlib.util.find_spec("imagecodecs") is not None
needs_imagecodecs = pytest.mark.skipif(not HAS_IMAGECODECS, reason="imagecodecs is not installed")
CASES = [
    pytest.param(syntax, bits, signed, marks=needs_imagecodecs if syntax in NEEDS_IMAGECODECS else ())
    for syntax in LOSSLESS
    for bits in (8, 10, 12, 16)
    for signed in (False, True)
]


def _values(bits, signed):
    return np.rint(PICTURE * (2**bits - 1)) - (2 ** (bits - 1) if signed else 0)


@pytest.mark.parametrize(("syntax", "bits", "signed"), CASES)
def test_every_lossless_compression_gives_the_stored_values_back(tmp_path, syntax, bits, signed):
    values = _values(bits, signed)
    dataset = pydicom.dcmread(write(tmp_path / "a.dcm", values, bits, syntax))
    assert np.array_equal(decoding.decode_frame("a.dcm", dataset), values)


@needs_imagecodecs
def test_a_lossy_jpeg_is_within_its_loss(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64), (48, 1))
    seen = np.asarray(LoadRadiograph()(write(tmp_path / "a.dcm", smooth, 8, "JPEG"))[0], dtype=int)
    assert np.abs(seen - smooth).max() <= 4


def test_one_frame_of_a_compressed_cine_is_decoded_alone(tmp_path):
    frames = np.stack([_values(12, False), _values(12, False)[:, ::-1], 100 + 0 * PICTURE])
    dataset = pydicom.dcmread(write(tmp_path / "a.dcm", frames, syntax="RLE", NumberOfFrames=3))
    assert np.array_equal(decoding.decode_frame("a.dcm", dataset, 1), frames[1])


ABORTING = """
import os, time
def abort(data, options): os.abort()
def leave(data, options): os._exit(7)
def sleep(data, options): time.sleep(60)
def wrong(data, options): import numpy; return numpy.zeros((2, 2), numpy.uint8)
def panic(data, options): raise BaseException("panicked")
def greedy(data, options): import numpy; return numpy.ones((1 << 20, 1 << 14), numpy.uint8)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that makes a named bad decoder the one for RLE."""
    (tmp_path / "bad_decoders.py").write_text(ABORTING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    decoder_process().close()  # the next one finds the module
    yield lambda name: monkeypatch.setitem(decoding.DECODERS, ".5", (f"bad_decoders:{name}",))
    decoder_process().close()


@pytest.mark.parametrize(
    ("name", "says"), [("abort", "ended its process by signal 6"), ("leave", "ended its process with status 7")]
)
def test_a_decoder_that_aborts_costs_its_file_only(tmp_path, plugin, monkeypatch, name, says):
    bad, values = write(tmp_path / "bad.dcm", _values(12, False), syntax="RLE"), _values(12, False)
    plugin(name)
    with pytest.raises(StudyError, match=says) as caught:
        LoadRadiograph()(bad)
    assert caught.value.file == str(bad) and "RLE" in caught.value.reason
    starts = decoder_process().starts
    monkeypatch.delitem(decoding.DECODERS, ".5")
    assert np.array_equal(decoding.decode_frame("a", pydicom.dcmread(bad)), values)
    assert decoder_process().starts == starts + 1  # one new child, which stays
    decoding.decode_frame("a", pydicom.dcmread(bad))
    assert decoder_process().starts == starts + 1


@pytest.mark.parametrize("name", ["wrong", "greedy", "panic"])
def test_a_decoder_that_gives_or_takes_too_much_is_refused_and_lives(tmp_path, plugin, name):
    plugin(name)
    path = write(tmp_path / "a.dcm", _values(12, False), syntax="RLE")
    for _ in range(2):
        with pytest.raises(StudyError, match=r"\(2, 2\)|[Mm]emory|allocate|panicked"):
            LoadRadiograph()(path)
    assert decoder_process()._child.poll() is None


def test_a_decoder_that_never_ends_is_ended(tmp_path, plugin):
    options = {"rows": 1, "columns": 1, "samples_per_pixel": 1}
    decoder = DecoderProcess(seconds=3.0)
    with pytest.raises(DecodeError, match="longer than 3 s"):
        decoder.decode(b"", ["bad_decoders:sleep"], options)
    decoder.close()


def _read_in_child(path, queue):
    queue.put((os.getpid(), int(LoadRadiograph()(path).sum()), decoder_process().starts))


def test_a_forked_worker_has_a_decoder_of_its_own(tmp_path):
    path = write(tmp_path / "a.dcm", _values(12, False), syntax="RLE")
    total, starts = int(LoadRadiograph()(path).sum()), decoder_process().starts
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_read_in_child, args=(path, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert {(total, 1)} == {item[1:] for item in found}
    assert int(LoadRadiograph()(path).sum()) == total and decoder_process().starts == starts


@needs_imagecodecs
@pytest.mark.parametrize("syntax", ["JPEG", "JPEG lossless", "JPEG-LS", "JPEG 2000", "HTJ2K"])
def test_a_codestream_tells_its_size_and_a_lie_is_refused_before_decoding(tmp_path, syntax):
    stored = np.rint(255 * PICTURE).astype(np.uint8)
    stream = codestream(stored, 8, syntax)
    assert claimed_size(stream) == stored.shape
    assert all(claimed_size(stream[:n]) in (None, stored.shape) for n in range(0, min(len(stream), 400)))
    path = write(tmp_path / "a.dcm", stored, 8, syntax)
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns = 8 * stored.shape[0], stored.shape[1]
    dataset.save_as(path)
    with pytest.raises(StudyError, match="codestream claims 60 x 44 pixels, the header 480 x 44"):
        LoadRadiograph()(path)
