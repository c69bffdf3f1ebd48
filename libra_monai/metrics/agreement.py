# SPDX-License-Identifier: Apache-2.0
"""How far readers agree beyond chance: Cohen's kappa for two, Fleiss' kappa for any number.

Categories are nominal. A kappa says nothing where every answer is the same category, since chance alone would agree too:
it is None then, never 0 or 1. Cohen, Educational and Psychological Measurement 20 (1960) 37; Fleiss, Psychological
Bulletin 76 (1971) 378.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Agreement of readers on the same cases.

    Args:
        cases: how many.
        observed: share of pairs of answers that agree; None without cases.
        kappa: the same beyond chance; None where it is not defined.
    """

    cases: int
    observed: float | None
    kappa: float | None


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Agreement:
    """Of two readers; chance is what their own shares of the categories would give.

    Args:
        first, second: category of each case, in the same order.
    """
    n = len(first)
    if n != len(second):
        raise ValueError(f"{n} answers beside {len(second)}")
    if not n:
        return Agreement(0, None, None)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    one, other = Counter(first), Counter(second)
    return Agreement(n, observed, _beyond(observed, sum(count * other[name] for name, count in one.items()) / n**2))


def fleiss_kappa(answers: Sequence[Sequence[Hashable]]) -> Agreement:
    """Of two or more readers, who need not be the same for each case; chance is the share of each category over all.

    Args:
        answers: categories given to each case, as many for each.
    """
    n = len(answers)
    readers = len(answers[0]) if n else 0
    if any(len(one) != readers for one in answers):
        raise ValueError("every case needs the same number of answers")
    if readers < 2:
        return Agreement(n, None, None)
    counts = [Counter(one) for one in answers]
    pairs = readers * (readers - 1)
    observed = sum(count * (count - 1) for one in counts for count in one.values()) / (n * pairs)
    total = sum(counts, Counter())
    return Agreement(n, observed, _beyond(observed, sum((count / (n * readers)) ** 2 for count in total.values())))


def _beyond(observed: float, chance: float) -> float | None:
    return None if 1.0 - chance < 1e-12 else (observed - chance) / (1.0 - chance)
