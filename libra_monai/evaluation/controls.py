# SPDX-License-Identifier: Apache-2.0
"""What is done to the studies to find out whether a model looks: at the picture, at the prior.

Each control changes records before their pictures are read, or pictures after it. Texts of a record that would tell
what the changed pictures hide go with them: reports of the prior (`prior_findings`, `prior_impression`, `earlier`)
belong to the prior picture, `view` and `technique` to the current one. `indication` and `history` stay, the same in the
drafts one compares with; `blank` shows what a model writes from them alone. The reference stays that of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from libra_monai.types import VIEWS, Record

CHANGES, STAYS = "should change", "should stay"

Records = Callable[[Sequence[Record], Mapping[str, Record], int], list[Record | None]]
Pixels = Callable[[torch.Tensor], torch.Tensor]

_PRIOR_TEXTS = ("prior_findings", "prior_impression", "earlier")
_PRIOR = ("prior", "gap_hours", "prior_study_id", *_PRIOR_TEXTS)
WITHHELD = (*_PRIOR, "comparison", "skipped_priors")  # what goes with the prior
_SHOWN = ("current", "lateral", "view", "technique", "image_uids", "unread_views", "study_uid")  # belongs to the current picture


@dataclass(frozen=True)
class Control:
    """One control.

    Args:
        name: identifier.
        title: what is done, in words.
        drafts: whether drafts should change (`CHANGES`) or stay (`STAYS`) if the model does what it should.
        records: from all records, record by study, and a seed to changed ones; None leaves a study out.
        pixels: changes one uint8 picture [1,h,w], or None.
        views: which views `pixels` changes.
        through_png: pictures are written as PNG and read again before the model gets them.
    """

    name: str
    title: str
    drafts: str
    records: Records
    pixels: Pixels | None = None
    views: tuple[str, ...] = VIEWS
    through_png: bool = False


def withhold_prior(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """Studies with a prior lose it, and all that tells of it: `comparison`, gap, reports of earlier studies."""
    gone = dict.fromkeys(WITHHELD)
    return [{**r, **gone} if r.get("prior") else None for r in records]


def swap_pictures(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """The prior stands as current and the current as prior, so improvement becomes worsening.

    `view` and `technique` become those of the prior study where its record is known. Reports of earlier studies are
    taken away, since the report of the picture that now stands as prior is the answer; so is the lateral picture.
    """
    gone = dict.fromkeys((*_PRIOR_TEXTS, *_SHOWN))
    changed: list[Record | None] = []
    for r in records:
        before = known.get(str(r.get("prior_study_id")), {})
        now = {"current": r.get("prior"), "prior": r["current"], "view": before.get("view"), "technique": before.get("technique")}
        changed.append({**r, **gone, **now} if r.get("prior") else None)
    return changed


def duplicate_current(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """The current picture stands as its own prior, so nothing has changed; reports of earlier studies are taken away."""
    return [{**r, **dict.fromkeys(_PRIOR_TEXTS), "prior": r["current"]} if r.get("prior") else None for r in records]


def other_prior(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """The prior of another patient stands as prior, with that patient's earlier reports; gap and `comparison` stay."""
    rows = [i for i, r in enumerate(records) if r.get("prior")]
    changed: list[Record | None] = [None] * len(records)
    for row, donor in donors(records, rows, seed).items():
        given = {name: records[donor].get(name) for name in ("prior", "prior_study_id", *_PRIOR_TEXTS)}
        changed[row] = {**records[row], **given}
    return changed


def shuffle_pictures(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """All pictures come from a study of another patient, with its `view`, `technique`, gap and earlier reports.

    Studies with a prior get the pictures of studies with a prior, so that `comparison` stays true.
    """
    changed: list[Record | None] = [None] * len(records)
    for has_prior in (True, False):
        rows = [i for i, r in enumerate(records) if bool(r.get("prior")) == has_prior]
        for row, donor in donors(records, rows, seed).items():
            changed[row] = {**records[row], **{name: records[donor].get(name) for name in (*_SHOWN, *_PRIOR)}}
    return changed


def without_prior_texts(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """All studies, without the reports of earlier ones; `indication`, `history` and `comparison` stay."""
    return [{**r, **dict.fromkeys(_PRIOR_TEXTS)} for r in records]


def unchanged(records: Sequence[Record], known: Mapping[str, Record], seed: int) -> list[Record | None]:
    """All studies as they are."""
    return list(records)


def donors(records: Sequence[Record], rows: Sequence[int], seed: int) -> dict[int, int]:
    """Row -> row of another patient; each gives once where no patient has more than half of the studies.

    Args:
        records: all records.
        rows: which of them give and take.
        seed: of the order of patients.
    """
    patients = [str(records[i].get("patient_id") or records[i]["study_id"]) for i in rows]
    names = sorted(set(patients))
    place = dict(zip(names, np.random.default_rng(seed).permutation(len(names)).tolist(), strict=True))
    order = sorted(range(len(rows)), key=lambda i: (place[patients[i]], i))
    largest = max((patients.count(name) for name in names), default=0)
    found: dict[int, int] = {}
    for position, i in enumerate(order):
        tries = (order[(position + largest + step) % len(order)] for step in range(len(order)))
        donor = next((j for j in tries if patients[j] != patients[i]), None)
        if donor is not None:
            found[rows[i]] = rows[donor]
    return found


def blank(picture: torch.Tensor) -> torch.Tensor:
    """The same grey everywhere."""
    return torch.full_like(picture, 128)


def exposed(factor: float) -> Pixels:
    """Grey levels times a factor, cut at white.

    Args:
        factor: 1.1 is ten per cent brighter.
    """
    return lambda picture: (picture.float() * factor).round().clamp(0, 255).to(torch.uint8)


def shifted(picture: torch.Tensor) -> torch.Tensor:
    """Two pixels to the right and down at the model's size; the edge is repeated."""
    padded = torch.nn.functional.pad(picture[None].float(), (2, 0, 2, 0), mode="replicate")[0]
    return padded[:, : picture.shape[-2], : picture.shape[-1]].to(torch.uint8)


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


CONTROLS = (
    Control("no_prior", "prior withheld", CHANGES, withhold_prior),
    Control("swapped", "prior and current swapped", CHANGES, swap_pictures),
    Control("duplicated", "current duplicated as prior", CHANGES, duplicate_current),
    Control("other_prior", "another patient's prior", CHANGES, other_prior),
    Control("shuffled", "pictures of another patient's study", CHANGES, shuffle_pictures),
    Control("blank", "blank pictures", CHANGES, without_prior_texts, blank),
    Control("brighter", "current exposed 10 % more", STAYS, unchanged, exposed(1.1), ("current",)),
    Control("darker", "current exposed 10 % less", STAYS, unchanged, exposed(0.9), ("current",)),
    Control("moved", "current moved by 2 pixels", STAYS, unchanged, shifted, ("current",)),
    Control("png", "pictures as PNG instead of DICOM", STAYS, unchanged, through_png=True),
)


class ChangePictures:
    """The step after `StudyPicturesd` that applies a control's pixels.

    Args:
        control: what to do.
    """

    def __init__(self, control: Control) -> None:
        self.control = control

    def __call__(self, item: Mapping[Any, Any]) -> dict[Any, Any]:
        """Change the pictures of one study; another key keeps a batch from taking them for the file's own."""
        changed = dict(item)
        changed["picture_paths"] = dict(item["picture_paths"])
        for view in self.control.views:
            picture = item.get(view)
            if isinstance(picture, torch.Tensor) and self.control.pixels is not None:
                plain = torch.as_tensor(picture).as_subclass(torch.Tensor)
                changed[view] = self.control.pixels(plain)
                changed["picture_paths"][view] = f"{item['picture_paths'][view]} {self.control.name}"
        return changed
