# SPDX-License-Identifier: Apache-2.0
"""A synthetic CheXpert Plus: its table with one row an image, and its tree of pictures."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.data.corpora.drawing import write_picture

COLUMNS = (
    "path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order", "report",
    "section_narrative", "section_clinical_history", "section_history", "section_comparison", "section_technique",
    "section_procedure_comments", "section_findings", "section_impression", "section_end_of_impression",
    "section_summary", "section_accession_number", "age", "sex", "race", "ethnicity", "interpreter_needed",
    "insurance_type", "recent_bmi", "deceased", "split",
)  # fmt: skip


def row(patient: str, study: str, view: str, order: str, **values: str) -> dict[str, str]:
    """One row of the table.

    Args:
        patient, study, view: names of folders and file, such as `patient90001`, `study1`, `view1_frontal`.
        order: `patient_report_date_order`.
        values: other columns.
    """
    frontal = view.endswith("frontal")
    stem = f"train/{patient}/{study}/{view}"
    base = dict.fromkeys(COLUMNS, "") | {
        "path_to_image": f"{stem}.jpg", "path_to_dcm": f"{stem}.dcm", "ap_pa": "AP" if frontal else "",
        "frontal_lateral": "Frontal" if frontal else "Lateral", "deid_patient_id": patient,
        "patient_report_date_order": order, "split": "train", "age": "61.0", "sex": "Female", "race": "Unknown",
        "ethnicity": "Not Hispanic", "insurance_type": "Private Insurance", "section_accession_number": "0000",
    }  # fmt: skip
    return base | values


def sample_rows() -> list[dict[str, str]]:
    """Five invented patients of up to eleven studies; names of studies sort wrongly as text."""
    said = ["NO ACUTE PROCESS.", "1. SMALL LEFT PLEURAL EFFUSION.", "1. LARGER LEFT PLEURAL EFFUSION.  2. MILD EDEMA."]
    rows = []
    for patient in range(5):
        name, split = f"patient9000{patient}", "valid" if patient == 4 else "train"
        for study in (1, 2, 10):
            order = str({1: 0, 2: 2, 10: 10}[study])
            text = said[(1, 2, 10).index(study)]
            for view in ("view1_frontal", "view2_lateral")[: 1 + (study == 2)]:
                made = row(
                    name, f"study{study}", view, order, section_impression=text, split=split,
                    section_findings="The lungs are clear." if study == 1 else "", section_history="Cough.",
                    report=f"NARRATIVE:\n{text}",
                )  # fmt: skip
                rows.append(made | {key: made[key].replace("train/", f"{split}/") for key in ("path_to_image", "path_to_dcm")})
    return rows


def write_chexpert(
    folder: Path, rows: list[dict[str, str]] | None = None, pictures: str = "jpg", tree: str = "", encoding: str = "utf-8"
) -> Path:
    """Write the sample and return its folder.

    Args:
        folder: where to.
        rows: of the table; default `sample_rows()`.
        pictures: `jpg`, `png` or `dcm`.
        tree: folder the pictures' archive unpacked into, such as `PNG/`.
        encoding: of the table.
    """
    rows = sample_rows() if rows is None else rows
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "df_chexpert_plus_240401.csv").open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for number, path in enumerate(sorted({values["path_to_image"] for values in rows})):
        if path.count("/") == 3:
            write_picture(folder / tree / path.replace(".jpg", f".{pictures}"), number)
    return folder
