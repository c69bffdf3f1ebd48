# SPDX-License-Identifier: Apache-2.0
"""Pixels are read as a radiologist would see them, and what cannot be read says why and what to do."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from libra_monai.errors import StudyError
from libra_monai.transforms import FitSquare, LoadRadiograph, StudyPicturesd
from libra_monai.transforms.decoder_process import DecoderProcess

from .dicoms import LOSSLESS, NEEDS_IMAGECODECS, write

RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))  # dark on the left, bright on the right


def _dicom(path, values, bits=12, **tags):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds = pydicom.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = meta.MediaStorageSOPClassUID, "2.25.1", "DX"
    ds.Rows, ds.Columns = values.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, bits, bits - 1, 0
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.PixelData = values.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path


def _compressed(path, values):
    ds = pydicom.dcmread(_dicom(path, values))
    ds.compress(pydicom.uid.RLELossless)
    ds.save_as(path)


def _read(path):
    return np.asarray(LoadRadiograph()(path)[0], dtype=int)


def test_a_dicom_without_window_uses_the_range_of_its_values(tmp_path):
    assert np.abs(_read(_dicom(tmp_path / "a.dcm", 1000 + 500 * RAMP)) - 255 * RAMP).max() <= 1


def test_the_window_decides_what_is_black_and_white(tmp_path):
    seen = _read(_dicom(tmp_path / "a.dcm", 4000 * RAMP, WindowCenter=2000, WindowWidth=1000))
    assert (seen[:, RAMP[0] < 0.37] == 0).all() and (seen[:, RAMP[0] > 0.63] == 255).all()
    assert abs(int(seen[0, 32]) - 255 * ((4000 * RAMP[0, 32] - 1500) / 1000)) < 3


def test_monochrome1_is_inverted_after_the_window(tmp_path):
    straight = _read(_dicom(tmp_path / "a.dcm", 4000 * RAMP, WindowCenter=1000, WindowWidth=800))
    inverted = _read(
        _dicom(tmp_path / "b.dcm", 4000 * RAMP, WindowCenter=1000, WindowWidth=800, PhotometricInterpretation="MONOCHROME1")
    )
    assert (straight + inverted == 255).all()


def test_monochrome1_with_an_inverse_presentation_lut_is_inverted_once(tmp_path):
    path = _dicom(tmp_path / "a.dcm", 4000 * RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert np.abs(_read(path) - 255 * (1 - RAMP)).max() <= 1


def test_rescale_comes_before_the_window(tmp_path):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 8000}
    assert np.abs(_read(_dicom(tmp_path / "a.dcm", 4000 * RAMP, **tags)) - 255 * RAMP).max() <= 1


def test_signed_values_are_read(tmp_path):
    path = _dicom(tmp_path / "a.dcm", -1000 + 2000 * RAMP, PixelRepresentation=1, BitsStored=16, HighBit=15)
    assert np.abs(_read(path) - 255 * RAMP).max() <= 1


def test_a_voi_lut_is_followed(tmp_path):
    item = Dataset()
    item.LUTDescriptor = [256, 0, 8]
    item.add_new("LUTData", "US", list(range(255, -1, -1)))
    path = _dicom(tmp_path / "a.dcm", np.rint(255 * RAMP), bits=8, VOILUTSequence=Sequence([item]))
    assert np.abs(_read(path) - (255 - np.rint(255 * RAMP))).max() <= 1


def test_the_first_frame_is_used_with_a_note(tmp_path):
    frames = np.stack([4000 * RAMP, 4000 * (1 - RAMP)])
    picture = LoadRadiograph()(_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2))
    assert np.abs(np.asarray(picture[0], dtype=int) - 255 * RAMP).max() <= 1
    assert "first of 2 frames" in picture.meta["warnings"][0]


def test_a_sixteen_bit_png_keeps_its_grey_levels(tmp_path):
    Image.fromarray((10000 + 40000 * RAMP).astype(np.uint16)).save(tmp_path / "a.png")
    assert np.abs(_read(tmp_path / "a.png") - 255 * RAMP).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "P"])
def test_png_modes_give_the_same_grey(tmp_path, mode):
    Image.fromarray(np.rint(255 * RAMP).astype(np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert np.abs(_read(tmp_path / "a.png") - np.rint(255 * RAMP)).max() <= (4 if mode == "P" else 1)


@pytest.mark.parametrize(("ending", "loss"), [("tif", 0), ("bmp", 0), ("jp2", 4), ("gif", 0), ("webp", 8)])
def test_other_kinds_of_pictures_are_read_by_the_child(tmp_path, ending, loss, monkeypatch):
    grey = np.rint(255 * RAMP).astype(np.uint8)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(grey).save(path)
    starts = []
    decode = DecoderProcess.decode
    monkeypatch.setattr(DecoderProcess, "decode", lambda self, *given: (starts.append(1), decode(self, *given))[1])
    assert np.abs(_read(path) - grey.astype(int)).max() <= loss and starts == [1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(StudyError, match="picture"):
        LoadRadiograph()(path)


def test_a_deep_tiff_keeps_its_grey_levels(tmp_path):
    Image.fromarray((10000 + 40000 * RAMP).astype(np.uint16)).save(tmp_path / "a.tif")
    assert np.abs(_read(tmp_path / "a.tif") - 255 * RAMP).max() <= 1


def test_a_dicom_is_known_by_its_content_not_its_name(tmp_path):
    path = _dicom(tmp_path / "picture.png", 4000 * RAMP)
    assert np.abs(_read(path) - 255 * RAMP).max() <= 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_text("Findings: none, this is a text file that is long enough to be read as one. " * 9),
         "not a readable DICOM"),
        (lambda p: _dicom(p, 0 * RAMP), "all black"),
        (lambda p: _dicom(p, 4000 * RAMP[:8, :8]), "only 8 x 8"),
        (lambda p: (_dicom(p, 4000 * RAMP), p.write_bytes(p.read_bytes()[:-2000])), "cannot be decoded"),
        (lambda p: (_dicom(p, 4000 * RAMP), p.write_bytes(p.read_bytes()[:300])), "holds no pixels"),
        (lambda p: (_compressed(p, 4000 * RAMP), p.write_bytes(p.read_bytes()[:-2000])), "truncated: it ends within"),
        (lambda p: _dicom(p, 4000 * RAMP, Rows=60000, Columns=60000), "claims 60000"),
        (lambda p: Image.fromarray(np.zeros((64, 64), np.uint8)).save(p, format="PNG"), "all black"),
    ],
    ids=["missing", "folder", "text", "black", "tiny", "truncated", "header only", "truncated compressed", "huge claim", "black png"],
)
def test_what_cannot_be_used_names_the_file_and_the_remedy(tmp_path, make, says):
    path = tmp_path / "bad.dcm"
    make(path)
    with pytest.raises(StudyError, match=says) as caught:
        LoadRadiograph()(path)
    assert caught.value.file == str(path) and caught.value.remedy and caught.value.stage == "pixels"


def test_a_dicom_without_pixels_says_what_it_is(tmp_path):
    path = _dicom(tmp_path / "a.dcm", 4000 * RAMP)
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.save_as(path)
    with pytest.raises(StudyError, match="holds no pixels .Digital X-Ray"):
        LoadRadiograph()(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ds: setattr(ds, "VOILUTSequence", pydicom.Sequence([])),
        lambda ds: setattr(ds, "RescaleSlope", None),
        lambda ds: setattr(ds, "Rows", [64, 64]),
    ],
    ids=["empty look-up table", "empty slope", "two heights"],
)
def test_a_senseless_header_fails_its_study_only(tmp_path, spoil):
    path = _dicom(tmp_path / "a.dcm", 4000 * RAMP)
    ds = pydicom.dcmread(path)
    spoil(ds)
    ds.save_as(path)
    try:
        LoadRadiograph()(path)
    except StudyError as error:
        assert error.file == str(path) and error.remedy


@pytest.mark.parametrize("syntax", [name for name in LOSSLESS if name not in NEEDS_IMAGECODECS])
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, syntax):
    whole = write(tmp_path / "whole.dcm", np.rint(4000 * RAMP), syntax=syntax)
    data, expected, path = whole.read_bytes(), _read(whole), tmp_path / "cut.dcm"
    for length in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        with pytest.raises(StudyError) as caught:
            LoadRadiograph()(path)
        assert caught.value.reason and caught.value.remedy
    path.write_bytes(data)
    assert np.array_equal(_read(path), expected)


def _png_that_claims(path, columns, rows):
    Image.fromarray(np.rint(255 * RAMP).astype(np.uint8)).save(path, format="PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = columns.to_bytes(4, "big") + rows.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: write(p, RAMP, Rows=65535, Columns=65535),
        lambda p: write(p, RAMP, Rows=48, Columns=64, NumberOfFrames=2**31 - 1),
        lambda p: _png_that_claims(p, 46341, 46341),
        lambda p: _png_that_claims(p, 2**31 - 1, 1),
        lambda p: _png_that_claims(p, 12000, 12000),
    ],
    ids=["DICOM", "DICOM frames", "PNG of 2^31", "PNG of one row", "PNG of 144 million"],
)
def test_a_claim_of_too_many_pixels_is_refused_before_memory_is_taken(tmp_path, make):
    path = tmp_path / "a.dcm"
    make(path)
    tracemalloc.start()
    with pytest.raises(StudyError, match="claims|pixels|decoded"):
        LoadRadiograph()(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_deflated_file_that_would_fill_the_memory_is_refused_before_it_does(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", np.rint(4000 * RAMP), syntax="deflated")
    assert _read(path).max() == 255
    monkeypatch.setattr("libra_monai.transforms.dicom._MAX_FILE", 5000)
    with pytest.raises(StudyError, match="larger than"):
        LoadRadiograph()(path)


def test_a_broken_png_is_refused(tmp_path):
    Image.fromarray(np.rint(255 * RAMP).astype(np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(StudyError, match="cannot be decoded"):
        LoadRadiograph()(tmp_path / "a.png")


def test_fit_square_pads_the_short_side_in_the_middle_and_keeps_uint8():
    picture = torch.full((1, 40, 80), 200, dtype=torch.uint8)
    square = FitSquare(80)(picture)
    assert square.dtype == torch.uint8 and square.shape == (1, 80, 80)
    assert (square[0, :19] == 0).all() and (square[0, 22:58] == 200).all() and (square[0, 61:] == 0).all()
    assert (FitSquare(80, fill=135)(picture)[0, :18] == 135).all()


def test_fit_square_equals_pillow_on_the_padded_picture():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (61, 47), dtype=np.uint8)
    padded = np.zeros((61, 61), np.uint8)
    padded[:, 7:54] = grey
    expected = np.asarray(Image.fromarray(padded).resize((37, 37), Image.Resampling.BICUBIC))
    assert np.array_equal(np.asarray(FitSquare(37)(torch.from_numpy(grey)[None])[0]), expected)


def test_a_file_that_several_studies_use_is_read_once(tmp_path):
    Image.fromarray(np.rint(255 * RAMP).astype(np.uint8)).save(tmp_path / "a.png")
    calls = []

    def count(path):
        calls.append(path)
        return LoadRadiograph()(path)

    pictures = StudyPicturesd([count], str(tmp_path), remember=True)
    first = pictures({"current": "a.png", "prior": None, "lateral": None})
    second = pictures({"current": "a.png", "prior": "a.png", "lateral": None})
    assert len(calls) == 1 and second["prior"] is first["current"] and first["prior"] is None
