# SPDX-License-Identifier: Apache-2.0
"""DICOM folders of any layout as studies: right patient, right time, right view, or a reason."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest
from pydicom import Dataset

from libra_monai.data.chronology import PriorRule, choose_priors
from libra_monai.data.phantom.dicom import uid_for
from libra_monai.data.request import file_record, newest_choices
from libra_monai.data.sources.headers import acquired, moment, view_of
from libra_monai.data.sources.study_folder import StudyFolder
from tests.data.studies_made import at, write_dicom


def read(root, **options):
    """Studies of a folder, and the source."""
    source = StudyFolder()
    return list(source.read(root, **options)), source


def test_files_of_any_name_and_place_are_grouped_by_study_uid(tmp_path):
    write_dicom(tmp_path / "x" / "IM000", name="one")
    write_dicom(tmp_path / "y.jpg", name="one", view="LL")
    write_dicom(tmp_path / "z" / "deep" / "b", name="two", time=at(24))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"x")
    studies, source = read(tmp_path)
    assert sorted(len(study.images) for study in studies) == [1, 2]
    assert sorted(source.skipped) == [("DICOMDIR", "a DICOM directory"), ("notes.txt", "not a DICOM file")]
    by = {study.study_id: study for study in studies}
    choice = choose_priors(studies)[studies.index(by[uid_for("p", "two")])]
    assert choice.prior[0].study_id == uid_for("p", "one") and choice.prior[2] == 24.0
    assert choose_priors([by[uid_for("p", "one")]])[0].lateral.path == "y.jpg"


def test_two_patients_in_one_folder_stay_apart(tmp_path):
    for patient in ("p", "q"):
        for day in range(2):
            write_dicom(tmp_path / f"{patient}{day}", patient, f"s{day}", at(24 * day))
    studies, _ = read(tmp_path)
    priors = [(c.study.patient_id, c.prior[0].patient_id) for c in choose_priors(studies) if c.prior]
    assert sorted(priors) == [("p", "p"), ("q", "q")]


def test_one_patient_identifier_of_two_issuers_is_two_patients(tmp_path):
    write_dicom(tmp_path / "a", name="a", IssuerOfPatientID="NORTH")
    write_dicom(tmp_path / "b", name="b", time=at(9), IssuerOfPatientID="SOUTH")
    choices = newest_choices(read(tmp_path)[0])
    assert len(choices) == 2 and not any(choice.prior for choice in choices)
    assert "another issuer" in "".join(warning for choice in choices for warning in choice.warnings)


def test_without_patient_identifier_nothing_is_joined(tmp_path):
    for name in ("a", "b"):
        write_dicom(tmp_path / name, name=name, PatientID=None, StudyInstanceUID=None)
    studies, source = read(tmp_path)
    assert len(studies) == 2 and not any(choice.prior for choice in choose_priors(studies))
    assert source.notes["studies without a patient identifier, which have no prior"] == 2


def test_a_study_uid_of_two_patients_is_used_for_neither(tmp_path):
    for patient in ("p", "q"):
        write_dicom(tmp_path / patient, patient, StudyInstanceUID="1.2.3")
    studies, _ = read(tmp_path)
    assert [image.reason for study in studies for image in study.images] == ["the study UID stands for two patients"] * 2
    assert len({study.study_id for study in studies}) == 2


def test_missing_everything_still_is_a_study(tmp_path):
    names = "PatientID PatientBirthDate PatientSex PatientAge StudyInstanceUID SOPInstanceUID ViewPosition ViewCodeSequence"
    names += " PatientOrientation SeriesDescription BodyPartExamined IssuerOfPatientID AccessionNumber"
    times = [f"{what}{kind}" for what in ("Study", "Series", "Acquisition", "Content") for kind in ("Date", "Time")]
    write_dicom(tmp_path / "bare", **dict.fromkeys([*names.split(), *times]))
    (one,), _ = read(tmp_path)
    assert (one.patient_id, one.time, one.images[0].view, one.study_uid) == ("", None, None, None)
    assert one.study_id.startswith("no-uid-") and choose_priors([one])[0].current is None


NOWHERE = dict.fromkeys(("BodyPartExamined", "AnatomicRegionSequence", "SeriesDescription", "ProtocolName"))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [({"Modality": "CT"}, "modality 'CT', not CR or DX"), ({**NOWHERE, "Modality": None}, "modality unknown"),
     ({"BodyPartExamined": "LEG"}, "body part 'LEG', not CHEST"), ({"Rows": None}, "no picture in it"),
     ({"BodyPartExamined": "DOE JANE MARY OF SPRINGFIELD"}, "body part not repeated here"),
     ({**NOWHERE, "SeriesDescription": "Left knee"}, "body part 'KNEE', not CHEST")],
)  # fmt: skip
def test_what_is_no_chest_radiograph_is_listed_with_its_reason(tmp_path, tags, reason):
    write_dicom(tmp_path / "a", **tags)
    studies, source = read(tmp_path)
    assert studies == [] and len(source.skipped) == 1 and reason in source.skipped[0][1]


def test_a_chest_without_modality_and_a_radiograph_without_body_part_are_taken(tmp_path):
    write_dicom(tmp_path / "a", name="a", Modality=None)
    write_dicom(tmp_path / "b", name="b", BodyPartExamined=None)
    write_dicom(tmp_path / "c", name="c", BodyPartExamined="Thorax pa")  # as the gate for pixels takes it
    assert len(read(tmp_path)[0]) == 3


def test_links_that_leave_the_folder_are_refused_and_those_within_are_no_second_picture(tmp_path):
    write_dicom(tmp_path / "outside" / "x", name="x")
    write_dicom(tmp_path / "root" / "a", name="a")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside" / "x")
    (tmp_path / "root" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "again").symlink_to(tmp_path / "root" / "a")
    (tmp_path / "root" / "broken").symlink_to(tmp_path / "root" / "nothing")
    studies, source = read(tmp_path / "root")
    assert sum(len(study.images) for study in studies) == 1
    assert Counter(reason.partition(" as ")[0] for _, reason in source.skipped) == {
        "a link that leaves the folder": 2, "no regular file": 1, "same SOP instance UID": 1,
    }  # fmt: skip


def test_raw_pictures_do_not_stand_for_a_study(tmp_path):
    write_dicom(tmp_path / "a", PresentationIntentType="FOR PROCESSING")
    write_dicom(tmp_path / "b")
    choice = choose_priors(read(tmp_path)[0])[0]
    assert choice.current.path == "b" and len(choice.study.images) == 2


@pytest.mark.parametrize(
    ("day", "time", "expected"),
    [("20200131", "235959.5", datetime(2020, 1, 31, 23, 59, 59)), ("20200131", "10", datetime(2020, 1, 31, 10)),
     ("2020.01.31", "10:15:20", datetime(2020, 1, 31, 10, 15, 20)), ("20200131", None, datetime(2020, 1, 31)),
     ("20200131", "251000", datetime(2020, 1, 31)), ("20200131", "noon", datetime(2020, 1, 31)),
     ("20200230", "101010", None), ("19000101", "000000", None), ("", "101010", None), ("yesterday", None, None),
     ("20200131", "93015.5", datetime(2020, 1, 31, 9, 30, 15)), ("20200131", "915", datetime(2020, 1, 31)),
     ("202001", None, None), ("20200131", "235960", datetime(2020, 1, 31, 23, 59, 59))],
)  # fmt: skip
def test_dates_and_times_are_read_or_count_as_absent(day, time, expected):
    assert moment(day, time) == expected


def _dataset(**tags):
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def test_acquisition_comes_first_and_what_is_malformed_gives_way():
    full = {"StudyDate": "20200101", "StudyTime": "080000", "SeriesDate": "20200102", "SeriesTime": "090000"}
    assert acquired(_dataset(**full)) == datetime(2020, 1, 2, 9)
    assert acquired(_dataset(**full, AcquisitionDate="20200103", AcquisitionTime="1000")) == datetime(2020, 1, 3, 10)
    assert acquired(_dataset(**full, AcquisitionDate="20200103")) == datetime(2020, 1, 2, 9)  # a date with a time counts more
    assert acquired(_dataset(AcquisitionDate="20200103")) == datetime(2020, 1, 3)
    assert acquired(_dataset(**full, AcquisitionDateTime="20200104110000.00+0100")) == datetime(2020, 1, 4, 11)
    assert acquired(_dataset()) is None


@pytest.mark.parametrize(
    ("tags", "view"),
    [({"ViewPosition": "LL"}, "LL"), ({"SeriesDescription": "Chest PA"}, "PA"), ({"SeriesDescription": "THORAX LAT"}, "LATERAL"),
     ({"SeriesDescription": "Chest PA and lateral"}, None), ({"ProtocolName": "W034 Chest AP portable"}, "AP"),
     ({"PatientOrientation": ["L", "F"]}, "FRONTAL"), ({"PatientOrientation": ["A", "F"]}, "LATERAL"),
     ({"SeriesDescription": "CHEST"}, None), ({"ViewPosition": "", "SeriesDescription": "AP axial"}, "AP AXIAL"), ({}, None)],
)  # fmt: skip
def test_the_view_is_found_where_the_header_tells_it(tags, view):
    assert view_of(_dataset(**tags)) == view


def test_the_view_code_counts_where_the_position_is_empty():
    code = _dataset(CodeValue="399348003", CodingSchemeDesignator="SCT", CodeMeaning="antero-posterior")
    assert view_of(_dataset(ViewPosition="", ViewCodeSequence=[code])) == "AP"


def test_reports_are_found_by_accession_number_and_no_path_is_followed(tmp_path):
    write_dicom(tmp_path / "dicom" / "a", name="a", AccessionNumber="A1")
    write_dicom(tmp_path / "dicom" / "b", name="b", AccessionNumber="../A1", time=at(5))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "A1.txt").write_text("HEAD\n\nFINDINGS: Clear\nlungs.\n\nCOMPARISON: None.\nIMPRESSION: Normal.\n")
    studies, source = read(tmp_path / "dicom", reports=tmp_path / "texts")
    sections = {study.study_id: dict(study.sections) for study in studies}
    assert sections[uid_for("p", "a")]["findings"] == "Clear lungs." and sections[uid_for("p", "a")]["impression"] == "Normal."
    assert "comparison" not in sections[uid_for("p", "a")] and "findings" not in sections[uid_for("p", "b")]
    assert source.notes["studies without a report file"] == 1


def test_a_report_that_is_not_utf_8_is_read_as_windows_1252_and_counted(tmp_path):
    write_dicom(tmp_path / "dicom" / "a", name="a")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / f"{uid_for('p', 'a')}.txt").write_bytes("\nFINDINGS: Ghon’s focus, 5 µm.\n".encode("cp1252"))
    (study,), source = read(tmp_path / "dicom", reports=tmp_path / "texts")
    assert study.sections["findings"] == "Ghon’s focus, 5 µm."
    assert source.notes["reports that are not UTF-8, read as Windows-1252"] == 1


def test_a_given_prior_of_another_patient_or_a_later_date_is_not_used(tmp_path):
    current = str(write_dicom(tmp_path / "c", time=at(48)))
    for name, tags, reason in (
        ("ok", {}, None),
        ("patient", {"PatientID": "q"}, "another patient identifier"),
        ("issuer", {"IssuerOfPatientID": "X"}, "another issuer"),
        ("birth", {"PatientBirthDate": "19490101"}, "another date of birth"),
        ("sex", {"PatientSex": "M"}, "another sex"),
    ):
        record = file_record(current, str(write_dicom(tmp_path / name, name=name, **tags)))
        assert (record["prior"] is None) == (reason is not None)
        assert reason is None or reason in record["skipped_priors"][0]["reason"]
    record = file_record(current, str(write_dicom(tmp_path / "later", name="later", time=at(90))))
    assert record["prior"] is None and record["skipped_priors"] == [{"study_id": "later", "reason": "dated after the current study"}]


def test_the_newest_study_is_reported_and_a_date_in_the_future_is_warned_of(tmp_path):
    for name, hours in (("a", 0), ("b", 50), ("c", 24 * 400)):
        write_dicom(tmp_path / name, name=name, time=at(hours))
    studies, _ = read(tmp_path)
    assert newest_choices(studies)[0].study.study_id == uid_for("p", "c")
    choice = newest_choices(studies, PriorRule(now=at(60)))[0]
    assert choice.study.study_id == uid_for("p", "b") and choice.prior[0].study_id == uid_for("p", "a")
    assert "dated in the future" in " ".join(choice.warnings)
    assert newest_choices(studies, PriorRule(now=at(-999)))[0].study.study_id == uid_for("p", "c")  # all dates are shifted
