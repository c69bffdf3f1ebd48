# SPDX-License-Identifier: Apache-2.0
"""CheXpert Plus is read as it is published, with all its traps, from synthetic copies."""

from __future__ import annotations

import argparse
import json
import logging

import pytest

from libra_monai.data.corpora.chexpert_plus import CheXpertPlus
from libra_monai.errors import ConfigError
from tests.data.corpora.chexpert import row, sample_rows, write_chexpert


def _read(folder, rows=None, labels=None, **form):
    source = CheXpertPlus()
    write_chexpert(folder, rows, **form)
    return list(source.read(folder, labels=labels)), source


@pytest.mark.parametrize("tree", ["", "PNG/", "DICOM/"])
@pytest.mark.parametrize("form", ["jpg", "png", "dcm"])
def test_pictures_are_found_in_every_form_and_tree(tmp_path, form, tree):
    studies, source = _read(tmp_path, pictures=form, tree=tree)
    assert len(studies) == 15 and not source.notes and len(source.sources) == 1
    images = [image for study in studies for image in study.images]
    assert len(images) == 20 and all((tmp_path / image.path).is_file() and image.usable for image in images)
    assert all(image.path.endswith(form) and image.path.startswith(tree) for image in images)


def test_the_order_is_a_number_and_no_time_is_invented(tmp_path):
    studies, _ = _read(tmp_path)
    first = [study for study in studies if study.patient_id == "patient90000"]
    assert [(study.study_id, study.order) for study in first] == [
        ("patient90000_study1", 0.0), ("patient90000_study2", 2.0), ("patient90000_study10", 10.0)
    ]  # fmt: skip
    assert {image.time for study in studies for image in study.images} == {None}
    assert [study.split for study in studies].count("validation") == 3


def test_sections_views_and_people_are_those_of_the_table(tmp_path):
    studies, _ = _read(tmp_path)
    assert studies[0].sections == {"findings": "The lungs are clear.", "impression": "NO ACUTE PROCESS.", "history": "Cough."}
    assert studies[1].sections == {"impression": "1. SMALL LEFT PLEURAL EFFUSION.", "history": "Cough."}
    assert [image.view for image in studies[1].images] == ["AP", "LATERAL"]
    assert studies[0].about == {"age": 61, "sex": "F", "ethnicity": "Not Hispanic", "insurance": "Private Insurance"}


def test_one_report_is_chosen_of_those_repeated_per_image_whatever_the_order_of_the_rows(tmp_path):
    rows = [
        row("patient90001", "study1", "view10_frontal", "3", section_impression="TENTH"),
        row("patient90001", "study1", "view2_frontal", "3", section_impression="SECOND", age="70"),
        row("patient90001", "study1", "view1_frontal", "3", section_impression=" ", age="10"),
    ]
    for number, order in enumerate((rows, rows[::-1])):
        (study,), source = _read(tmp_path / str(number), order)
        assert study.sections == {"impression": "SECOND"} and study.about["age"] == 70
        assert [image.image_id.split("_")[2] for image in study.images] == ["view1", "view2", "view10"]
        assert source.notes == {"studies whose images carry differing reports; one was chosen": 1}


def test_clinical_history_counts_before_history(tmp_path):
    (study,), _ = _read(tmp_path, [row("patient90001", "study1", "view1_frontal", "1", section_history="old",
                                       section_clinical_history="CLINICAL")])  # fmt: skip
    assert study.sections == {"history": "CLINICAL"}


def test_bad_rows_are_counted_and_the_others_go_on(tmp_path, caplog):
    good = row("patient90001", "study1", "view1_frontal", "3", section_impression="CLEAR.")
    rows = [
        good, good, good | {"path_to_image": "nowhere.jpg"},
        row("patient90001", "study2", "view1_frontal", "soon", section_impression="CLEAR."),
        row("patient90001", "study3", "view1_frontal", "5"), row("patient90001", "study3", "view2_lateral", "4"),
        row("patient90002", "study1", "view1_frontal", "1", ap_pa="", age="-1", sex="", split="holdout"),
    ]  # fmt: skip
    write_chexpert(tmp_path, rows)
    (tmp_path / "train/patient90001/study2/view1_frontal.jpg").unlink()
    source = CheXpertPlus()
    with caplog.at_level(logging.WARNING):
        studies = list(source.read(tmp_path))
    assert source.notes == {
        "rows of images that are repeated": 1, "rows whose path names no patient and study": 1,
        "rows without a number in patient_report_date_order": 1,
        "rows whose order differs within their study; the smallest counts": 1, "images listed whose file is not there": 1,
    }  # fmt: skip
    assert [study.order for study in studies] == [3.0, None, 4.0, 1.0]
    assert studies[1].images[0].reason == "the file is not there"
    assert (studies[3].images[0].view, studies[3].split) == ("FRONTAL", None) and "age" not in studies[3].about
    assert "patient9" not in caplog.text and "CLEAR" not in caplog.text


def test_a_study_known_to_be_corrupt_is_not_used(tmp_path):
    (study,), _ = _read(tmp_path, [row("patient32368", "study1", "view1_frontal", "1")])
    assert not study.images[0].usable and "corrupt" in study.images[0].reason


def test_texts_that_are_not_utf_8_are_read_as_windows_1252_and_counted(tmp_path):
    rows = [row("patient90001", "study1", "view1_frontal", "1", section_impression="Ghon’s focus, 5 µm.")]
    (study,), source = _read(tmp_path, rows, encoding="cp1252")
    assert study.sections["impression"] == "Ghon’s focus, 5 µm."
    assert source.notes == {"sections that are not UTF-8, read as Windows-1252": 1}


@pytest.mark.parametrize("form", ["lines", "list", "csv", "chexpert"])
def test_labels_come_from_side_files(tmp_path, form):
    path = "train/patient90000/study1/view1_frontal.jpg"
    values = {"path_to_image": path, "Edema": 1.0, "Fracture": None, "Pneumonia": -1.0, "Cardiomegaly": 0.0}
    file = tmp_path / ("labels.csv" if form in ("csv", "chexpert") else "labels.json")
    if form == "lines":
        file.write_text(json.dumps(values) + "\n")
    elif form == "list":
        file.write_text(json.dumps([values]))
    elif form == "csv":
        file.write_text(f"path_to_image,Edema,Fracture,Pneumonia,Cardiomegaly\n{path},1.0,,-1.0,0.0\n")
    else:
        file.write_text(
            "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Fracture,Pneumonia,Cardiomegaly\n"
            f"CheXpert-v1.0/{path},Female,61,Frontal,AP,,1.0,,-1.0,0.0\n"
        )
    studies, source = _read(tmp_path / "corpus", labels=file)
    expected = {"Edema": 1, "Fracture": None, "Pneumonia": -1, "Cardiomegaly": 0}
    assert studies[0].labels == (expected | {"No Finding": None} if form == "chexpert" else expected)
    assert studies[1].labels is None and source.sources[-1] == file


@pytest.mark.parametrize("content", ['{"Edema": 1}', "[1]", "{", '"x"'])
def test_labels_of_another_form_are_refused(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ConfigError, match=r"labels.json: not one object per image"):
        _read(tmp_path / "corpus", labels=tmp_path / "labels.json")


def test_what_cannot_be_done_without_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is no folder"):
        list(CheXpertPlus().read(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="df_chexpert_plus_240401"):
        list(CheXpertPlus().read(tmp_path))
    (tmp_path / "t.csv").write_text("path_to_image,split\n")
    with pytest.raises(ConfigError, match="column 'frontal_lateral' is missing"):
        list(CheXpertPlus().read(tmp_path, tmp_path / "t.csv"))


def test_studies_come_in_one_order_whatever_the_order_of_the_rows(tmp_path):
    forward, _ = _read(tmp_path / "a", sample_rows())
    backward, _ = _read(tmp_path / "b", sample_rows()[::-1])
    assert forward == backward


def test_the_command_line_reaches_every_option(tmp_path):
    write_chexpert(tmp_path)
    parser = argparse.ArgumentParser()
    CheXpertPlus.arguments(parser)
    table = tmp_path / "df_chexpert_plus_240401.csv"
    args = parser.parse_args(["--root", str(tmp_path), "--table", str(table), "--pictures", "jpg"])
    assert len(list(CheXpertPlus().studies(args))) == 15
