# SPDX-License-Identifier: Apache-2.0
"""However a picture is stored, it hangs with the head up and the patient's left on the right."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from libra_monai.errors import StudyError
from libra_monai.transforms import LoadRadiograph

from .dicoms import PICTURE, write

VALUES = np.rint(4000 * PICTURE)
# how to store the picture so that a row leads to the first and a column to the second end
STORED = {
    ("L", "F"): VALUES, ("R", "F"): VALUES[:, ::-1], ("L", "H"): VALUES[::-1], ("R", "H"): VALUES[::-1, ::-1],
    ("F", "L"): VALUES.T, ("F", "R"): VALUES[:, ::-1].T, ("H", "L"): VALUES[::-1].T, ("H", "R"): VALUES[::-1, ::-1].T,
}  # fmt: skip


def _read(path, **options):
    return LoadRadiograph(**options)(path)


@pytest.fixture
def expected(tmp_path):
    """The picture as stored upright."""
    return np.asarray(_read(write(tmp_path / "upright.dcm", VALUES)))


@pytest.mark.parametrize("ends", STORED, ids="".join)
def test_a_picture_stored_mirrored_or_turned_gives_the_same_pixels(tmp_path, expected, ends):
    path = write(tmp_path / "a.dcm", STORED[ends], PatientOrientation=list(ends), ViewPosition="AP")
    picture = _read(path)
    assert np.array_equal(np.asarray(picture), expected) and picture.meta["warnings"] == []


@pytest.mark.parametrize("ends", [["LA", "FP"], ["L", "FA"]])
def test_the_main_direction_of_a_tilted_picture_counts(tmp_path, expected, ends):
    assert np.array_equal(np.asarray(_read(write(tmp_path / "a.dcm", VALUES, PatientOrientation=ends))), expected)


@pytest.mark.parametrize("ends", [["A", "F"], ["P", "F"], ["P", "H"]])
def test_a_lateral_picture_keeps_its_front_where_it_is_and_its_head_up(tmp_path, expected, ends):
    stored = VALUES[::-1] if ends[1] == "H" else VALUES
    path = write(tmp_path / "a.dcm", stored, PatientOrientation=ends, ViewPosition="LL")
    assert np.array_equal(np.asarray(_read(path)), expected)


@pytest.mark.parametrize(("turn", "flip"), [(0, "YES"), (90, "NO"), (180, "NO"), (270, "NO"), (90, "YES"), (270, "YES")])
def test_field_of_view_tags_are_undone_where_the_orientation_is_absent(tmp_path, expected, turn, flip):
    stored = np.rot90(VALUES, -turn // 90)  # clockwise, then flipped
    stored = stored[:, ::-1] if flip == "YES" else stored
    tags = {"PatientOrientation": None, "FieldOfViewRotation": turn, "FieldOfViewHorizontalFlip": flip}
    path = write(tmp_path / "a.dcm", np.ascontiguousarray(stored), **tags)
    picture = _read(path)
    assert np.array_equal(np.asarray(picture), expected)
    assert "check the side marker" in picture.meta["warnings"][0]
    left = _read(path, field_of_view="ignore")
    assert left.shape[1:] == stored.shape and "shown as stored" in left.meta["warnings"][0]


def test_the_orientation_speaks_for_the_pixels_as_stored_whatever_was_flipped_before(tmp_path, expected):
    tags = {"FieldOfViewRotation": 0, "FieldOfViewHorizontalFlip": "YES"}
    assert np.array_equal(np.asarray(_read(write(tmp_path / "a.dcm", VALUES, **tags))), expected)
    mirrored = write(tmp_path / "b.dcm", VALUES[:, ::-1], PatientOrientation=["R", "F"], **tags)
    assert np.array_equal(np.asarray(_read(mirrored)), expected)


@pytest.mark.parametrize(
    ("ends", "says"),
    [(None, "absent"), ([], "absent"), (["L"], "absent"), (["X", "Q"], "no radiograph"), (["L", "P"], "no radiograph"),
     (["L", "R"], "no radiograph")],
)  # fmt: skip
def test_an_orientation_that_says_nothing_is_said_and_changes_nothing(tmp_path, expected, ends, says):
    picture = _read(write(tmp_path / "a.dcm", VALUES, PatientOrientation=ends))
    assert np.array_equal(np.asarray(picture), expected)
    assert len(picture.meta["warnings"]) == 1 and says in picture.meta["warnings"][0]


def _nifti(path, hung, directions):
    """Save a picture as a coronal NIfTI whose axes lead to the named ends."""
    columns_to, rows_to = directions
    values = hung.T  # [columns, rows]
    values = values[::-1] if columns_to == "R" else values
    values = values[:, ::-1] if rows_to == "S" else values
    affine = np.zeros((4, 4))
    affine[0, 0], affine[2, 1] = (1 if columns_to == "R" else -1), (1 if rows_to == "S" else -1)
    affine[1, 2] = affine[3, 3] = 1
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values)[..., None], affine), path)


@pytest.mark.parametrize("directions", ["RS", "RI", "LS", "LI"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_flat_nifti_is_hung_like_a_radiograph(tmp_path, directions, ending):
    hung = np.rint(255 * PICTURE).astype(np.uint8)
    path = tmp_path / f"a{ending}"
    _nifti(path, hung, directions)
    assert np.array_equal(np.asarray(_read(path)[0]), hung)


def test_a_nifti_written_from_a_flat_picture_keeps_its_top(tmp_path):
    hung = np.rint(4000 * PICTURE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hung.T, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "a.nii")
    seen = np.asarray(_read(tmp_path / "a.nii")[0], dtype=int)
    assert np.abs(seen - 255 * PICTURE).max() <= 1


@pytest.mark.parametrize(
    ("shape", "says"), [((40, 40, 12), "not one picture"), ((40, 40, 1, 3), "not one picture"), ((64,), "not one picture")]
)
def test_a_nifti_that_is_no_picture_is_refused(tmp_path, shape, says):
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(StudyError, match=says):
        _read(tmp_path / "a.nii")


def test_a_nifti_header_that_claims_too_much_or_too_little_file_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((40, 40), np.int16), np.eye(4)), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    (tmp_path / "short.nii").write_bytes(data[:900])
    data[42:46] = np.array([32767, 32767], "<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(data)
    with pytest.raises(StudyError, match="cannot be read"):
        _read(tmp_path / "short.nii")
    with pytest.raises(StudyError, match="claims 32767 x 32767"):
        _read(tmp_path / "huge.nii")
