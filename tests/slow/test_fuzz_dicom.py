# SPDX-License-Identifier: Apache-2.0
"""5,000 damaged DICOM files: none crashes or hangs the reader, and each that is refused says why."""

from __future__ import annotations

import importlib.util
import random
import time

import numpy as np
import pydicom
import pytest

from libra_monai.errors import StudyError
from libra_monai.transforms import ACCEPT_ALL, LoadRadiograph
from libra_monai.transforms.decoder_process import decoder_process

from ..transforms.dicoms import LOSSLESS, NEEDS_IMAGECODECS, PICTURE, make, write

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # pydicom warns of what is written wrong here

FILES, SEED, PATIENCE = 5000, 20261, 15.0  # seconds one file may take, on a machine that does other things as well
SYNTAXES = [*LOSSLESS, "JPEG"]
if importlib.util.find_spec("imagecodecs") is None:
    SYNTAXES = [name for name in SYNTAXES if name not in NEEDS_IMAGECODECS]
NUMBERS = (0, 1, 2, 3, 7, 16, 17, 64, 255, 4095, 32767, 32768, 46341, 65535)
TEXTS = ("", "0", "-1", "1e309", "nan", "2147483648", "MONOCHROME1", "RGB", "YBR_FULL_422", "PALETTE COLOR", "\\\\\\", "L\\F",
         "R\\H", "F\\L", "x" * 300, "\udcff\udcfe")  # fmt: skip
SHORTS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
          "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit")  # fmt: skip
STRINGS = ("PhotometricInterpretation", "NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
           "VOILUTFunction", "PatientOrientation", "PatientAge", "ViewPosition", "FieldOfViewRotation", "BodyPartExamined",
           "FieldOfViewHorizontalFlip", "PresentationLUTShape", "BurnedInAnnotation", "StudyDate")  # fmt: skip


def _bases(folder):
    """One small file of every compression, each with windows and a table, in 8, 12 or 16 bits."""
    found = []
    table = pydicom.Dataset()
    table.LUTDescriptor = [64, 0, 8]
    table.add_new("LUTData", "US", list(range(0, 256, 4)))
    for number, syntax in enumerate(SYNTAXES):
        bits = 8 if syntax == "JPEG" else (8, 12, 16)[number % 3]
        rows, columns = ((60, 44), (16, 16), (48, 32))[number % 3]
        values = np.rint(PICTURE[:rows, :columns] * (2**bits - 1))
        tags = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
        if number % 2:
            tags["VOILUTSequence"] = pydicom.Sequence([table])
        found.append(write(folder / f"{number}.dcm", values, bits, syntax, **tags).read_bytes())
    return found


def _mutated(data: bytes, draw: random.Random) -> bytes:
    """Between one and six damages: bits, bytes, lengths, cuts, repeats; anywhere, or near the pixels."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        start = draw.choice((128, 128, max(132, found.rfind(b"\xe0\x7f\x10\x00"))))
        at = draw.randrange(min(start, len(found) - 1), len(found)) if len(found) > 1 else 0
        kind = draw.randrange(7)
        if kind == 0:
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[at] = draw.randrange(256)
        elif kind == 2:
            found[at : at + 4] = draw.choice((4 * b"\xff", b"\xff\xff\xff\x7f", 4 * b"\0", b"\xfe\xff\xff\xff"))
        elif kind == 3:
            found[at : at + 2] = draw.choice((b"\xff\xff", b"\0\0", b"\0\x80", b"\xff\x7f", b"SQ", b"UN", b"OB"))
        elif kind == 4:
            del found[at:]
        elif kind == 5:
            del found[at : at + draw.randrange(1, 40)]
        else:
            found[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 40)))
        if not found:
            break
    return bytes(found)


def _wrongly_tagged(path, draw: random.Random) -> bytes:
    """A well-formed file with one to four senseless attributes."""
    bits = draw.choice((8, 12, 16))
    dataset = make(np.rint(PICTURE[:32, :32] * (2**bits - 1)), bits, draw.choice(("explicit", "implicit", "RLE")))
    try:
        for _ in range(draw.choice((1, 1, 2, 4))):
            _set_senseless(dataset, draw)
        dataset.save_as(path, enforce_file_format=True)
    except Exception:  # what pydicom cannot write cannot come in
        return b""
    return path.read_bytes()


def _set_senseless(dataset, draw: random.Random) -> None:
    if draw.random() < 0.6:
        value = draw.choice(NUMBERS)
        dataset.add_new(draw.choice(SHORTS), "US", draw.choice((value, [value, 5], None)))
        return
    kind, text = draw.choice(("LO", "UN", "CS", "DS")), draw.choice(TEXTS)
    dataset.add_new(draw.choice(STRINGS), kind, text.encode("utf-8", "replace") if kind == "UN" else text)


def _read(load, path):
    """The warnings of a file that is read, or the reason why it is not."""
    started = time.monotonic()
    try:
        picture = load(path)
        assert picture.dtype.is_floating_point is False and picture.ndim == 3 and picture.shape[0] == 1
        return "read"
    except StudyError as error:
        assert error.reason and error.remedy and error.file == str(path) and error.stage == "pixels"
        return error.reason
    finally:
        assert time.monotonic() - started < PATIENCE, path


@pytest.mark.parametrize("part", range(10))
def test_no_damaged_file_crashes_hangs_or_goes_unexplained(tmp_path, part):
    draw, bases = random.Random(SEED + part), _bases(tmp_path)
    loaders = [LoadRadiograph(policy=ACCEPT_ALL), LoadRadiograph(policy=ACCEPT_ALL, equalise=True), LoadRadiograph()]
    path, reasons = tmp_path / "fuzzed.dcm", []
    for number in range(FILES // 10):
        wrong = draw.random() < 0.3
        path.write_bytes(_wrongly_tagged(path, draw) if wrong else _mutated(draw.choice(bases), draw))
        reasons.append(_read(loaders[number % 3], path))
    assert len(reasons) == FILES // 10
    read = reasons.count("read")
    assert 0.1 < read / len(reasons) < 0.9  # the damage is neither harmless nor total
    assert len(set(reasons)) > 20
    assert decoder_process().starts < len(reasons) // 5
