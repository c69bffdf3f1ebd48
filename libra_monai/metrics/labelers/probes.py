# SPDX-License-Identifier: Apache-2.0
"""How well the labelers read sentences whose labels are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from libra_monai.metrics.labelers.changes import change_claims, read_changes
from libra_monai.metrics.labelers.chexpert import chexpert_labels
from libra_monai.metrics.labelers.phrases import DEVICES, SUPPORT

_UNASKED = (SUPPORT, "Enlarged Cardiomediastinum")  # of lines


def read_probes(probes: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str, set, set]]:
    """Kind, text, what is read and what was expected, of every probe.

    Args:
        probes: `snippets`, each a text and its CheXpert labels that are not blank; `changes`, each a text and its pairs of finding and change, devices
            as support devices; `lines`, each a text and its triples of finding, side and change. Kinds may be missing.
    """
    for text, labels in probes.get("snippets", ()):
        yield "snippets", text, {(name, label) for name, label in chexpert_labels(text).items() if label is not None}, set(labels.items())
    for text, pairs in probes.get("changes", ()):
        said = {(SUPPORT if finding in DEVICES else finding, change) for finding, _, change in change_claims(text)}
        yield "changes", text, said, {tuple(pair) for pair in pairs}
    for text, lines in probes.get("lines", ()):
        stated = {(line.finding, line.side, line.change) for line in read_changes(text) if line.finding not in _UNASKED}
        yield "lines", text, stated, {tuple(line) for line in lines}


def score_probes(probes: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, float]]:
    """By kind: number of probes, micro F1 of their labels, and share that is entirely right.

    Args:
        probes: see `read_probes`.
    """
    rows: dict[str, list[tuple[set, set]]] = {}
    for kind, _, read, wanted in read_probes(probes):
        rows.setdefault(kind, []).append((read, wanted))
    return {
        kind: {
            "number": len(pairs),
            "f1": 2 * sum(len(read & wanted) for read, wanted in pairs) / max(1, sum(len(read) + len(wanted) for read, wanted in pairs)),
            "entirely_right": sum(read == wanted for read, wanted in pairs) / len(pairs),
        }
        for kind, pairs in rows.items()
    }
