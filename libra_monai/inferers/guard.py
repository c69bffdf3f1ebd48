# SPDX-License-Identifier: Apache-2.0
"""Without a prior there is nothing to compare with, so comparisons cannot be written.

Phrases are judged by their context and never words alone, see `metrics.labelers.comparisons`. Tokens are parts of words, so
each candidate is judged by the text it would make, and only the likeliest are looked at until enough may follow. Where none may,
the answer ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from libra_monai.metrics.labelers.comparisons import compares

TRIED = 256  # candidates looked at before the answer is ended
_TAIL = 64  # tokens of the answer that are read again


class Guard:
    """Takes comparisons from the candidates of rows without a prior.

    Args:
        decode: ids to text.
        has_prior: for each study, whether a prior was shown.
        ends: ids that end an answer.
        wanted: candidates a row needs: 1 in greedy search, three times the beams in beam search, and in sampling as
            many as are to be drawn from.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], has_prior: Sequence[bool], ends: Sequence[int], wanted: int
    ) -> None:
        self.decode, self.has_prior, self.ends, self.wanted = decode, list(has_prior), list(ends), wanted
        self.refused = 0

    def weigh(self, ids: Tensor, scores: Tensor, studies: Sequence[int]) -> Tensor:
        """Scores [N,V] in which only candidates that compare with nothing are left; rows with a prior stay as they are."""
        weighed = scores
        for row, study in enumerate(studies):
            if self.has_prior[study]:
                continue
            if weighed is scores:
                weighed = scores.clone()
            allowed = self._allowed(ids[row].tolist(), scores[row])
            weighed[row] = float("-inf")
            weighed[row, allowed] = scores[row, allowed].clamp(min=torch.finfo(scores.dtype).min)
        return weighed

    def _allowed(self, said: list[int], scores: Tensor) -> list[int]:
        """The best candidates after a text that may follow it; the end where there is none."""
        said, allowed = said[-_TAIL:], []
        best = scores.topk(min(TRIED, len(scores)))
        for token, score in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            if score == float("-inf") or len(allowed) == self.wanted:
                break
            if token in self.ends or not compares(self.decode([*said, token])):
                allowed.append(token)
            else:
                self.refused += 1
        return allowed or self.ends[:1]
