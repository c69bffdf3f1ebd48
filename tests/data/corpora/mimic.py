# SPDX-License-Identifier: Apache-2.0
"""A synthetic MIMIC-CXR: tables, tree and reports as published, with numbers that the corpus does not use.

Subjects lie below the corpus' smallest number, studies below its range of numbers.
"""

from __future__ import annotations

import csv
import gzip
import io
import textwrap
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.data.corpora.drawing import write_picture

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns",
    "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
_CODE = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral", "LL": "left lateral", "": ""}


@dataclass
class Image:
    """One row of the metadata table."""

    name: str
    view: str
    date: str
    time: str
    procedure: str = "CHEST (PA AND LAT)"
    code: str | None = None
    there: bool = True


@dataclass
class Visit:
    """One invented study."""

    subject: str
    study: str
    split: str
    images: list[Image]
    findings: str | None = None
    impression: str | None = None
    report: bytes | None = None  # instead of one made of the texts
    comparison: str = "None."
    labels: dict[str, str] = field(default_factory=dict)
    has_report: bool = True


def write_mimic(
    folder: Path, visits: list[Visit] | None = None, pictures: str = "jpg", gz: bool = True, archive: bool = False
) -> Path:
    """Write the sample and return its folder.

    Args:
        folder: where to.
        visits: what is in it; default `sample_visits()`.
        pictures: `jpg` or `dcm`.
        gz: gzip the tables.
        archive: leave the reports in their zip archive.
    """
    visits = sample_visits() if visits is None else visits
    rows = [(visit, image) for visit in visits for image in visit.images]
    write_table(folder, "mimic-cxr-2.0.0-metadata", METADATA, [_metadata(v, i) for v, i in rows], gz)
    split = [(i.name, v.study, v.subject, v.split) for v, i in rows]
    write_table(folder, "mimic-cxr-2.0.0-split", ("dicom_id", "study_id", "subject_id", "split"), split, gz)
    labels = [(v.subject, v.study, *(v.labels.get(name, "") for name in FINDINGS)) for v in visits]
    for name in ("chexpert", "negbio"):
        write_table(folder, f"mimic-cxr-2.0.0-{name}", ("subject_id", "study_id", *FINDINGS), labels, gz)
    records = [(v.subject, v.study, i.name, f"{tree(v)}/{i.name}.dcm") for v, i in rows]
    write_table(folder, "cxr-record-list", ("subject_id", "study_id", "dicom_id", "path"), records, gz)
    for number, (visit, image) in enumerate(rows):
        if image.there:
            tags = {"ViewPosition": image.view, "StudyDate": image.date, "StudyTime": image.time.partition(".")[0].zfill(6)}
            write_picture(folder / f"{tree(visit)}/{image.name}.{pictures}", number, **(tags if pictures == "dcm" else {}))
    texts = {f"{tree(v)}.txt": v.report or report_text(v).encode() for v in visits if v.has_report}
    if archive:
        with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w") as file:
            for path, text in texts.items():
                file.writestr(path, text)
    else:
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text)
    return folder


def tree(visit: Visit) -> str:
    """Folder of a study in the tree."""
    return f"files/p{visit.subject[:2]}/p{visit.subject}/s{visit.study}"


def write_table(folder: Path, stem: str, names: tuple[str, ...], rows: list[tuple], gz: bool = True) -> Path:
    """Write a CSV table, gzipped or not."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.csv{'.gz' if gz else ''}"
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0) if gz else text.getvalue().encode())
    return path


def report_text(visit: Visit) -> str:
    """A report as the corpus stores it: header line, capital section names after one blank, lines of 79."""
    parts = [("EXAMINATION", "Chest radiograph"), ("INDICATION", "History: ___ with cough  // pneumonia?"),
             ("TECHNIQUE", "Chest PA and lateral"), ("COMPARISON", visit.comparison),
             ("FINDINGS", visit.findings), ("IMPRESSION", visit.impression)]  # fmt: skip
    text = " " * 33 + "FINAL REPORT\n"
    for name, part in parts:
        if part is not None:
            text += f" {name}:  " + "\n ".join(textwrap.wrap(part, 78)) + "\n \n"
    return text


def sample_visits() -> list[Visit]:
    """Six invented patients, four for training; study numbers do not follow time."""
    said = [
        ("The lungs are clear. The heart is normal in size.", "No acute cardiopulmonary process.", {"No Finding": "1.0"}),
        ("There is a small left pleural effusion. No pneumothorax is seen.", "Small left effusion.",
         {"Pleural Effusion": "1.0", "Pneumothorax": "0.0"}),
        ("The left pleural effusion has increased. Possible mild edema.", "Larger left effusion.",
         {"Pleural Effusion": "1.0", "Edema": "-1.0"}),
    ]  # fmt: skip
    visits = []
    for patient in range(6):
        split = ("train", "train", "train", "train", "validate", "test")[patient]
        for visit in range(3):
            findings, impression, labels = said[visit]
            study = str(40000900 - 100 * visit + patient)  # the later, the smaller
            date, time = f"21{50 + patient}02{10 + 3 * visit}", ("13.4", "93015.5", "213014.531")[visit]
            images = [Image(f"{patient}{visit}a-{study}", "PA" if visit else "AP", date, time)]
            if visit == 1:
                images.append(Image(f"{patient}{visit}b-{study}", "LATERAL", date, time))
            visits.append(
                Visit(
                    f"1000000{patient + 1}", study, split, images, findings, impression, labels=labels,
                    comparison="None." if visit == 0 else "Radiograph of ___.",
                )
            )  # fmt: skip
    return visits


def _metadata(visit: Visit, image: Image) -> tuple:
    code = _CODE.get(image.view, "") if image.code is None else image.code
    return (
        image.name, visit.subject, visit.study, image.procedure, image.view, 64, 64, image.date, image.time,
        image.procedure, code, "Erect",
    )  # fmt: skip
