# SPDX-License-Identifier: Apache-2.0
"""Which earlier study a study is compared with, and why.

There is no official rule for MIMIC-CXR or any other corpus; ours, `default`, is: of the studies of the same patient in
the same split, strictly earlier by their earliest acquisition, the last one with a usable frontal picture; of its
pictures PA before AP before other frontals, then the earliest, then the smallest identifier. Two published behaviours
can be had for comparison:

* `libra_v1` (Libra, arXiv 2411.19378): the last picture, of any view, taken on an earlier day; studies of one day
  share it. Unlike the published walk over rows, a study across midnight is not its own prior.
* `previous_study` (CXRMate): the study just before by date and time, ties by identifier, or none.

Corpora without dates are ordered by `Study.order`; no gap is known then. Only the order within a patient is looked at,
so shifted dates do no harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from libra_monai.data.schema import FIELDS
from libra_monai.data.studies import ABOUT, NOT_FRONTAL, SECTIONS, UNKNOWN_RANK, Study, StudyImage, frontal_rank, is_lateral
from libra_monai.errors import ConfigError, did_you_mean

RULES = ("default", "libra_v1", "previous_study")
_SILENT = {"", "none", "none.", "none available.", "none available", "no prior.", "no comparison."}
_TOLERANCE = timedelta(days=1)  # clocks and time zones
_Place = tuple[datetime | None, float | None]


@dataclass(frozen=True)
class PriorRule:
    """How priors are chosen.

    Args:
        name: one of `RULES`; hyphens count as underscores.
        max_gap_hours: earlier studies further back than this are not used; None is no limit. Studies without
            dates have no gap and are not limited.
        keep_earlier: how many earlier studies are kept, newest first; None is all.
        same_split: priors from another split are not used.
        unknown_views: pictures whose view nobody tells may stand for their study where it has no frontal one.
        now: studies later than this (and a day) are not used as priors; None trusts all dates, as
            de-identified corpora are shifted into the future.

    Raises:
        ConfigError: there is no such rule, or a number makes no sense.
    """

    name: str = "default"
    max_gap_hours: float | None = None
    keep_earlier: int | None = None
    same_split: bool = True
    unknown_views: bool = False
    now: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.name).replace("-", "_"))
        if self.name not in RULES:
            raise ConfigError(f"prior rule '{self.name}' does not exist", did_you_mean(self.name, RULES))
        if self.max_gap_hours is not None and not self.max_gap_hours > 0:
            raise ConfigError(f"max_gap {self.max_gap_hours} leaves no prior", "Give hours above 0, or leave it out.")
        if self.keep_earlier is not None and self.keep_earlier < 0:
            raise ConfigError(f"keep_earlier {self.keep_earlier} is negative", "Give 0 or more, or leave it out.")


@dataclass
class Choice:
    """What was chosen for one study.

    Args:
        study: the study.
        current: the frontal picture that stands for it, or None.
        lateral: its first lateral picture, or None.
        earlier: (study, picture, gap in hours or None), newest first.
        skipped: `{"study_id", "reason"}` of studies of the patient that could have been priors and are none.
        warnings: what the user should know: studies of one patient identifier that are not of one patient.
        rule: by which rule.
    """

    study: Study
    current: StudyImage | None
    lateral: StudyImage | None
    earlier: list[tuple[Study, StudyImage, float | None]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rule: PriorRule = PriorRule()

    @property
    def prior(self) -> tuple[Study, StudyImage, float | None] | None:
        """The newest of the earlier studies, or None."""
        return self.earlier[0] if self.earlier else None

    @property
    def claims_comparison(self) -> bool:
        """Whether the report says that it was compared with something."""
        return " ".join((self.study.sections.get("comparison") or "").lower().split()) not in _SILENT


def choose_priors(studies: Iterable[Study], rule: PriorRule | None = None) -> list[Choice]:
    """Choose pictures and priors of all studies; the order of the input decides nothing but the order of the output.

    Args:
        studies: of all patients. A study without `patient_id` is alone.
        rule: how priors are chosen; default the default rule.
    """
    rule = rule or PriorRule()
    studies = list(studies)
    patients: dict[str, list[Study]] = defaultdict(list)
    for number, study in enumerate(studies):
        patients[study.patient_id or f"\0{number}"].append(study)
    chosen: dict[int, Choice] = {}
    for group in patients.values():
        placed = [(_place(study), study) for study in group]
        placed.sort(key=lambda pair: _sort_key(pair[0], pair[1]), reverse=True)
        for place, study in placed:
            chosen[id(study)] = _choose(study, place, placed, rule)
    return [chosen[id(study)] for study in studies]


def to_record(choice: Choice) -> dict[str, Any]:
    """The datalist item of a choice, all fields present; see libra_monai/data/schema.py.

    Args:
        choice: with a current picture.

    Raises:
        ConfigError: the study has no picture to report on.
    """
    study, prior = choice.study, choice.prior
    if choice.current is None:
        raise ConfigError(f"study '{study.study_id}' has no usable frontal picture", "Leave it out.")
    earlier = [_earlier_item(*one) for one in choice.earlier]
    uids = [image.uid for image in (choice.current, choice.lateral) if image is not None and image.uid]
    record: dict[str, Any] = dict.fromkeys(FIELDS)
    record |= {name: _text(study.sections.get(name)) for name in SECTIONS}
    record |= {name: study.about.get(name) for name in ABOUT}
    return record | {
        "study_id": study.study_id,
        "patient_id": study.patient_id or None,
        "current": choice.current.path,
        "prior": prior[1].path if prior else None,
        "lateral": choice.lateral.path if choice.lateral else None,
        "view": choice.current.view or None,
        "gap_hours": prior[2] if prior else None,
        "prior_study_id": prior[0].study_id if prior else None,
        "prior_findings": earlier[0]["findings"] if earlier else None,
        "prior_impression": earlier[0]["impression"] if earlier else None,
        "earlier": earlier,
        "finding_labels": dict(study.labels) if study.labels else None,
        "study_uid": study.study_uid or None,
        "image_uids": uids or None,
        "unread_views": _unread_views(choice) or None,
        "skipped_priors": list(choice.skipped),
    }


def explain(choice: Choice) -> str:
    """Why a study has the prior it has, in lines for a person; identifiers, dates and views are named."""
    study = choice.study
    lines = [f"study {study.study_id} ({_when(study)}): rule {choice.rule.name}"]
    if choice.current is None:
        lines.append(f"  current: none, {_why_no_picture(study, choice.rule)}")
    else:
        lines.append(f"  current: {_named(choice.current)}")
    lines.append(f"  lateral: {_named(choice.lateral) if choice.lateral else 'none'}")
    for number, (earlier, image, gap) in enumerate(choice.earlier):
        back = "gap unknown" if gap is None else f"{gap:g} hours before"
        lines.append(f"  {'earlier' if number else 'prior'}: study {earlier.study_id} ({_when(earlier)}), {back}, {_named(image)}")
    if not choice.earlier:
        lines.append("  prior: none")
    lines += [f"  skipped: study {one['study_id']}: {one['reason']}" for one in choice.skipped]
    if choice.claims_comparison:
        lines.append("  the report names a comparison" + ("" if choice.earlier else ", which is not among these studies"))
    return "\n".join([*lines, *(f"  warning: {warning}" for warning in choice.warnings)])


def mismatch(one: Study, other: Study) -> str | None:
    """In what two studies of one patient identifier are not of one patient; None if nothing speaks against it.

    Issuers must be equal; dates of birth and sexes where both are known.
    """
    if one.issuer != other.issuer:
        return "another issuer of the patient identifier"
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return "another date of birth"
    sexes = {_sex(one), _sex(other)} - {None}
    return "another sex" if len(sexes) > 1 else None


def best_frontal(study: Study, unknown_views: bool = False) -> StudyImage | None:
    """The frontal picture that stands for a study: PA, AP, another; then the earliest; then the smallest identifier."""
    worst = UNKNOWN_RANK if unknown_views else UNKNOWN_RANK - 1
    usable = [image for image in study.images if image.usable and frontal_rank(image.view) <= worst]
    return min(usable, key=_image_key, default=None)


def _choose(study: Study, place: _Place, placed: list[tuple[_Place, Study]], rule: PriorRule) -> Choice:
    laterals = [image for image in study.images if image.usable and is_lateral(image.view)]
    choice = Choice(study, best_frontal(study, rule.unknown_views), min(laterals, key=_image_key, default=None), rule=rule)
    for other_place, other in placed:
        if _done(choice):
            break
        if other.study_id == study.study_id:
            continue
        order = _is_earlier(choice, place, other, other_place)
        if order is False:
            continue
        _consider(choice, other, place, other_place, order)
    if rule.name == "libra_v1":
        choice.earlier.sort(key=lambda one: _row_key(one[0], one[1]), reverse=True)
        choice.earlier = choice.earlier[: rule.keep_earlier]
    return choice


def _done(choice: Choice) -> bool:
    """Enough earlier studies are found; `previous_study` looks no further than the first it cannot use."""
    rule = choice.rule
    if rule.name == "libra_v1":  # a study's last picture may be later than that of the study after it
        return False
    full = rule.keep_earlier is not None and len(choice.earlier) >= rule.keep_earlier
    return full or (rule.name == "previous_study" and len(choice.skipped) > len(choice.warnings))


def _consider(choice: Choice, other: Study, place: _Place, other_place: _Place, order: bool | str) -> None:
    """Take an earlier study as a prior, or note why not."""
    rule = choice.rule
    gap = _gap_hours(place, other_place)
    image = _picture(choice, other)
    different = mismatch(choice.study, other)
    if different:
        choice.warnings.append(f"study {other.study_id} has the same patient identifier but {different}; not used as prior")
        reason = different
    elif isinstance(order, str):
        reason = order
    elif rule.now is not None and other_place[0] is not None and other_place[0] > rule.now + _TOLERANCE:
        choice.warnings.append(f"study {other.study_id} is dated in the future; not used as prior")
        reason = "dated in the future"
    elif rule.same_split and other.split != choice.study.split:
        reason = f"in another split ({other.split or 'none'})"
    elif rule.max_gap_hours is not None and gap is not None and gap > rule.max_gap_hours:
        reason = f"{gap:g} hours back, more than the {rule.max_gap_hours:g} allowed"
    elif image is None:
        reason = _why_no_picture(other, rule)
    else:
        choice.earlier.append((other, image, gap))
        return
    choice.skipped.append({"study_id": other.study_id, "reason": reason})


def _is_earlier(choice: Choice, place: _Place, other: Study, other_place: _Place) -> bool | str:
    """True if earlier, False if later, else why the two cannot be told apart."""
    mine, theirs = place[0], other_place[0]
    if mine is None or theirs is None:
        mine, theirs = place[1], other_place[1]
        if mine is None or theirs is None:
            return "no date on one of the two"
    elif choice.rule.name == "libra_v1":
        mine, theirs = (choice.current and choice.current.time or mine).date(), min(_times(other), default=theirs).date()
    if theirs != mine:
        return theirs < mine
    if choice.rule.name == "libra_v1" and place[0] is not None:
        return "on the same day" if other_place[0] <= place[0] else False
    if choice.rule.name == "previous_study":
        return other.study_id < choice.study.study_id
    return "at the same time"


def _picture(choice: Choice, other: Study) -> StudyImage | None:
    """The picture of an earlier study that the rule takes."""
    rule = choice.rule
    if rule.name == "default":
        return best_frontal(other, rule.unknown_views)
    usable = [image for image in other.images if image.usable]
    if rule.name == "previous_study":
        return min(usable, key=_image_key, default=None)
    day = (choice.current and choice.current.time or choice.study.time or datetime.max).date()
    before = [image for image in usable if image.time is None or image.time.date() < day]
    return max(before, key=lambda image: _row_key(other, image), default=None)


def _times(study: Study) -> list[datetime]:
    return [image.time for image in study.images if image.usable and image.time is not None]


def _place(study: Study) -> _Place:
    return study.time, study.order


def _sort_key(place: _Place, study: Study) -> tuple:
    time, order = place
    return time is not None, time or datetime.min, order is not None, order or 0.0, study.study_id


def _row_key(study: Study, image: StudyImage) -> tuple:
    return image.time or study.time or datetime.min, study.order or 0.0, study.study_id, image.image_id


def _image_key(image: StudyImage) -> tuple:
    return frontal_rank(image.view), image.time or datetime.max, image.image_id, image.path


def _gap_hours(place: _Place, earlier: _Place) -> float | None:
    if place[0] is None or earlier[0] is None:
        return None
    return round((place[0] - earlier[0]).total_seconds() / 3600, 3)


def _unread_views(choice: Choice) -> list[str]:
    taken = (choice.current, choice.lateral)
    return sorted(image.view or "unknown" for image in choice.study.images if image not in taken)


def _why_no_picture(study: Study, rule: PriorRule) -> str:
    if not study.images:
        return "no picture"
    frontal = [image for image in study.images if frontal_rank(image.view) != NOT_FRONTAL]
    reasons = sorted({image.reason or "not usable" for image in frontal if not image.usable})
    if reasons:
        return f"no usable frontal picture ({'; '.join(reasons)})"
    views = sorted({image.view or "unknown" for image in study.images})
    return f"no frontal picture (views: {', '.join(views)})"


def _earlier_item(study: Study, image: StudyImage, gap: float | None) -> dict[str, Any]:
    texts = {name: _text(study.sections.get(name)) for name in ("findings", "impression")}
    return {"study_id": study.study_id, "image": image.path, "gap_hours": gap, **texts}


def _text(text: str | None) -> str | None:
    return (text or "").strip() or None


def _sex(study: Study) -> str | None:
    sex = str(study.about.get("sex") or "").strip().upper()[:1]
    return sex if sex in ("F", "M") else None


def _when(study: Study) -> str:
    time = study.time
    if time is not None:
        return f"{time:%Y-%m-%d %H:%M:%S}"
    return "no date" if study.order is None else f"number {study.order:g}, no date"


def _named(image: StudyImage) -> str:
    return f"{image.path} (view {image.view or 'unknown'})"
