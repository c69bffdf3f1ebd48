# SPDX-License-Identifier: Apache-2.0
"""What a workflow is asked to read: a datalist, files given by hand, or phantom studies made on the spot."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from libra_monai.data.chronology import Choice, PriorRule, choose_priors, mismatch
from libra_monai.data.datalist import default_root, load_header, load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.data.schema import complete
from libra_monai.data.studies import Study
from libra_monai.errors import ConfigError, StudyError

_log = logging.getLogger(__name__)

PHANTOM_FOLDER = "runs/phantom"


def ensure_phantom(folder: str | None = None, patients: int = 40, seed: int = 1) -> str:
    """Path of `datalist.json` in a folder; phantom studies are drawn there if the folder has none.

    Args:
        folder: where the studies are or will be; None is `runs/phantom`.
        patients, seed: see `libra_monai.data.phantom.generate`.

    Raises:
        ConfigError: the folder holds something else.
    """
    place = Path(folder or PHANTOM_FOLDER)
    found = place / "datalist.json"
    return str(found if found.is_file() else generate(place, patients, seed))


def file_record(
    current: str,
    prior: str | None = None,
    lateral: str | None = None,
    sections: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """A record for files that belong to no datalist; its paths are absolute.

    A DICOM prior whose header speaks of another patient, or of a later date, is not used and stands in `skipped_priors`.

    Args:
        current, prior, lateral: paths of pictures.
        sections: `indication`, `history`, `technique`, `comparison` where known.
    """
    against = speaks_against(current, prior) if current and prior else None
    skipped = [{"study_id": Path(prior).stem or "prior", "reason": against}] if against else None
    if against:
        _log.warning("the given prior is not used: %s", against)
    files = {"current": current, "prior": None if against else prior, "lateral": lateral}
    item = {view: os.path.abspath(path) for view, path in files.items() if path}
    given = {name: text for name, text in (sections or {}).items() if text}
    return complete({"study_id": Path(current).stem or "study", "skipped_priors": skipped, **item, **given}, "the request")


def speaks_against(current: str, prior: str) -> str | None:
    """Why a prior given by hand must not be used, by the headers of both; None where they agree or are silent.

    Args:
        current, prior: paths; of files other than DICOM nothing is known.
    """
    from libra_monai.data.sources.headers import NotUsed, read_header

    try:
        ours, theirs = read_header(current, any_object=True), read_header(prior, any_object=True)
    except NotUsed:
        return None
    if ours.patient_id and theirs.patient_id and ours.patient_id != theirs.patient_id:
        return "another patient identifier"
    different = mismatch(
        *(Study("", one.patient_id, issuer=one.issuer, birth_date=one.birth_date, about=one.about) for one in (ours, theirs))
    )
    if different:
        return different
    return "dated after the current study" if ours.time and theirs.time and theirs.time > ours.time else None


def newest_choices(studies: Iterable[Study], rule: PriorRule | None = None) -> list[Choice]:
    """Of each patient the newest study, with its prior; patients in order of their identifiers.

    A patient identifier of two issuers is two patients. Studies dated after `rule.now` are not the newest where there
    are others, nor are studies without a date; `warnings` tell of both.

    Args:
        studies: of any patients.
        rule: how priors are chosen.
    """
    rule = rule or PriorRule()
    patients: dict[tuple[str, str], list[Choice]] = defaultdict(list)
    for choice in choose_priors(studies, rule):
        study = choice.study
        patients[study.patient_id or f"study {study.study_id}", study.issuer or ""].append(choice)
    return [_newest(patients[key], rule) for key in sorted(patients)]


def choice_of(
    studies: Iterable[Study], study_uid: str, rule: PriorRule | None = None, where: str = "the study", skipped: Iterable[str] = ()
) -> Choice:
    """One study of an archive with its pictures and prior.

    Args:
        studies: of its patient, or of more.
        study_uid: which of them.
        rule: how the prior is chosen.
        where: what messages call the study.
        skipped: why objects of it are no chest radiographs.

    Raises:
        StudyError: there is none, it is of two patients, or it has no frontal picture.
    """
    studies = list(studies)
    ours = [study for study in studies if study.study_uid == study_uid]
    if not ours:
        reasons = ", ".join(sorted(set(skipped))) or "nothing in it"
        raise StudyError(where, "record", f"no chest radiograph in the study ({reasons})", "Send CR or DX pictures of the chest.")
    if len(ours) > 1:
        raise StudyError(where, "record", f"objects of {len(ours)} patients in one study", "Correct the study in the archive.")
    choice = next(choice for choice in choose_priors(studies, rule) if choice.study is ours[0])
    if choice.current is None:
        told = sorted({image.reason for image in ours[0].images if image.reason})
        told = told or ["views: " + ", ".join(sorted({image.view or "unknown" for image in ours[0].images}))]
        raise StudyError(where, "record", f"no usable frontal picture ({'; '.join(told)})", "Send the frontal picture as well.")
    return choice


def _newest(choices: list[Choice], rule: PriorRule) -> Choice:
    dated = [choice for choice in choices if choice.study.time is not None]
    past = [choice for choice in dated if rule.now is None or choice.study.time <= rule.now]
    newest = max(past or dated or choices, key=lambda choice: (choice.study.time or datetime.min, choice.study.study_id))
    if past and len(past) < len(dated):
        newest.warnings.append(f"{len(dated) - len(past)} studies of the patient are dated in the future; not used")
    if dated and len(dated) < len(choices):
        newest.warnings.append(f"{len(choices) - len(dated)} studies of the patient have no date; one may be newer")
    if sum(choice.study.time == newest.study.time for choice in choices) > 1:
        newest.warnings.append("several studies of the patient have the same time; the last by identifier is reported")
    return newest


def request_records(
    datalist: str | None,
    split: str = "test",
    current: str | None = None,
    prior: str | None = None,
    lateral: str | None = None,
    sections: Mapping[str, str | None] | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """The studies of an inference run: the files given by hand, else a split of the datalist.

    Args:
        datalist: path of a datalist; ignored if `current` is given.
        split, limit: which studies of the datalist.
        current, prior, lateral, sections: see `file_record`.

    Raises:
        ConfigError: neither is given, or a prior without a current picture.
    """
    if current:
        return [file_record(current, prior, lateral, sections)]
    if prior or lateral:
        raise ConfigError("a prior or lateral picture was given without a current one", "Set `current` as well.")
    if not datalist:
        raise ConfigError("nothing to read", "Set `current`, or `datalist` and `split`.")
    return load_records(datalist, split, limit)


def request_root(data_root: str | None, datalist: str | None, current: str | None = None) -> str:
    """Folder that the paths of a request may not leave: the file system's root for files given by hand.

    Args:
        data_root: root of the datalist's paths; None is the datalist's folder.
        datalist: path of the datalist.
        current: path of the current picture if it was given by hand.
    """
    if current:
        return Path(os.path.abspath(current)).anchor
    return data_root or default_root(datalist or PHANTOM_FOLDER)


def privacy_of(datalist: str | None) -> str:
    """`privacy` of a datalist; `identifiable` if there is none."""
    return load_header(datalist)["privacy"] if datalist else "identifiable"
