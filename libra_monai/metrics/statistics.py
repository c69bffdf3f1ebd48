# SPDX-License-Identifier: Apache-2.0
"""How sure a number is: cluster bootstrap, paired comparison, Holm's correction.

All work on tables of statistics that add up over studies: a resample is a weighting of the rows, so one product of
matrices gives the sums of all resamples, and no text is read again. The unit that is drawn is the cluster (patient or
study), since studies of one patient, and pictures of one study, are not independent (Efron and Tibshirani, 1993).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Corpus = Callable[[np.ndarray, int], Mapping[str, float]]
RESAMPLES = 1000  # as papers on report metrics use; 500 in MAIRA and RadFact
LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval
_CELLS = 2_000_000  # drawn numbers held at once, so that 100,000 studies fit in memory


def draws(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n units is drawn, in pieces of float [r,n] that join to `resamples` rows.

    Args:
        n: units.
        resamples: draws of n units with replacement.
        seed: of the generator; the numbers are those of one `integers(n, size=(resamples, n))`.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(n, 1))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def cluster_sums(table: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Sums of the rows of each cluster, [c,k+1]; the last column counts the rows. Clusters are sorted by name.

    Args:
        table: [n,k] statistics.
        clusters: n names.
    """
    names, number = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1] + 1))
    np.add.at(sums, number.ravel(), np.column_stack([table, np.ones(len(table))]))
    return sums


def resampled(sums: np.ndarray, corpus: Corpus, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, np.ndarray]:
    """Corpus values of resampled clusters by name, [resamples] each.

    Args:
        sums: [c,k+1] from `cluster_sums`.
        corpus: from summed statistics and their number to values.
        resamples, seed: see `draws`.
    """
    totals = np.concatenate([counts @ sums for counts in draws(len(sums), resamples, seed)])
    return _values(totals, corpus)


def percentiles(samples: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of resampled values; undefined resamples are left out.

    Args:
        samples: name -> values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value that is undefined in every resample
        return {name: tuple(np.nanpercentile(values, LEVELS).tolist()) for name, values in samples.items()}


def bootstrap(
    table: np.ndarray, clusters: Sequence[str], corpus: Corpus, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of corpus values.

    Args:
        table: [n,k] statistics that add up, one row a study.
        clusters: n names of the unit to draw.
        corpus: from summed statistics and their number to values.
        resamples, seed: see `draws`.
    """
    return percentiles(resampled(cluster_sums(table, clusters), corpus, resamples, seed))


def compare(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[str],
    corpus: Corpus,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Two systems on the same studies: `{name: {value, against, difference, low, high, p, n}}`.

    The interval of the difference comes from drawing clusters, the same for both systems. `p` is that of a permutation
    test: how often exchanging the two systems' rows of whole clusters at random gives a difference as large.

    Args:
        first, second: [n,k] statistics of the same n studies.
        clusters: n names of the unit.
        corpus: from summed statistics and their number to values.
        resamples, seed: see `draws`; as many permutations are made.
    """
    ours, theirs = cluster_sums(first, clusters), cluster_sums(second, clusters)
    value, against = (dict(corpus(sums[:, :-1].sum(axis=0), len(first))) for sums in (ours, theirs))
    a, b = (resampled(sums, corpus, resamples, seed) for sums in (ours, theirs))
    intervals = percentiles({name: a[name] - b[name] for name in a})
    chance = _permuted(ours, theirs, corpus, resamples, seed + 1)
    result = {}
    for name, have in value.items():
        difference = have - against[name]
        if np.isnan(difference):
            continue
        known = chance[name][~np.isnan(chance[name])]
        p = (1 + int((np.abs(known) >= abs(difference) - 1e-12).sum())) / (1 + len(known))
        low, high = intervals[name]
        result[name] = {
            "value": float(have), "against": float(against[name]), "difference": float(difference),
            "low": low, "high": high, "p": p, "n": len(first),
        }  # fmt: skip
    return result


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm, 1979).

    Args:
        p_values: name -> p.
    """
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}


def _permuted(ours: np.ndarray, theirs: np.ndarray, corpus: Corpus, times: int, seed: int) -> dict[str, np.ndarray]:
    """Differences after exchanging the systems within a random half of the clusters."""
    rng = np.random.default_rng(seed)
    change, step, parts = theirs - ours, max(1, _CELLS // len(ours)), []
    for start in range(0, times, step):
        swapped = rng.integers(0, 2, size=(min(step, times - start), len(ours))).astype(float)
        parts.append(swapped @ change)
    moved = np.concatenate(parts)
    a, b = _values(ours.sum(axis=0) + moved, corpus), _values(theirs.sum(axis=0) - moved, corpus)
    return {name: a[name] - b[name] for name in a}


def _values(totals: np.ndarray, corpus: Corpus) -> dict[str, np.ndarray]:
    rows = [corpus(total[:-1], round(float(total[-1]))) for total in totals]
    return {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
