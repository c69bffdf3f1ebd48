# SPDX-License-Identifier: Apache-2.0
"""Grey levels: which window, which table, which polarity, and what only fills the frame."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from libra_monai.errors import ConfigError, StudyError
from libra_monai.transforms import ACCEPT_ALL, LoadRadiograph
from libra_monai.transforms.levels import equalising_table

from .dicoms import write

RAMP = np.tile(np.linspace(0, 4000, 64), (48, 1))
TWO_WINDOWS = {
    "WindowCenter": [2000, 1000], "WindowWidth": [4001, 801], "WindowCenterWidthExplanation": ["NORMAL", "HARDER"]
}  # fmt: skip


def _read(path, **options):
    return np.asarray(LoadRadiograph(policy=ACCEPT_ALL, **options)(path)[0], dtype=int)


def _warnings(path, **options):
    return LoadRadiograph(**options)(path).meta["warnings"]


def _table(first, values, bits, **tags):
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.add_new("LUTData", "US", [int(value) for value in values])
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


@pytest.mark.parametrize(
    ("window", "centre", "width"),
    [(None, 2000, 4001), (0, 2000, 4001), (1, 1000, 801), ("harder", 1000, 801), ((3000, 501), 3000, 501)],
)
def test_the_window_is_the_one_asked_for(tmp_path, window, centre, width):
    path = write(tmp_path / "a.dcm", RAMP, **TWO_WINDOWS)
    expected = 255 * np.clip((np.rint(RAMP) - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    assert np.abs(_read(path, window=window) - expected).max() <= 0.51


def test_the_range_can_be_asked_for_in_spite_of_windows(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP, **TWO_WINDOWS)
    assert np.abs(_read(path, window="range") - 255 * RAMP / 4000).max() <= 0.6


@pytest.mark.parametrize("options", [{"window": [5]}, {"window": (5, 0)}, {"frame": -1}, {"field_of_view": "flip"}])
def test_options_that_make_no_sense_are_refused_at_once(options):
    with pytest.raises(ConfigError):
        LoadRadiograph(**options)


@pytest.mark.parametrize("window", [7, "lung"])
def test_a_window_the_file_has_not_is_said_and_the_first_is_used(tmp_path, window):
    path = write(tmp_path / "a.dcm", RAMP, **TWO_WINDOWS)
    assert np.array_equal(_read(path, window=window), _read(path))
    assert _warnings(path, window=window) == [f"the file has no window {window}; its first is used"]


def test_a_modality_table_comes_before_the_window(tmp_path):
    table = _table(0, 4000 - np.arange(4001), 16)
    path = write(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=table, WindowCenter=2000, WindowWidth=4001)
    assert np.abs(_read(path) - 255 * (1 - RAMP / 4000)).max() <= 1


def test_a_voi_table_starts_at_its_first_value_and_holds_its_ends(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP, VOILUTSequence=_table(1000, np.arange(1001) // 4, 8))
    expected = np.clip((np.rint(RAMP) - 1000) // 4, 0, 250)
    assert np.abs(_read(path) - expected).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_presentation_table_decides_polarity_by_itself(tmp_path, photometric):
    table = _table(0, 255 - np.arange(256), 8)
    path = write(tmp_path / "a.dcm", RAMP, PhotometricInterpretation=photometric, PresentationLUTSequence=table)
    assert np.abs(_read(path) - 255 * (1 - RAMP / 4000)).max() <= 1


def test_a_polarity_that_contradicts_itself_is_said(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY")
    assert np.abs(_read(path) - 255 * (1 - RAMP / 4000)).max() <= 0.6
    assert "contradicts" in _warnings(path)[0]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_depth_gives_the_same_picture(tmp_path, bits, signed):
    top = 2**bits - 1
    stored = RAMP / 4000 * top - (2 ** (bits - 1) if signed else 0)
    assert np.abs(_read(write(tmp_path / "a.dcm", stored, bits)) - 255 * RAMP / 4000).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize(("tags", "filled"), [
    ({"PixelPaddingValue": 65000}, [65000]),
    ({"PixelPaddingValue": 65000, "PixelPaddingRangeLimit": 65010}, [65000, 65010]),
    ({"PixelPaddingValue": 65010, "PixelPaddingRangeLimit": 65000}, [65000, 65005]),
])  # fmt: skip
def test_padding_is_black_and_does_not_stretch_the_range(tmp_path, photometric, tags, filled):
    padded = np.pad(RAMP, 10, constant_values=filled[0])
    padded[:5] = filled[-1]
    seen = _read(write(tmp_path / "a.dcm", padded, 16, PhotometricInterpretation=photometric, **tags))
    bare = _read(write(tmp_path / "b.dcm", RAMP, 16, PhotometricInterpretation=photometric))
    assert np.array_equal(seen[10:-10, 10:-10], bare)
    seen[10:-10, 10:-10] = 0
    assert not seen.any()


def test_padding_written_with_the_wrong_sign_is_understood(tmp_path):
    values = np.pad(RAMP - 2000, 10, constant_values=-32768)
    dataset_path = write(tmp_path / "a.dcm", values, 16)
    dataset = pydicom.dcmread(dataset_path)
    dataset.add_new("PixelPaddingValue", "US", 32768)
    dataset.save_as(dataset_path)
    assert np.abs(_read(dataset_path)[10:-10, 10:-10] - 255 * RAMP / 4000).max() <= 1


def test_overlay_bits_above_the_stored_ones_are_cut_off(tmp_path):
    stored = np.rint(RAMP).astype(np.uint16)
    marked = stored | (np.arange(64) % 2 << 15).astype(np.uint16)
    assert np.array_equal(_read(write(tmp_path / "a.dcm", marked)), _read(write(tmp_path / "b.dcm", stored)))


def test_values_in_high_bits_are_moved_down(tmp_path):
    shifted = np.rint(RAMP).astype(np.uint16) << 4
    path = write(tmp_path / "a.dcm", shifted, HighBit=15)
    assert np.array_equal(_read(path), _read(write(tmp_path / "b.dcm", RAMP)))


def test_equalising_follows_the_steps_of_mimic_cxr_jpg(tmp_path):
    """Range to 0..255 and cut, invert, then shares of pixels above the darkest level, in plain numbers."""
    rng = np.random.default_rng(0)
    stored = np.rint(rng.gamma(2, 400, (50, 40)).clip(0, 4095))
    path = write(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1", WindowCenter=9, WindowWidth=9)
    eight = 255 - ((stored - stored.min()) / (stored.max() - stored.min()) * 255).astype(int)
    above = np.array([(eight <= level).sum() for level in range(256)]) - (eight == eight.min()).sum()
    expected = np.rint(above[eight] * 255 / (eight.size - (eight == eight.min()).sum()))
    assert np.abs(_read(path, equalise=True) - expected).max() <= 0.51  # ties may round either way
    assert np.histogram(_read(path, equalise=True), 8, (0, 256))[0].min() > 0.5 * stored.size / 8


def test_equalising_by_hand_on_four_levels():
    histogram = np.zeros(256)
    histogram[[10, 20, 30, 40]] = [4, 1, 2, 3]
    table = equalising_table(histogram)
    assert table[[10, 20, 30, 40]].tolist() == [0, 42, 128, 255]  # 0, 1/6, 3/6, 6/6 of 255


def test_the_frame_asked_for_is_shown_and_one_too_many_is_refused(tmp_path):
    path = write(tmp_path / "a.dcm", np.stack([RAMP, RAMP[:, ::-1], RAMP // 2]), NumberOfFrames=3)
    assert np.abs(_read(path, frame=1) - 255 * RAMP[:, ::-1] / 4000).max() <= 1
    assert _warnings(path, frame=1) == ["number 2 of 3 frames used"]
    with pytest.raises(StudyError, match="has 3 frame"):
        _read(path, frame=3)
