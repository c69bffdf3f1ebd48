# SPDX-License-Identifier: Apache-2.0
"""RadGraph F1 from graphs made elsewhere: overlap of entities and relations of draft and reference.

Source: Jain et al., 2021, and the rewards of the package `radgraph` (its current arithmetic, which ignores case). The
package does not run beside the transformers version used here, and its weights are under a data use agreement; so the
graphs come from a file that an environment of its own has written. Without the file the metric is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from libra_monai.errors import ConfigError
from libra_monai.metrics.base import ReportMetric
from libra_monai.registry import register
from libra_monai.types import Record

LEVELS = ("simple", "partial", "complete")  # RG_E, RG_ER, and RG_ER with the targets of relations


@register("metric", "radgraph_f1")
class RadGraphF1(ReportMetric):
    """Mean over studies of the F1 of RadGraph's sets, 0 to 1, higher is better; an empty graph scores 0.

    Args:
        graphs: JSON lines `{"text": ..., "entities": {...}}` as the package writes them, one for each draft and
            reference; None skips the metric.
    """

    def __init__(self, graphs: str | None = None) -> None:
        self.graphs = graphs
        self._known: dict[str, Mapping[str, Any]] | None = None
        super().__init__("none")

    def unavailable(self) -> str | None:
        """Why there are no graphs, or None."""
        if self.graphs is None:
            return "no RadGraph graphs: make them in an environment of its own and give the file as `graphs`"
        return None if Path(self.graphs).is_file() else f"the file of RadGraph graphs {self.graphs} does not exist"

    def statistics(self, prediction: str, reference: str, study: Record) -> Sequence[float]:
        """F1 of the three levels."""
        said, wanted = (self._graph(text, str(study["study_id"])) for text in (prediction, reference))
        return [overlap(graph_sets(said, level), graph_sets(wanted, level)) for level in LEVELS]

    def corpus(self, totals: np.ndarray, n: int) -> dict[str, float]:
        """`radgraph_simple`, `radgraph_partial`, `radgraph_complete`."""
        return {f"radgraph_{level}": total / n for level, total in zip(LEVELS, totals, strict=True)}

    @property
    def signature(self) -> str:
        """How the values were made."""
        return f"RadGraph F1 in lower case, graphs from {Path(self.graphs or 'none').name}"

    def _graph(self, text: str, study: str) -> Mapping[str, Any]:
        if not text.strip():
            return {}
        if self._known is None:
            self._known = _read(str(self.graphs))
        if text not in self._known:
            what = f"{self.graphs}: no graph of a text of study '{study}'"
            raise ConfigError(what, "Make graphs of all drafts and references.")
        return self._known[text]


def graph_sets(entities: Mapping[str, Any], level: str) -> set[tuple]:
    """The elements that are compared.

    Args:
        entities: identifier -> `{"tokens", "label", "relations": [[type, identifier], ...]}`.
        level: `simple` tokens and label; `partial` also whether there is a relation; `complete` every relation with the
            tokens of its target.
    """
    found: set[tuple] = set()
    for entity in entities.values():
        own, relations = (entity["tokens"].lower(), entity["label"]), entity["relations"]
        if level == "simple":
            found.add(own)
        elif level == "partial":
            found.add((*own, bool(relations)))
        else:
            found |= {(*own, kind, entities[target]["tokens"].lower()) for kind, target in relations} or {own}
    return found


def overlap(said: set[tuple], wanted: set[tuple]) -> float:
    """F1 of two sets; 0 if one is empty.

    Args:
        said, wanted: elements of draft and reference.
    """
    return 2 * len(said & wanted) / (len(said) + len(wanted)) if said and wanted else 0.0


def _read(path: str) -> dict[str, Mapping[str, Any]]:
    graphs = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
                graphs[row["text"]] = row["entities"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{path}, line {number}: no graph", "Write `text` and `entities` a line.") from error
    return graphs
