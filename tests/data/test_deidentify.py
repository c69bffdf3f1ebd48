# SPDX-License-Identifier: Apache-2.0
"""Nothing of a patient survives de-identification; what must agree between files, texts and runs does."""

from __future__ import annotations

import io
from datetime import datetime

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import JPEG2000Lossless

from libra_monai.data.corpora.pictures import bare_picture
from libra_monai.data.corpora.profile import _CODES, _KEEP, _TABLES
from libra_monai.data.deidentify import Deidentifier, Policy, identifiers, new_key, read_key
from libra_monai.data.studies import Study, StudyImage
from libra_monai.errors import ConfigError, StudyError
from libra_monai.transforms.reading import LoadRadiograph
from tests.data.corpora.drawing import draw, make_dicom, write_picture

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
# every fifth attribute of the standard's dictionary that the profile does not list as kept; command groups and pixels aside
TAGS = sorted(
    Tag(tag) for tag in DicomDictionary if 0x0008 <= tag >> 16 < 0x7FE0 and Tag(tag) not in _KEEP | _TABLES | _CODES
)[::5]
TRUSTING = Policy(burned_in="refuse_declared")


def _patient(seed: int = 1, **tags) -> Dataset:
    base = {
        "PatientName": "Muster^Erika", "PatientID": "HOSP-77", "PatientBirthDate": "19300401", "PatientSex": "F",
        "PatientAge": "093Y", "AccessionNumber": "ACC55", "StudyDate": "20240301", "StudyTime": "093015",
        "AcquisitionDate": "20240301", "AcquisitionTime": "093100", "ReferringPhysicianName": "Haus^Greg",
        "StudyDescription": "CHEST PA for Erika Muster", "InstitutionName": "Saint Nowhere", "BurnedInAnnotation": "NO",
        "ViewPosition": "PA", "FrameOfReferenceUID": "1.2.3.4",
    }  # fmt: skip
    return make_dicom(seed, **base | tags)


def _value(vr: str) -> object:
    """A value of a representation that can be found again."""
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.StudyDate, item.RetrieveURL = "Muster^Erika", "20240301", "http://secret"
        return Sequence([item])
    texts = {"DA": "20240301", "TM": "093015", "DT": "20240301093015", "UI": "1.2.3.77", "AS": "093Y", "IS": "7777",
             "DS": "7777", "CS": "MUSTER", "PN": "Muster^Erika", "AT": 0x77770001}  # fmt: skip
    if vr in texts:
        return texts[vr]
    if vr in ("US", "UL", "SS", "SL", "UV", "SV"):
        return 7777
    if vr in ("FL", "FD"):
        return 7777.0
    return b"Muster\0\0" if vr.startswith("O") or vr == "UN" else "Muster"


def _all_values(dataset: Dataset) -> list[str]:
    found = []
    dataset.walk(lambda _, element: found.append(str(element.value)) if element.VR != "SQ" else None)
    return found


def test_no_attribute_that_the_profile_does_not_list_keeps_its_value():
    tool, tried, kept = Deidentifier(KEY, TRUSTING), 0, []
    for tag in TAGS:
        if not keyword_for_tag(tag) or tag.group == 2:  # not in pydicom's dictionary, or of the header, written anew
            continue
        vr = dictionary_VR(tag).split(" ")[0]
        original = _patient()
        original.add_new(tag, vr, _value(vr))
        clean = tool.dataset(original)
        same = tag in clean and vr not in ("TM", "SQ") and clean[tag].value == original[tag].value  # times stay true
        if same or any(word in value for value in _all_values(clean) for word in ("Muster", "20240301", "7777")):
            kept.append(keyword_for_tag(tag))
        tried += 1
    assert not kept and tried > 600


def test_private_and_unknown_attributes_go_at_any_depth():
    original = _patient()
    block = original.private_block(0x0011, "MAKER", create=True)
    block.add_new(1, "LO", "Erika")
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation = [4, 0, 8], "Erika Muster"
    item.private_block(0x0013, "MAKER", create=True).add_new(1, "LO", "Erika")
    original.VOILUTSequence = Sequence([item])
    original.add_new(0x60000022, "LO", "Erika")  # an overlay's description
    clean = Deidentifier(KEY).dataset(original)
    assert "Erika" not in str(clean) and clean.VOILUTSequence[0].LUTDescriptor == [4, 0, 8]
    assert not [element for element in clean if element.tag.is_private or element.tag.group == 0x6000]


def test_pseudonyms_uids_and_dates_agree_between_files_and_runs_and_change_with_the_key():
    first, again = (Deidentifier(KEY).dataset(_patient(1)) for _ in range(2))
    later = Deidentifier(KEY).dataset(_patient(2, StudyDate="20240311", AccessionNumber="ACC56"))
    other = Deidentifier(OTHER).dataset(_patient(1))
    assert first == again
    assert first.PatientID == later.PatientID == first.PatientName != other.PatientID
    assert first.FrameOfReferenceUID == later.FrameOfReferenceUID != other.FrameOfReferenceUID
    assert first.SOPInstanceUID != later.SOPInstanceUID and first.SOPInstanceUID.startswith("2.25.")
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    day = [datetime.strptime(dataset.StudyDate, "%Y%m%d") for dataset in (first, later)]
    assert (day[1] - day[0]).days == 10 and first.StudyTime == "093015"
    assert first.AcquisitionDate == first.StudyDate != "20240301"
    assert len(first.AccessionNumber) == 16 and first.AccessionNumber != later.AccessionNumber


def test_shifts_go_one_to_3650_days_back_and_differ_between_patients():
    days = [Deidentifier(KEY).days(f"patient{n}") for n in range(500)]
    assert min(days) >= -3650 and max(days) <= -1 and len(set(days)) > 400
    assert Deidentifier(KEY).shift("a", datetime(1, 1, 1)) is None
    assert Deidentifier(KEY).shift("a", None) is None


def test_the_object_says_what_was_done_to_it():
    clean = Deidentifier(KEY, Policy(keep_characteristics=True)).dataset(_patient())
    codes = [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101", "113105", "113107", "113108"]
    assert clean.PatientIdentityRemoved == "YES" and clean.LongitudinalTemporalInformationModified == "MODIFIED"


def test_descriptors_keep_the_words_of_views_only():
    clean = Deidentifier(KEY).dataset(_patient())
    assert clean.StudyDescription == "CHEST PA"
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "399348003", "SCT", "Erika's antero-posterior"
    own = Dataset()
    own.CodeValue, own.CodingSchemeDesignator, own.CodeMeaning = "1", "99HOSPITAL", "Erika"
    clean = Deidentifier(KEY).dataset(_patient(ViewCodeSequence=Sequence([item, own])))
    assert [code.CodeMeaning for code in clean.ViewCodeSequence] == ["399348003"]


def test_sex_and_age_go_unless_kept_and_ages_above_89_are_joined():
    clean = Deidentifier(KEY).dataset(_patient())
    assert clean.PatientSex == "" and "PatientAge" not in clean and clean.PatientBirthDate == ""
    kept = Deidentifier(KEY, Policy(keep_characteristics=True)).dataset(_patient())
    assert (kept.PatientSex, kept.PatientAge, kept.PatientBirthDate) == ("F", "090Y", "")


@pytest.mark.parametrize(
    ("declared", "policy", "refused"),
    [
        ("YES", Policy(), True), ("", Policy(), True), ("NO", Policy(), False),
        ("YES", TRUSTING, True), ("", TRUSTING, False), ("NO", TRUSTING, False),
    ],
)  # fmt: skip
def test_burned_in_annotation_is_refused_by_policy(declared, policy, refused):
    original = _patient(BurnedInAnnotation=declared)
    if not refused:
        assert Deidentifier(KEY, policy).dataset(original).PixelData == original.PixelData
        return
    with pytest.raises(StudyError, match="annotation") as error:
        Deidentifier(KEY, policy).dataset(original, file="a.dcm")
    assert error.value.file == "a.dcm" and error.value.remedy and "Muster" not in str(error.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_blanked_regions_are_black_and_the_rest_is_untouched(compressed):
    original = _patient(BurnedInAnnotation="YES")
    if compressed:
        original.compress(JPEG2000Lossless, generate_instance_uid=False)
    clean = Deidentifier(KEY, Policy("blank", [(0, 0.25, 0.5, 1)])).dataset(original)
    pixels, before = clean.pixel_array, draw(1)
    assert (pixels[:16, 32:] == before.min()).all()
    pixels[:16, 32:] = before[:16, 32:]
    assert np.array_equal(pixels, before) and clean.BurnedInAnnotation == "NO"


@pytest.mark.parametrize("bad", [("blur", ()), ("blank", ()), ("blank", [(0.5, 0.5, 0, 1)]), ("blank", [(0, 2, 0, 1)])])
def test_a_policy_that_says_nothing_clear_is_refused(bad):
    with pytest.raises(ConfigError):
        Policy(*bad)


def test_a_copied_file_reads_as_the_original_and_holds_nothing_of_the_patient(tmp_path):
    write_picture(tmp_path / "in.dcm", 3, **{e.keyword: e.value for e in _patient(3) if e.keyword and e.tag.group == 0x10})
    Deidentifier(KEY, TRUSTING).copy(tmp_path / "in.dcm", tmp_path / "out" / "a.dcm", "someone")
    raw = (tmp_path / "out" / "a.dcm").read_bytes()
    assert not [word for word in (b"Muster", b"Erika", b"HOSP-77", b"19300401") if word in raw]
    load = LoadRadiograph()
    assert np.array_equal(load(tmp_path / "in.dcm"), load(tmp_path / "out" / "a.dcm"))
    assert dcmread(tmp_path / "out" / "a.dcm").PatientID == Deidentifier(KEY).pseudonym("patient", "someone")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.dcm"]


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_pictures_lose_what_surrounds_their_pixels_and_no_pixel(form, tmp_path):
    picture = Image.fromarray(draw(4))
    exif = picture.getexif()
    exif[0x010E] = "Erika Muster"
    path = tmp_path / f"a.{form.lower()}"
    picture.save(path, exif=exif, **({"comment": b"Erika"} if form == "JPEG" else {}))
    path.write_bytes(path.read_bytes() + b"Erika after the end")
    bare = bare_picture(path)
    assert b"Erika" not in bare
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(bare))), np.asarray(Image.open(path)))
    with pytest.raises(StudyError, match="burned in"):
        Deidentifier(KEY).copy(path, tmp_path / "out.png", "p")


@pytest.mark.parametrize("raw", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n\0\0", b"text"])
def test_a_broken_picture_is_an_error_of_its_own(raw, tmp_path):
    (tmp_path / "a.jpg").write_bytes(raw)
    with pytest.raises(StudyError):
        bare_picture(tmp_path / "a.jpg")


def test_keys_are_made_private_read_from_elsewhere_and_never_shown(tmp_path, caplog):
    new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    key = read_key(tmp_path / "key", tmp_path / "out")
    assert len(key) == 64 and key.decode() not in repr(Deidentifier(key)) and not caplog.records
    with pytest.raises(ConfigError, match="exists"):
        new_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="lies in the output folder"):
        read_key(tmp_path / "key", tmp_path)
    (tmp_path / "key").write_text("short")
    with pytest.raises(ConfigError, match="holds 5 bytes"):
        read_key(tmp_path / "key", tmp_path / "out")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "nowhere", tmp_path / "out")


TEXTS = [
    ("Compared to 3/14/2019.", {"date": 1}, "3/14/2019"),
    ("Compared to 2019-03-14.", {"date": 1}, "2019-03-14"),
    ("Compared to March 14, 2019.", {"date": 1}, "March 14, 2019"),
    ("Radiograph of 14 March 2019 is reviewed.", {"date": 1}, "14 March 2019"),
    ("Since the study on 3/14, no change.", {"date": 1}, "3/14"),
    ("Surgery in 2016.", {"date": 1}, "2016"),
    ("Discussed with Dr. John Q. Smith at 10:35.", {"name": 1}, "Smith"),
    ("Read by: JANE DOE, M.D.", {"name": 1}, "DOE"),
    ("Mary Jones, PA.", {"name": 1}, "Jones"),
    ("Findings were told to Mary Jones by telephone.", {"name": 1}, "Jones"),
    ("Call (617) 555-0199 or pager 31234.", {"contact": 2}, "555"),
    ("MRN: 1234567.", {"id": 1}, "1234567"),
    ("A 93-year-old woman.", {"age": 1}, "93"),
    ("Transferred from Green Valley Hospital.", {"place": 1}, "Valley"),
    ("Write to erika@nowhere.example.", {"contact": 1}, "erika"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "replaced", "gone"), TEXTS, ids=[gone for _, _, gone in TEXTS])
def test_identifiers_of_a_report_are_replaced_and_counted(text, replaced, gone):
    scrubbed = Deidentifier(KEY).text(text, "p")
    assert gone not in scrubbed.text and scrubbed.replaced == replaced
    assert not set(scrubbed.suspicious) - {"label"}


def test_full_dates_of_a_text_move_as_those_of_the_files():
    tool = Deidentifier(KEY)
    shifted = tool.shift("p", datetime(2019, 3, 14))
    text = tool.text("From 3/14/2019, 2019-03-14 and Mar 14, 2019.", "p").text
    assert text == f"From {shifted:%-m/%-d/%Y}, {shifted:%Y-%m-%d} and {shifted:%b %-d, %Y}."


def test_what_is_known_of_the_study_is_found_however_it_is_written():
    known = identifiers(_patient())
    assert {"Muster", "Erika", "HOSP-77", "ACC55", "Greg"} <= set(known)
    scrubbed = Deidentifier(KEY).text("ms muster (hosp-77) was examined; mustering is fine.", "p", known)
    assert scrubbed.text == "ms ___ (___) was examined; mustering is fine." and scrubbed.replaced == {"known": 2}


def test_what_stays_suspicious_is_counted():
    scrubbed = Deidentifier(KEY).text("Seen by our own Kowalski on Tuesday, code 4711.", "p")
    assert scrubbed.suspicious == {"date": 1, "name": 1, "number": 1} and scrubbed.replaced == {}


@pytest.mark.parametrize("upper", [False, True])
def test_plain_findings_stay_as_they_are(upper):
    text = (
        "Chest PA and lateral. Lungs do not show edema. Chest, PA and lateral. PA and lateral views. A Swan-Ganz catheter ends 35 mm above the carina. Grade 2/6. No pleural effusion or "
        "pneumothorax. Heart size is normal; 5 x 12 mm nodule at T10-11. Kerley B lines. The tip may be at 4 cm."
    )
    text = text.upper() if upper else text
    assert Deidentifier(KEY).text(text, "p").text == text


def _study(**more) -> Study:
    sections = {"findings": "Ms Muster has an effusion since 3/14/2019.", "impression": "Effusion. Told to Kowalski.",
                "dr smith": "A header of its own."}
    images = (
        StudyImage("one", "a/one.dcm", "PA", datetime(2024, 3, 1, 9, 30), uid="1.2.3"),
        StudyImage("two", "a/two.jpg", "AP", datetime(2024, 3, 1, 9, 31)),
        StudyImage("gone", "a/gone.dcm", "AP", None, usable=False, reason="the file is not there"),
    )
    about = {"age": 93, "sex": "F", "race": "WHITE", "site": "Saint Nowhere"}
    base = {
        "study_id": "S-1", "patient_id": "HOSP-77", "images": images, "split": "test", "order": 4.0, "sections": sections,
        "labels": {"Edema": 1}, "about": about, "study_uid": "1.2", "issuer": "HOSP",
    }  # fmt: skip
    return Study(**base | more)


def test_an_exported_study_holds_only_what_may_stand_there(tmp_path):
    write_picture(tmp_path / "in" / "a" / "one.dcm", 1, **{e.keyword: e.value for e in _patient() if e.tag.group == 0x10})
    write_picture(tmp_path / "in" / "a" / "two.jpg", 2)
    tool = Deidentifier(KEY, TRUSTING)
    study, report = tool.export(_study(), tmp_path / "in", tmp_path / "out")
    for image in study.images[:2]:
        assert image.usable and (tmp_path / "out" / image.path).is_file()
    assert study.images[2].reason == "the file is not there" and report.refused == ("the file is not there",)
    shown = str(study)
    assert not [word for word in ("HOSP", "S-1", "Muster", "one.dcm", "Nowhere", "2024", "WHITE", "smith") if word in shown]
    assert (study.split, study.order, study.labels) == ("test", 4.0, {"Edema": 1}) and study.about == {}
    assert study.images[0].uid == tool.uid("1.2.3") and study.study_uid == tool.uid("1.2")
    assert study.images[0].time == tool.shift("HOSP-77", datetime(2024, 3, 1, 9, 30))
    assert dcmread(tmp_path / "out" / study.images[0].path).PatientID == study.patient_id
    assert report.replaced == {"date": 1, "name": 1} and report.suspicious == {"name": 1}
    assert report.study_id == study.study_id and "Muster" not in str(report)


def test_characteristics_stay_on_request_and_refused_pictures_are_told(tmp_path):
    write_picture(tmp_path / "a" / "one.dcm", 1, BurnedInAnnotation="YES")
    (tmp_path / "a" / "two.jpg").write_bytes(b"not a picture")
    policy = Policy("refuse_declared", keep_characteristics=True)
    study, report = Deidentifier(KEY, policy).export(_study(), tmp_path, tmp_path / "out")
    assert study.about == {"age": 90, "sex": "F", "race": "WHITE"}
    assert [image.usable for image in study.images] == [False] * 3
    assert "burned-in" in report.refused[0] and not list(tmp_path.glob("out/**/*.*"))


def test_studies_of_nobody_known_stay_strangers(tmp_path):
    tool = Deidentifier(KEY, TRUSTING)
    one, other = (tool.export(_study(patient_id="", study_id=name, images=()), tmp_path, tmp_path)[0] for name in "ab")
    assert one.patient_id == other.patient_id == "" and one.study_id != other.study_id
    first, second = (tool.dataset(_patient(seed, PatientID="")) for seed in (1, 2))
    assert first.PatientID != second.PatientID
