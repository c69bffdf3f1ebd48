# SPDX-License-Identifier: Apache-2.0
"""All studies of one rich phantom patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from libra_monai.data.phantom.anatomy import Body, draw_body
from libra_monai.data.phantom.dicom import Identity
from libra_monai.data.phantom.patient import (
    Made,
    as_hex,
    is_ill,
    placed,
    record_of,
    report_text,
    save_picture,
    truth_of,
    without_time,
)
from libra_monai.data.phantom.rich.details import retell
from libra_monai.data.phantom.rich.frontal import Film, draw_film, draw_frontal
from libra_monai.data.phantom.rich.lateral import draw_lateral
from libra_monai.data.phantom.rich.wording import Wordings, pollute, write_findings, write_impression
from libra_monai.data.phantom.story import Visit, draw_story
from libra_monai.data.phantom.wording import draw_indication
from libra_monai.files import write_text

_LATERAL = {"PA": 0.55, "AP": 0.08}  # share of studies with a second view; 0.3 of all, few of those taken in bed


def make_rich_patient(job: tuple[int, str], root: str, manifest: dict[str, Any]) -> Made:
    """Draw a rich phantom patient.

    Args:
        job: number and split of the patient.
        root: folder to write to.
        manifest: options of the folder: `seed`, `long_side`, `held_out`, `polluted`.
    """
    (number, split), seed = job, manifest["seed"]
    rng = np.random.default_rng([seed, number])
    patient_id = f"PH{seed}-{number:05d}"
    sex = str(rng.choice(["F", "M"]))
    body, visits = draw_body(rng, sex), retell(draw_story(rng))
    birth_year = visits[0].time.year - int(rng.integers(20, 90))
    wordings: Wordings = "held_out" if split == "test" and manifest["held_out"] else "training"
    records, truth, before = [], [], {}
    for order, visit in enumerate(visits):
        film = draw_film(rng, is_ill(visit), manifest["long_side"])
        study_id = f"{patient_id}-S{order + 1}"
        identity = Identity(patient_id, study_id, visit.time, birth_year, sex, film.exposure.view)
        picture, places = draw_frontal(body, visit.conditions, film, rng)
        path = save_picture(root, picture, identity, rng)
        texts, polluted = _texts(visit, bool(records), wordings, manifest["polluted"], rng)
        record = record_of(identity, visit, path, texts, records)
        record |= _second_view(root, body, visit, film, identity, rng) | ({"polluted": True} if polluted else {})
        seen = {key: as_hex(cells) for key, cells in places.items()}
        records.append(record | {"statements": placed([s.as_record() for s in visit.statements], seen, before)})
        before = seen
        write_text(Path(root) / "reports" / f"{study_id}.txt", report_text(record))
        truth.append(truth_of(records[-1], split, visit))
    return split, [without_time(record) for record in records], truth


def _texts(
    visit: Visit, has_prior: bool, wordings: Wordings, share: float, rng: np.random.Generator
) -> tuple[dict[str, str], bool]:
    """Sections of the report, and whether they cite a prior that is not there."""
    polluted = not has_prior and bool(rng.random() < share)
    if polluted:
        findings, impression = pollute(visit.statements, rng, wordings)
    else:
        findings = write_findings(visit.statements, rng, wordings)
        impression = write_impression(visit.statements, rng, wordings)
    texts = {"findings": findings, "impression": impression, "indication": draw_indication(rng, has_prior)}
    return texts, polluted


def _second_view(
    root: str, body: Body, visit: Visit, film: Film, identity: Identity, rng: np.random.Generator
) -> dict[str, Any]:
    """What a lateral picture adds to the record; nothing if none is taken."""
    if rng.random() >= _LATERAL[identity.view]:
        return {}
    aside = replace(identity, view="LL" if rng.random() < 0.7 else "LATERAL", number=2)
    path = save_picture(root, draw_lateral(body, visit.conditions, film, rng), aside, rng)
    return {
        "lateral": path,
        "technique": f"Frontal {identity.view} and lateral views of the chest.",
        "image_uids": [identity.image_uid(), aside.image_uid()],
    }
