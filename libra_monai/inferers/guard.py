# SPDX-License-Identifier: Apache-2.0
"""Without a prior there is nothing to compare with, so comparisons cannot be written.

A text is refused when it compares with an earlier study: by the labelers' rules ("increased effusion" compares,
"increased interstitial markings" describes), or by one of the phrases below, which compare whatever follows. Single words
with a static meaning are not refused, "enlarged heart" stays sayable; "new", "stable" and "improved" have none of a finding.
After "increased" only what can be increased by itself may follow, since "increased left pleural" has no good end.

Tokens are parts of words, so that the tail of the text is read with each candidate. A word that could only become one
with which the sentence compares is refused at its beginning, for a half word would be a dead end. A refused candidate gives way to
the next best; where none is left the sentence ends, then the answer. Every text that is let through was read whole, so that
no finished draft compares by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from libra_monai.metrics.labelers.changes import claims_change

TRIED = 64  # candidates of which some are looked for
MOST = 2048  # the same where a word must be ended
BEGINNING = 3  # letters from which a beginning word is completed
_PHRASES = re.compile(
    r"(?<!hemodynamically )\b(?:stable|worsen(?:ed|ing)|improv(?:ed|ing))\b|\bnew(?:ly)?\b|\b(?:un)?changed\b|\binterval\b|\bno longer\b|\bonce again\b"
    r"|\bagain (?:seen|noted|demonstrated|identified|visuali[sz]ed|is|are)\b|\b(?:is|are) again\b"
    r"|\bpreviously (?:seen|noted|described|demonstrated|identified|present|visuali[sz]ed)\b"
    r"|\bha(?:s|ve) (?:\w+ly )?(?:increased|decreased|progressed|improved|resolved|developed|worsened|cleared|enlarged|been removed)\b"
    r"|\bsince (?:the |a )?(?:prior|previous|last|earlier)\b"
    r"|\b(?:from|to|with) (?:the |a )?(?:prior|previous|earlier|last)\b"
    r"|\b(?:compared|relative) (?:to|with)\b|\b(?:in|on|by) comparison (?:to|with)\b"
    r"|\b(?:larger|smaller|worse|better|greater|less|more) than (?:before|the (?:prior|previous|last)|on the (?:prior|previous))\b"
)
# What a beginning word may become: names of findings, and words of comparison. The others among them keep "int" free.
_WORDS = (
    "effusion effusions pneumothorax pneumothoraces pneumonia opacity opacities consolidation consolidations atelectasis edema "
    "oedema cardiomegaly congestion nodule nodules mass masses lesion lesions fracture fractures infiltrate infiltrates "
    "haziness density unchanged changed interval improved improvement resolved resolution worsened worsening stable "
    "interstitial intact internal inspiration unfolded unremarkable cardiac cardiomediastinal cardiothoracic mediastinum "
    "markings lungs lung volumes diaphragm hemidiaphragm vascular vasculature heart pulmonary pleural bibasilar basilar lobe "
    "fragments stablized consistent contour chronic structures masked resolvable impression attenuation opacified newer"
).split()
# The labelers read these as changes, yet in a first study they describe what is seen.
_STATIC = re.compile(r"\b(?:increased|decreased)(?= (?:\w+ )?(?:interstitial|bronchovascular|lung|vascular|pulmonary vascular|retrosternal)\b)")
_MEASURED = re.compile(r"\b(?:increased|decreased) (?:(?:mild|diffuse|bilateral|prominent|bibasilar|basilar|ap|in)(?:ly)? )*([a-z]+)$")
_BY_ITSELF = (
    "interstitial interstitium lung markings vascular pulmonary bronchovascular perihilar retrosternal retrocardiac volume "
    "density lucency attenuation transparency opacification diameter kyphosis thoracic cardiothoracic ap mild diffuse bilateral "
    "prominent bibasilar basilar in reticular"
).split()
_LAST_WORD = re.compile(r"[A-Za-z]+$")


def compares(text: str) -> bool:
    """Whether a text compares with an earlier study.

    Args:
        text: a report or its beginning. "No prior for comparison" does not compare.
    """
    low = text.lower()
    return bool(_PHRASES.search(low)) or claims_change(_STATIC.sub("prominent", low))


def will_compare(text: str) -> bool:
    """Whether a text compares, or ends in a beginning word all of whose likely endings would make it compare.

    Args:
        text: the beginning of a report.
    """
    measured = _MEASURED.search(text.lower())
    if compares(text) or (measured and not any(word.startswith(measured.group(1)) for word in _BY_ITSELF)):
        return True
    last = _LAST_WORD.search(text)
    if last is None or len(last.group()) < BEGINNING:
        return False
    begun = last.group().lower()
    endings = [word for word in _WORDS if word.startswith(begun) and word != begun]
    return bool(endings) and all(compares(text[: last.start()] + word) for word in endings)


def _goes_on(before: str, text: str) -> bool:
    """Whether a text goes on with the unfinished word before, to what is or begins a word of the list."""
    last = _LAST_WORD.search(text)
    if not text[len(before) : len(before) + 1].isalpha() or last is None:
        return False
    return any(word.startswith(last.group().lower()) for word in _WORDS)


class Guard:
    """Takes comparisons from the candidates of rows without a prior.

    Args:
        decode: ids to text.
        has_prior: for each study, whether a prior was shown.
        ends: ids that end an answer.
        full_stop: id of the full stop.
        wanted: candidates a row needs: 1 in greedy search, three times the beams in beam search, and in sampling
            all there are.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        has_prior: Sequence[bool],
        ends: Sequence[int],
        full_stop: int | None,
        wanted: int,
    ) -> None:
        self.decode, self.has_prior, self.ends, self.wanted = decode, list(has_prior), list(ends), wanted
        self.last_resort = [*([] if full_stop is None else [full_stop]), *self.ends]
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
        """The best candidates after a text that may follow it; never none."""
        allowed: list[int] = []
        before, within = self.decode(said), False  # within: a word whose likeliest end was refused
        best = scores.topk(min(MOST, len(scores)))
        for number, (token, score) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
            if score == float("-inf") or (number >= TRIED and (allowed or not within)):
                break
            text = before if token in self.ends else self.decode([*said, token])
            if token in self.ends or not ((within and not _goes_on(before, text)) or will_compare(text)):
                allowed.append(token)
                if len(allowed) == self.wanted:
                    return allowed
            else:
                self.refused += 1
                within = within or text[len(before) : len(before) + 1].isalpha()
        if allowed:
            return allowed
        return next(([t] for t in self.last_resort if t in self.ends or not compares(self.decode([*said, t]))), self.ends[:1])
