# SPDX-License-Identifier: Apache-2.0
"""Without a prior there is nothing to compare with, so comparisons cannot be written.

Phrases are judged by their context and never words alone, see `metrics.labelers.comparisons`. Tokens are parts of words, so
each candidate is judged by the text it would make, and only the likeliest are looked at until enough may follow. Where none may,
the answer ends. Which sentences were broken off is remembered, so that `mending` touches no others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from libra_monai.inferers.mending import Broken
from libra_monai.metrics.labelers.comparisons import compares

TRIED = 256  # candidates looked at before the answer is ended
_TAIL = 64  # tokens of the answer that are read again
_SOME = 3  # words of a sentence that may be broken off
_SENTENCE = re.compile(r"[^.]*$")
_TWICE = re.compile(r"\b(\w+) \1$")


class Guard:
    """Takes comparisons from the candidates of rows without a prior.

    Args:
        decode: ids to text.
        has_prior: for each study, whether a prior was shown.
        ends: ids that end an answer.
        wanted: candidates a row needs: 1 in greedy search, three times the beams in beam search, and in sampling as
            many as are to be drawn from.
        full_stops: ids that may be a full stop behind a word.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        has_prior: Sequence[bool],
        ends: Sequence[int],
        wanted: int,
        full_stops: Sequence[int] = (),
    ) -> None:
        self.decode, self.has_prior, self.ends, self.wanted = decode, list(has_prior), list(ends), wanted
        self.full_stops = list(full_stops)
        self.refused = 0
        # study -> ids with which a sentence was broken off -> how
        self._broken: dict[int, dict[tuple[int, ...], Broken]] = defaultdict(dict)

    def weigh(self, ids: Tensor, scores: Tensor, studies: Sequence[int]) -> Tensor:
        """Scores [N,V] in which only candidates that compare with nothing are left; rows with a prior stay as they are."""
        weighed = scores
        for row, study in enumerate(studies):
            if self.has_prior[study]:
                continue
            if weighed is scores:
                weighed = scores.clone()
            said = ids[row].tolist()
            allowed = self._allowed(study, said, scores[row])
            weighed[row] = float("-inf")
            weighed[row, allowed] = scores[row, allowed].clamp(min=torch.finfo(scores.dtype).min)
            if (*said, allowed[0]) in self._broken[study]:  # as likely as what was refused, or beams with odd words would win
                weighed[row, allowed[0]] = scores[row].max()
        return weighed

    def broken(self, study: int, ids: Sequence[int]) -> list[tuple[int, Broken]]:
        """The sentences of an answer that were broken off: how many ids there were when each was, and how.

        Args:
            study: its number among the studies.
            ids: the answer, or its beginning.
        """
        said = tuple(ids)
        begun = [(len(some), how) for some, how in self._broken[study].items() if said[: len(some)] == some]
        return sorted((one for one in begun if one[0] == len(said) or not one[1].ended), key=lambda one: one[0])

    def _allowed(self, study: int, ids: list[int], scores: Tensor) -> list[int]:
        """The best candidates after a text that may follow it; the end where there is none.

        Where the likeliest is refused, a sentence of some words is broken off, however unlikely its end: whatever else
        came would be said because of its grammar and not of what is seen. A sentence that has only begun goes on with other words, but no word is
        said twice, and a part of a word ("un") must become a word: else it would be begun again and again.
        """
        said, allowed, refused, halved = ids[-_TAIL:], [], None, False
        text = self.decode(said)
        best = scores.topk(min(TRIED, len(scores)))
        for token, score in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            if score == float("-inf") or len(allowed) == self.wanted:
                break
            then = text if token in self.ends else self.decode([*said, token])
            goes_on = _goes_on(text, then)
            if token not in self.ends and compares(then):
                self.refused += 1
                stop = None if refused or allowed else self._full_stop(said, text, best.indices.tolist(), scores)
                refused, halved = refused or Broken(_added(text, then), goes_on), halved or goes_on
                if stop is not None:
                    self._broken[study][(*ids, stop)] = refused
                    return [stop]
            elif not (halved and not goes_on) and not (refused and _TWICE.search(then)):
                allowed.append(token)
        if refused and not allowed and not text.rstrip().endswith((".", "!", "?")):
            self._broken[study][tuple(ids)] = replace(refused, ended=True)
        return allowed or self.ends[:1]

    def _full_stop(self, said: list[int], text: str, likely: list[int], scores: Tensor) -> int | None:
        """The candidate that ends the sentence, if that has words enough to stand."""
        if len(_SENTENCE.findall(text)[0].split()) < _SOME:
            return None
        tried = (token for token in (*likely, *self.full_stops) if scores[token] > float("-inf"))
        return next((token for token in tried if self.decode([*said, token]) == f"{text}."), None)


def _goes_on(text: str, then: str) -> bool:
    """Whether the last word of a text is longer in what it becomes."""
    return text[-1:].isalpha() and then.startswith(text) and then[len(text) : len(text) + 1].isalpha()


def _added(text: str, then: str) -> str:
    """What a text was given to become another; its last word where the beginnings differ."""
    return then[len(text) :] if then.startswith(text) else then.split()[-1] if then.split() else ""
