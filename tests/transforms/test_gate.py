# SPDX-License-Identifier: Apache-2.0
"""What is let in: chest radiographs of adults, made for display. What is not is told why."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from libra_monai.errors import ConfigError, StudyError
from libra_monai.transforms import ACCEPT_ALL, GatePolicy, LoadRadiograph, StudyPicturesd
from libra_monai.transforms.looks import suspicions

from .dicoms import PICTURE, write

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value")  # written on purpose
VALUES = np.rint(4000 * PICTURE)
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_cxr"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures (../shared) are not at hand")


def _item(**tags):
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


REFUSED = {
    "CT": ({"Modality": "CT"}, "modality", "no radiograph: its modality is 'CT'"),
    "mammography": ({"Modality": "MG"}, "modality", "no radiograph"),
    "leg": ({"BodyPartExamined": "LEG"}, "body_part", "another part of the body: 'LEG'"),
    "skull by code": (
        {"BodyPartExamined": None, "AnatomicRegionSequence": _item(CodeMeaning="Skull")}, "body_part", "'SKULL'"
    ),
    "knee by series": (
        {"BodyPartExamined": None, "SeriesDescription": "Knee ap"}, "body_part", "another part of the body: 'KNEE'"
    ),
    "leg by device": (
        {"BodyPartExamined": "", "AcquisitionDeviceProcessingDescription": "[LOWER LEG   ]"}, "body_part", "'LEG'"
    ),
    "raw": ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing", "FOR PROCESSING"),
    "raw by class": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "for_processing", "FOR PROCESSING"),
    "child": ({"PatientAge": "017Y"}, "under_age", "younger than 18 years"),
    "newborn": ({"PatientAge": "003D"}, "under_age", "younger than 18 years"),
    "child by dates": (
        {"PatientAge": None, "PatientBirthDate": "20100601", "StudyDate": "20240301"}, "under_age", "younger"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_adult_chest_for_display_is_refused_unless_allowed(tmp_path, name):
    tags, policy, says = REFUSED[name]
    path = write(tmp_path / "a.dcm", VALUES, **tags)
    with pytest.raises(StudyError, match=says) as caught:
        LoadRadiograph()(path)
    assert caught.value.stage == "pixels" and f"`{policy}`" in caught.value.remedy
    warned = LoadRadiograph(policy={policy: "warn"})(path)
    assert [says in warning for warning in warned.meta["warnings"]] == [True]
    assert LoadRadiograph(policy={policy: "accept"})(path).meta["warnings"] == []


@pytest.mark.parametrize("tags", [
    {}, {"Modality": "CR", "BodyPartExamined": "THORAX"}, {"BodyPartExamined": "CHEST_TO_ABDOMEN"}, {"PatientAge": "018Y"},
    {"BodyPartExamined": None, "SeriesDescription": "CHEST AND ABDOMEN PA"}, {"BodyPartExamined": None},
    {"PatientAge": None, "PatientBirthDate": "19400305", "StudyDate": "20040826"}, {"ViewPosition": "AP"},
])  # fmt: skip
def test_adult_chests_pass_without_a_word(tmp_path, tags):
    assert LoadRadiograph()(write(tmp_path / "a.dcm", VALUES, **tags)).meta["warnings"] == []


@pytest.mark.parametrize(
    ("tags", "policy", "says"),
    [
        ({"ViewPosition": None}, "missing_view", "does not say its view"),
        ({"PatientAge": None}, "missing_age", "does not say the patient's age"),
        ({"PatientAge": "99", "PatientBirthDate": "soon"}, "missing_age", "does not say the patient's age"),
        ({"Modality": None}, None, "does not say that it is a radiograph"),
        ({"Modality": "OT"}, None, "does not say that it is a radiograph"),
    ],
)
def test_what_is_missing_is_said_and_refused_where_the_policy_wants_it(tmp_path, tags, policy, says):
    path = write(tmp_path / "a.dcm", VALUES, **tags)
    warnings = LoadRadiograph()(path).meta["warnings"]
    assert len(warnings) == 1 and says in warnings[0]
    assert LoadRadiograph(policy=ACCEPT_ALL)(path).meta["warnings"] == []
    if policy:
        with pytest.raises(StudyError, match=says):
            LoadRadiograph(policy={policy: "refuse"})(path)


def test_a_misplaced_name_is_never_repeated(tmp_path, caplog, recwarn):
    path = write(tmp_path / "a.dcm", VALUES, BodyPartExamined="Muster^Erika", PatientBirthDate="Muster", PatientAge=None)
    caplog.clear(), recwarn.clear()
    with pytest.raises(StudyError) as caught:
        LoadRadiograph()(path)
    LoadRadiograph(policy={"body_part": "accept"})(path)
    assert "uster" not in str(caught.value).lower()
    assert "uster" not in caplog.text and not recwarn.list
    until = time.monotonic() + 10  # a server of another test may be reading headers in a thread of its own just now
    while config.settings.reading_validation_mode != config.WARN and time.monotonic() < until:
        time.sleep(0.01)
    assert config.settings.reading_validation_mode == config.WARN, threading.enumerate()  # others keep their warnings


VIEWS = [
    ({"ViewPosition": "PA"}, "frontal"), ({"ViewPosition": "AP"}, "frontal"), ({"ViewPosition": "LLD"}, "frontal"),
    ({"ViewPosition": "LL"}, "lateral"), ({"ViewPosition": "LATERAL"}, "lateral"), ({"ViewPosition": "RAO"}, "oblique"),
    ({"ViewPosition": "", "ViewCodeSequence": _item(CodeMeaning="postero-anterior")}, "frontal"),
    ({"ViewPosition": None, "ViewCodeSequence": _item(CodeMeaning="left lateral")}, "lateral"),
    ({"ViewPosition": None, "SeriesDescription": "Chest lateral decubitus"}, "frontal"),
    ({"ViewPosition": None, "SeriesDescription": "Thorax lat."}, "lateral"),
    ({"ViewPosition": None, "SeriesDescription": "Chest PA and lateral"}, None),
    ({"ViewPosition": None}, None),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "projection"), VIEWS)
def test_the_side_shown_is_read_from_view_code_or_description(tmp_path, tags, projection):
    assert LoadRadiograph()(write(tmp_path / "a.dcm", VALUES, **tags)).meta["projection"] == projection


def test_a_lateral_is_refused_as_current_and_wanted_as_lateral(tmp_path):
    write(tmp_path / "lateral.dcm", VALUES, ViewPosition="LL")
    write(tmp_path / "frontal.dcm", VALUES)
    read = StudyPicturesd([LoadRadiograph()], str(tmp_path), remember=True)
    item = read({"current": "frontal.dcm", "prior": None, "lateral": "lateral.dcm"})
    assert item["lateral"].meta["projection"] == "lateral" and item["prior"] is None
    for record in ({"current": "lateral.dcm"}, {"prior": "lateral.dcm"}, {"lateral": "frontal.dcm"}):
        with pytest.raises(StudyError, match="by its header, where a"):
            read(record)


def test_a_wrong_view_that_is_only_warned_of_leaves_the_remembered_picture_alone(tmp_path):
    write(tmp_path / "a.dcm", VALUES, ViewPosition="LL")
    read = StudyPicturesd([LoadRadiograph(policy={"wrong_view": "warn"})], str(tmp_path), remember=True)
    for _ in range(2):
        item = read({"current": "a.dcm", "lateral": "a.dcm"})
        assert len(item["current"].meta["warnings"]) == 1 and item["lateral"].meta["warnings"] == []


@pytest.mark.parametrize(
    ("tag", "policy", "burned_in", "allowed"),
    [("YES", "warn", True, False), ("YES", "accept", True, True), ("NO", "warn", False, True), (None, "warn", None, True)],
)
def test_burned_in_text_blocks_export_unless_allowed(tmp_path, tag, policy, burned_in, allowed):
    path = write(tmp_path / "a.dcm", VALUES, BurnedInAnnotation=tag)
    meta = LoadRadiograph(policy={"burned_in": policy})(path).meta
    assert meta["burned_in"] is burned_in and meta["export_allowed"] is allowed
    assert bool(meta["warnings"]) == (not allowed)


@pytest.mark.parametrize(
    ("shape", "fill", "says"),
    [((31, 200), None, "only 200 x 31"), ((40, 400), None, "as long and thin as 400 x 40"), ((64, 64), 0, "all black"),
     ((64, 64), 255, "all white"), ((64, 64), 90, "of one grey")],
)  # fmt: skip
def test_pictures_that_show_nothing_are_refused(tmp_path, shape, fill, says):
    grey = np.resize(np.arange(256), shape) if fill is None else np.full(shape, fill)
    if fill is not None:
        grey[0, 0] = 128  # one stray pixel is still nothing
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(StudyError, match=says):
        LoadRadiograph()(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["png", "jpg", "dicom"])
def test_photographs_are_refused_and_grey_with_a_coloured_mark_passes(tmp_path, kind):
    grey = np.rint(255 * np.kron(PICTURE, np.ones((2, 2)))).astype(np.uint8)
    marked = np.stack([grey] * 3, axis=-1)
    marked[:10, :10] = (255, 0, 0)
    photo = np.stack([grey, grey // 2, 255 - grey], axis=-1)

    def save(rgb):
        if kind == "dicom":
            tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
            size = {"Rows": rgb.shape[0], "Columns": rgb.shape[1]}
            return write(tmp_path / "a.dcm", rgb.reshape(rgb.shape[0], -1), 8, **tags, **size)
        Image.fromarray(rgb).save(tmp_path / f"a.{kind}")
        return tmp_path / f"a.{kind}"

    with pytest.raises(StudyError, match="photograph or screenshot"):
        LoadRadiograph()(save(photo))
    picture = LoadRadiograph()(save(marked))
    assert any("turned to grey" in warning for warning in picture.meta["warnings"])
    assert np.abs(np.asarray(picture[0], dtype=int)[20:] - grey[20:]).max() <= (8 if kind == "jpg" else 1)


@pytest.mark.parametrize("options", [{"modality": "maybe"}, {"modalities": "refuse"}, {"min_age": -1}, {"max_aspect": 0.5}])
def test_a_policy_that_makes_no_sense_is_refused(options):
    with pytest.raises(ConfigError):
        LoadRadiograph(policy=options)


def test_the_defaults_refuse_or_warn_of_everything():
    assert "accept" not in vars(GatePolicy()).values()


def _real():
    return [*sorted((REAL / "hannover").glob("*.png")), REAL / "RG1_J2KI.dcm"]


@needs_real
def test_real_chests_pass_without_a_word_and_the_real_leg_is_refused_for_what_it_is():
    assert len(_real()) == 17
    for path in _real():
        assert LoadRadiograph()(path).meta["warnings"] == []
    with pytest.raises(StudyError, match="another part of the body: 'EXTREMITY'"):
        LoadRadiograph()(REAL / "RG3_J2KI.dcm")


@needs_real
def test_real_chests_shown_the_wrong_way_are_suspected():
    pictures = [np.asarray(LoadRadiograph()(path)[0]) for path in _real()]
    found = {
        "inverted": [suspicions(255 - picture) for picture in pictures],
        "lay on its side": [suspicions(np.rot90(picture, turn)) for picture in pictures for turn in (1, 3)],
        "upside down": [suspicions(picture[::-1, ::-1]) for picture in pictures],
    }
    caught = {name: sum(name in " ".join(said) for said in each) / len(each) for name, each in found.items()}
    assert caught["inverted"] == 1.0 and caught["lay on its side"] >= 0.9 and caught["upside down"] >= 0.8, caught
    assert not any(suspicions(picture) for picture in pictures)


def test_a_suspicion_is_a_warning_for_pictures_without_tags_only(tmp_path):
    chest = np.full((200, 160), 220.0)
    chest[30:130, 20:65] = chest[30:130, 95:140] = 40.0
    chest[:30] = 100.0
    inverted = (255 - chest).astype(np.uint8)
    Image.fromarray(inverted).save(tmp_path / "a.png")
    assert LoadRadiograph()(tmp_path / "a.png").meta["warnings"] == ["the picture looks inverted"]
    with pytest.raises(StudyError, match="looks inverted"):
        LoadRadiograph(policy={"unlikely_display": "refuse"})(tmp_path / "a.png")
    assert LoadRadiograph()(write(tmp_path / "a.dcm", inverted, 8)).meta["warnings"] == []
    Image.fromarray(chest.astype(np.uint8)).save(tmp_path / "b.png")
    assert LoadRadiograph()(tmp_path / "b.png").meta["warnings"] == []
