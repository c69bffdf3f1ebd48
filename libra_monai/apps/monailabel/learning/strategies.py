# SPDX-License-Identifier: Apache-2.0
"""Which draft to correct next, so that training learns most from a reader's time.

This is a training order, not triage: what stands last may be the most urgent study of the list. Only drafted studies
that nobody has corrected are ordered; the orders follow from the drafts alone, and cost no run of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from libra_monai.apps.monailabel.learning.reports import CORRECTED, ORIGINAL, TAGS, ReportStore, text_of
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.evaluation.claims import STABLE
from libra_monai.metrics.labelers.changes import change_claims

NOT_TRIAGE = "Training order, not triage"


@dataclass(frozen=True)
class Place:
    """One study in an order.

    Args:
        image: id of the study.
        value: what it is ordered by, the highest first.
        why: the value in words.
        order: what this order is, and what it is not.
    """

    image: str
    value: float
    why: str
    order: str = NOT_TRIAGE


def doubt(draft: Mapping[str, Any]) -> tuple[float, str] | None:
    """One minus the mean score of a draft's sentences; None without evidence.

    Args:
        draft: as saved, with `evidence`.
    """
    scores = [float(sentence["score"]) for sentence in draft.get("evidence") or ()]
    if not scores:
        return None
    mean = fmean(scores)
    return 1 - mean, f"the mean score of {len(scores)} sentences is {mean:.2f}, the lowest {min(scores):.2f}"


def change(draft: Mapping[str, Any]) -> tuple[float, str] | None:
    """How many changes since the prior a draft claims, `stable` left out; None if no prior went in.

    Args:
        draft: as saved, with its sections and `prior_used`.
    """
    if not draft.get("prior_used"):
        return None
    claims = sorted(claim for _, _, claim in change_claims(text_of(draft)) if claim != STABLE)
    return float(len(claims)), f"claims since the prior: {', '.join(claims) or 'no change'}"


Value = Callable[[Mapping[str, Any]], tuple[float, str] | None]
# name -> (description, value of a draft)
STRATEGIES: dict[str, tuple[str, Value]] = {
    "least_confident": (f"Least confident draft first, by the evidence of its sentences. {NOT_TRIAGE}.", doubt),
    "most_changed": (f"Draft with most changes since the prior first, by what it claims. {NOT_TRIAGE}.", change),
}


def training_order(strategy: str, reports: ReportStore, images: Iterable[str] | None = None) -> list[Place]:
    """Drafted studies without a correction, in the order of a strategy; those it cannot tell anything of are left out.

    Args:
        strategy: `least_confident` or `most_changed`.
        reports: the store.
        images: among which studies; None for all that are drafted.

    Raises:
        ConfigError: there is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy '{strategy}' does not exist", did_you_mean(strategy, STRATEGIES))
    value = STRATEGIES[strategy][1]
    places = []
    for image in reports.ids(ORIGINAL) if images is None else images:
        draft = reports.latest(image, ORIGINAL)
        found = value(draft) if draft is not None and reports.latest(image, CORRECTED) is None else None
        if found is not None:
            places.append(Place(image, *found))
    return sorted(places, key=lambda place: (-place.value, place.image))


def strategies(reports: ReportStore, images: Callable[[], Sequence[str]] | None = None) -> dict[str, Any]:
    """The `Strategy`s of the app, by name; MONAI Label is imported here and not before.

    Args:
        reports: the store.
        images: the studies there are; None for all that are drafted.
    """
    from monailabel.interfaces.tasks.strategy import Strategy

    class TrainingOrder(Strategy):
        """The next study of an order; where no draft tells anything, the first study that nobody has drafted or corrected."""

        def __init__(self, name: str) -> None:
            super().__init__(STRATEGIES[name][0])
            self.name = name

        def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
            known = list(images()) if images else None
            order = training_order(self.name, reports, known)
            if order:
                return {"id": order[0].image, "weight": order[0].value, **asdict(order[0])}
            touched = {image for tag in TAGS for image in reports.ids(tag)}
            fresh = next((image for image in known or () if image not in touched), None)
            return {} if fresh is None else {"id": fresh, "weight": 0.0, "why": "not drafted yet", "order": NOT_TRIAGE}

    return {name: TrainingOrder(name) for name in STRATEGIES}
