# SPDX-License-Identifier: Apache-2.0
"""MIMIC-CXR is read as it is published, with all its traps, from synthetic copies."""

from __future__ import annotations

import argparse
import logging
from datetime import datetime
from itertools import pairwise

import pytest

from libra_monai.data.corpora.mimic_cxr import MimicCxr, Options
from libra_monai.data.corpora.mimic_hand import RANGE_OF, SECTION_OF
from libra_monai.errors import ConfigError
from tests.data.corpora.mimic import FINDINGS, Image, Visit, report_text, sample_visits, tree, write_mimic, write_table

TIMES = ("21500101", "93015.5")


def _visit(images=None, subject="10000001", study="40000001", **more) -> Visit:
    base = {"findings": "Clear lungs.", "impression": "Normal."}
    return Visit(subject, study, "train", images or [Image("a", "PA", *TIMES)], **(base | more))


def _read(folder, visits=None, **options):
    source = MimicCxr()
    reading = {key: options.pop(key) for key in ("pictures", "gz", "archive") if key in options}
    write_mimic(folder, visits, **reading)
    return list(source.read(Options(folder, **options))), source


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("pictures", ["jpg", "dcm"])
@pytest.mark.parametrize("gz", [False, True])
def test_every_form_of_the_corpus_gives_the_same_studies(tmp_path, archive, pictures, gz):
    studies, source = _read(tmp_path / "a", archive=archive, pictures=pictures, gz=gz)
    plain, _ = _read(tmp_path / "b")
    assert [(s.study_id, s.patient_id, s.split, s.sections, s.labels) for s in studies] == [
        (s.study_id, s.patient_id, s.split, s.sections, s.labels) for s in plain
    ]
    assert len(studies) == 18 and not source.notes and len(source.sources) == 3
    for study in studies:
        for image in study.images:
            assert image.usable and (tmp_path / "a" / image.path).is_file() and image.path.endswith(pictures)
            assert image.path.startswith(f"files/p10/p{study.patient_id}/s{study.study_id}/")


def test_sections_labels_split_and_times_are_those_of_the_tables(tmp_path):
    studies, _ = _read(tmp_path)
    first = next(study for study in studies if study.study_id == "40000900")
    assert first.images[0].time == datetime(2150, 2, 10, 0, 0, 13, 400000)  # 13.4 lost its leading zeros
    assert (first.images[0].view, first.split, first.order) == ("AP", "training", None)
    assert first.sections["findings"] == "The lungs are clear. The heart is normal in size."
    assert first.sections["comparison"] == "None." and "last_paragraph" not in first.sections
    assert set(first.labels) == set(FINDINGS) and first.labels["No Finding"] == 1 and first.labels["Edema"] is None
    assert {study.split for study in studies} == {"training", "validation", "test"}


def test_labels_may_be_negbio_or_none(tmp_path):
    studies, source = _read(tmp_path, labels="negbio")
    assert studies[0].labels["Edema"] == -1 and source.sources[-1].name == "mimic-cxr-2.0.0-negbio.csv.gz"
    assert all(study.labels is None for study in MimicCxr().read(Options(tmp_path, labels="none")))


def test_the_record_list_and_the_headers_serve_without_the_metadata_table(tmp_path):
    with_table, _ = _read(tmp_path, pictures="dcm")
    (tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz").unlink()
    (study,) = [s for s in MimicCxr().read(Options(tmp_path, pictures="dcm")) if s.study_id == "40000800"]
    (expected,) = [s for s in with_table if s.study_id == "40000800"]
    assert [(i.path, i.view) for i in study.images] == [(i.path, i.view) for i in expected.images]
    assert study.images[0].time == expected.images[0].time.replace(microsecond=0)  # the sample's headers have no fractions


def test_an_empty_view_is_taken_from_its_code_or_a_procedure_of_one_view(tmp_path):
    images = [
        Image("a", "", *TIMES, code="postero-anterior"),
        Image("b", "", *TIMES, procedure="CHEST (PORTABLE AP)"),
        Image("c", "", *TIMES, procedure="CHEST (PA AND LAT)"),
        Image("d", "AP AXIAL", *TIMES),
    ]
    (study,), _ = _read(tmp_path, [_visit(images)])
    assert [image.view for image in study.images] == ["PA", "AP", None, "AP AXIAL"]


def test_a_study_across_midnight_keeps_the_time_of_each_image(tmp_path):
    images = [Image("late", "PA", "21500101", "235958.0"), Image("later", "LATERAL", "21500102", "102.0")]
    (study,), _ = _read(tmp_path, [_visit(images)])
    assert [image.time for image in study.images] == [datetime(2150, 1, 1, 23, 59, 58), datetime(2150, 1, 2, 0, 1, 2)]


def test_bad_rows_are_counted_and_the_others_go_on(tmp_path, caplog):
    twice = Image("a", "PA", *TIMES)
    visits = [
        _visit([twice, twice, Image("", "PA", *TIMES, there=False), Image("b", "LATERAL", "notadate", "93015")]),
        _visit([Image("c", "PA", *TIMES, there=False)], study="40000002"),
        _visit(study="40000003", has_report=False, images=[Image("d", "PA", *TIMES)]),
    ]
    with caplog.at_level(logging.WARNING):
        studies, source = _read(tmp_path, visits)
    assert source.notes == {
        "rows of images that are repeated": 1, "rows of images without an identifier": 1,
        "images without a date that can be read": 1, "images listed whose file is not there": 1,
        "studies without a report file": 1,
    }  # fmt: skip
    assert [len(study.images) for study in studies] == [2, 1, 1] and studies[0].images[1].time is None
    assert (studies[1].images[0].usable, studies[1].images[0].reason) == (False, "the file is not there")
    assert studies[2].sections == {}
    assert "1 studies without a report file" in caplog.text
    assert "40000003" not in caplog.text and "Clear lungs" not in caplog.text


@pytest.mark.parametrize("archive", [False, True])
def test_a_report_that_is_not_utf_8_is_read_as_windows_1252_and_counted(tmp_path, archive):
    text = report_text(_visit(findings="Ghon’s focus, 5 µm.")).encode("cp1252").replace(b"\n", b"\r\n")
    (study,), source = _read(tmp_path, [_visit(report=text)], archive=archive)
    assert study.sections["findings"] == "Ghon’s focus, 5 µm."
    assert source.notes == {"reports that are not UTF-8, read as Windows-1252": 1}


def test_missing_split_and_label_tables_are_said(tmp_path):
    write_mimic(tmp_path)
    for name in ("split", "chexpert"):
        (tmp_path / f"mimic-cxr-2.0.0-{name}.csv.gz").unlink()
    source = MimicCxr()
    studies = list(source.read(Options(tmp_path)))
    assert {study.split for study in studies} == {None} and {study.labels for study in studies} == {None}
    assert sorted(note.split(";")[0] for note in source.notes) == ["tables missing: chexpert", "tables missing: split"]


def test_the_first_split_of_a_study_counts_and_a_contradiction_is_said(tmp_path):
    write_mimic(tmp_path, [_visit()])
    rows = [("a", "40000001", "10000001", "train"), ("b", "40000001", "10000001", "test"), ("c", "4", "1", "holdout")]
    write_table(tmp_path, "mimic-cxr-2.0.0-split", ("dicom_id", "study_id", "subject_id", "split"), rows)
    source = MimicCxr()
    assert next(iter(source.read(Options(tmp_path)))).split == "training"
    list(source.read(Options(tmp_path)))
    assert source.notes["images whose split differs from the first of their study"] >= 1


@pytest.mark.parametrize(
    ("breakage", "said"),
    [("no folder", "is no folder"), ("no table", "neither mimic-cxr-2.0.0-metadata"), ("no column", "'study_id' is missing"),
     ("cut", "breaks off"), ("no archive", "no zip archive")],
)  # fmt: skip
def test_what_cannot_be_done_without_is_named(tmp_path, breakage, said):
    folder, more = write_mimic(tmp_path), {}
    table = folder / "mimic-cxr-2.0.0-metadata.csv.gz"
    if breakage == "no folder":
        folder = tmp_path / "nowhere"
    elif breakage == "no table":
        table.unlink()
        (folder / "cxr-record-list.csv.gz").unlink()
    elif breakage == "no column":
        write_table(folder, "mimic-cxr-2.0.0-metadata", ("dicom_id", "subject_id"), [("a", "1")])
    elif breakage == "cut":
        table.write_bytes(table.read_bytes()[:-30])
    else:
        (tmp_path / "r.zip").write_bytes(b"PK not a zip")
        more = {"reports": tmp_path / "r.zip"}
    with pytest.raises(ConfigError, match=said) as error:
        list(MimicCxr().read(Options(folder, **more)))
    assert error.value.remedy


LAST = " " * 33 + "FINAL REPORT\n INDICATION:  Cough.\n \n The lungs are clear.\n"


@pytest.mark.parametrize(("option", "findings"), [("leave", None), ("findings", "The lungs are clear.")])
def test_a_text_that_no_header_announces_is_left_out_or_findings(tmp_path, option, findings):
    (study,), source = _read(tmp_path, [_visit(report=LAST.encode())], last_paragraph=option)
    assert study.sections.get("findings") == findings and study.sections["last_paragraph"] == "The lungs are clear."
    assert bool(source.notes) == (option == "leave")


def test_the_hand_tables_are_whole_and_applied(tmp_path):
    assert len(SECTION_OF) == 23 and len(RANGE_OF) == 31 and not SECTION_OF.keys() & RANGE_OF.keys()
    assert sum(span == (0, 0) for span in RANGE_OF.values()) == 8
    ranged, named, empty = "50196495", "56451190", "58235663"
    text = "." * 59 + "The heart is large.".ljust(340) + "Signed."
    visits = [
        _visit(study=ranged, report=text.encode(), images=[Image("a", "PA", *TIMES)]),
        _visit(study=named, report=b"FINAL\n NOTE:  Lungs\n clear.\n \n IMPRESSION:  None.\n", images=[Image("b", "PA", *TIMES)]),
        _visit(study=empty, images=[Image("c", "PA", *TIMES)]),
    ]
    kept, _ = _read(tmp_path / "a", visits, last_paragraph="findings")
    assert [study.sections.get("findings") for study in kept] == ["The heart is large.", "Lungs clear.", None]
    left, source = _read(tmp_path / "b", visits)
    assert not [study for study in left if "findings" in study.sections or "impression" in study.sections]
    assert sum(source.notes.values()) == 3


def test_whole_reports_are_cleaned_before_they_are_parted_where_asked(tmp_path):
    above = b"                 FINAL ADDENDUM\n  ADDENDUM  Seen again.\n " + b"_" * 78 + b"\n" + report_text(_visit()).encode()
    (study,), _ = _read(tmp_path / "a", [_visit(report=above)])
    (cleaned,), _ = _read(tmp_path / "b", [_visit(report=above)], cleaners=("no_addenda",))
    assert "Seen again" in study.sections["preamble"] and "Seen again" not in str(cleaned.sections)
    assert cleaned.sections["findings"] == study.sections["findings"] == "Clear lungs."
    with pytest.raises(ConfigError, match="no_adenda"):
        _read(tmp_path / "c", [_visit()], cleaners=("no_adenda",))


def test_sex_age_race_and_insurance_come_from_mimic_iv(tmp_path):
    write_table(tmp_path / "iv" / "hosp", "patients", ("subject_id", "gender", "anchor_age", "anchor_year"),
                [("10000001", "F", "60", "2148"), ("10000002", "M", "x", "2148")])  # fmt: skip
    write_table(tmp_path / "iv" / "hosp", "admissions", ("subject_id", "hadm_id", "admittime", "insurance", "race"), [
        ("10000001", "1", "2149-01-01 10:00:00", "Medicare", "WHITE"), ("10000001", "2", "2151-01-01 10:00:00", "Other", "UNKNOWN"),
    ])  # fmt: skip
    studies, source = _read(tmp_path / "cxr", people=tmp_path / "iv")
    assert studies[0].about == {"sex": "F", "age": 62, "race": "WHITE", "insurance": "Medicare"}
    assert next(s for s in studies if s.patient_id == "10000002").about == {"sex": "M"}
    assert next(s for s in studies if s.patient_id == "10000003").about == {}
    assert [path.name for path in source.sources[:2]] == ["patients.csv.gz", "admissions.csv.gz"]


def test_studies_come_in_one_order_whatever_the_order_of_the_rows(tmp_path):
    visits = sample_visits()
    forward, _ = _read(tmp_path / "a", visits)
    backward, _ = _read(tmp_path / "b", visits[::-1])
    assert forward == backward
    keys = [(int(study.patient_id), int(study.study_id)) for study in forward]
    assert all(a < b for a, b in pairwise(keys))


def test_the_command_line_reaches_every_option(tmp_path):
    write_mimic(tmp_path)
    parser = argparse.ArgumentParser()
    MimicCxr.arguments(parser)
    words = f"--root {tmp_path} --tables {tmp_path} --reports {tmp_path} --pictures jpg --labels none --compat original"
    args = parser.parse_args([*words.split(), "--last-paragraph", "findings", "--report-cleaner", "no_addenda"])
    assert len(list(MimicCxr().studies(args))) == 18


def test_the_tree_may_stand_without_its_folder_files(tmp_path):
    write_mimic(tmp_path / "a")
    (tmp_path / "a" / "files" / "p10").rename(tmp_path / "a" / "p10")
    (tmp_path / "a" / "files").rmdir()
    studies = list(MimicCxr().read(Options(tmp_path / "a")))
    assert studies[0].images[0].path == f"{tree(sample_visits()[2])[6:]}/02a-40000700.jpg" and studies[0].sections["findings"]
