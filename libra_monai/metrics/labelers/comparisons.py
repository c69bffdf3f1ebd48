# SPDX-License-Identifier: Apache-2.0
"""Whether an unfinished sentence compares with an earlier study: for a writer that has none to compare with.

`claims_change` judges finished reports. While one is being written the judgement must come before a phrase is complete,
or the writer is left with half of it: `stem` finds the beginnings of words that can become nothing else. Words of size
and density describe disease at rest ("increased interstitial markings"), so they count by what stands around them only.
"""

from __future__ import annotations

import re
from functools import lru_cache

from libra_monai.metrics.labelers.changes import claims_change


def _stem(word: str, least: int) -> str:
    """Pattern of a word and of its beginnings of at least `least` letters at the end of the text."""
    begun = "|".join(word[:size] for size in range(len(word) - 1, least - 1, -1))
    return f"{word}|(?:{begun})$" if begun else word


def _beginnings(words: list[str]) -> set[str]:
    return {word[:size] for word in words for size in range(1, len(word))}


_HAS = r"(?:has|have|had|been|being|having)(?: \w+ly)?(?: since| now| also)?"
_MOVED = "|".join(
    _stem(word, least)
    for word, least in (
        ("increas", 5), ("decreas", 5), ("diminish", 5), ("enlarg", 4), ("clear", 4), ("develop", 4), ("appear", 5),
        ("grow", 3), ("progress", 4), ("regress", 4), ("remov", 4), ("disappear", 5), ("chang", 4), ("remain", 4),
    )
)  # fmt: skip
_ALONE = "|".join(
    _stem(word, least)
    for word, least in (
        ("unchang", 4), ("worsen", 5), ("improv", 4), ("resolv", 5), ("resolution", 6), ("persist", 5), ("increasing", 8),
        ("decreasing", 8), ("enlarging", 6), ("previously", 6), ("unaltered", 4), ("progress", 6),
    )
)  # fmt: skip
# As words of their own: each one is a comparison in a report, with the exceptions looked for before or behind it.
PHRASES = (
    rf"\b(?:{_ALONE})",
    r"\binterval(?!s)|\binterva?$|\bnew(?:ly|er)?\b|\bsince\b|\bsinc$|\bcompared?\b",
    r"\bin comparison\b|\bcomparison (?:to|with|is|was|made|study|exam)\b",
    r"(?<!hemodynamically )(?<!clinically )\b(?:stable|stably|stabil)\b",
    r"\b(?:not|no) (?:\w+ ){0,2}?(?:longer|change|changed)\b|\bno lon?$",
    r"\b(?:once|yet) again\b|\bagain (?:seen|noted|demonstrated|identified|present|visuali[sz]ed|shown|is|are|evident)",
    r"\b(?:seen|noted|is|are|there) again\b(?!st)|(?:^|[.;] ?)again\b(?!st)",
    r"\bthan (?:the )?(?:prior|previous|earlier|last)\b",
    r"\b(?:from|to|with|on) the (?:most recent )?(?:prior|previous|earlier|preceding|last)\b",
    r"\b(?:prior|previous|earlier|preceding|last) (?:stud|exam|radiograph|film|image|imaging|chest|x)",
    rf"\b{_HAS} (?:{_MOVED}|placed)",
    r"\b(?:is|are|appears?|slightly|mildly|somewhat|even|much|now) (?:better|worse)\b|\bworse\b",
    r"\bthan (?:before|on the prior|was)\b|\bas before\b|\bsimilar to (?:the )?prior\b|\bstill (?:present|seen|there|visible)\b",
    r"\bre-?demonstrat|\bnow (?:more|less|smaller|larger|present|seen|absent|resolved|increased|decreased)\b",
)
_PHRASE = re.compile("|".join(PHRASES), re.IGNORECASE)
# What a state is made of when "increased", "decreased" and the like stand before it.
_STATE = re.compile(
    r"\b(?:increased|decreased|reduced|diminished|prominent|low|large|larger|enlarged|small|smaller)(?= (?:\w+,? ){0,3}?"
    r"(?:markings?|density|densities|lucenc\w+|volumes?|diameter|kyphosis|vasculature|vascularity|airspace|inter\w*|"
    r"retro\w*|bronch\w*|reticul\w*|peri\w*|lung|lungs|vascular|pulmonary vascular\w*|opacification|opacity|attenuation|size)\b)",
    re.IGNORECASE,
)
_LEADING = (
    "pulmonary interstitial vascular lung bronchovascular perihilar bibasilar basilar bilateral left right retrocardiac "
    "linear reticular diffuse central apical peribronchial markings density densities lucency vascularity vasculature volume "
    "volumes opacity opacification attenuation diameter kyphosis size"
).split()
# The same while the noun is still to come, and "again" that may become "against"; what follows decides.
_OPEN = re.compile(
    r"(?:^|\b(?:with|and|or|of|by|there is|there are|shows?|demonstrates?|mild|diffuse|bilateral)|[.,;]) ?(?:\w+ly )?"
    rf"(?:increased|decreased|reduced|diminished)(?: (?:{'|'.join(_LEADING)}))*(?: (?:{'|'.join(sorted(_beginnings(_LEADING)))}))?$"
    r"|\bagain$",
    re.IGNORECASE,
)
# Words without which `claims_change` finds nothing; it is asked only where one stands.
_MOVING = re.compile(
    r"increas|decreas|diminish|reduc|large|small|develop|appear|remain|residual|chang|clear|remov|replac|resol|advanc|"
    r"withdraw|progress|regress|persist|better|worse|improv|more|less|prior|previous|again|still|similar|longer|now|"
    r"recurr|continu|redemonstr|evol|wors|earlier|last|than|unalter|gone|absent|re-?accumul|deteriorat|subsid|interval",
    re.IGNORECASE,
)
_SENTENCES = 2  # how far back a comparison may begin


def compares(text: str) -> bool:
    """Whether the last sentences of an unfinished report say, or begin to say, what became of something.

    Args:
        text: the report so far; what is before its last two sentences is taken as judged.
    """
    recent = re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", text))[-_SENTENCES:]
    return _judge(" ".join(recent).strip())


@lru_cache(maxsize=1 << 16)
def _judge(text: str) -> bool:
    if _PHRASE.search(text):
        return True
    return bool(_MOVING.search(text)) and claims_change(_OPEN.sub("", _STATE.sub("", text)))
