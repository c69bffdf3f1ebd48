# SPDX-License-Identifier: Apache-2.0
"""Report cleaners, by name: what a metric does to both texts before it counts words."""

from __future__ import annotations

import re

from libra_monai.registry import register

_WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)?|[^\sa-z0-9]")


@register("cleaner", "none")
def none(text: str) -> str:
    """Leave the text as it is."""
    return text


@register("cleaner", "words")
def words(text: str) -> str:
    """Lower case, single spaces, punctuation as words of its own; decimal numbers stay whole."""
    return " ".join(_WORD.findall(text.lower()))


_RUNS = re.compile(r"[_-]+")
_ODD = re.compile(r"[^\w\s.,:;()-]")
_SPACES = re.compile(r" {2,}")


@register("cleaner", "libra_cased")
def libra_cased(text: str) -> str:
    """Libra's cleaning before scoring (`libra/eval/radiology_report.py`) without its lower case."""
    text = _RUNS.sub(" ", text.replace("\n", " "))
    return _SPACES.sub(" ", _ODD.sub("", text)).strip()


@register("cleaner", "libra")
def libra(text: str) -> str:
    """Libra's cleaning before scoring: lower case, no underscores, hyphens and rare punctuation."""
    return libra_cased(text.lower())


_ENTITIES = (("<skipped>", ""), ("-\n", ""), ("\n", " "), ("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SPLITS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


@register("cleaner", "tokens_13a")
def tokens_13a(text: str) -> str:
    """Words as NIST's `mteval-v13a` parts them: punctuation stands alone, but not within numbers; case is kept."""
    for old, new in _ENTITIES:
        text = text.replace(old, new)
    text = f" {text} "
    for pattern, apart in _SPLITS:
        text = pattern.sub(apart, text)
    return " ".join(text.split())


@register("cleaner", "libra_13a")
def libra_13a(text: str) -> str:
    """Libra's cleaning, then `tokens_13a`: what its BLEU counts."""
    return tokens_13a(libra(text))


@register("cleaner", "letters")
def letters(text: str) -> str:
    """Lower-case runs of Latin letters and digits, as the package `rouge_score` parts words."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@register("cleaner", "libra_letters")
def libra_letters(text: str) -> str:
    """Libra's cleaning, then `letters`: what its ROUGE-L counts."""
    return letters(libra(text))


# Hygiene of corpora: each is an option of `libra-monai prepare`, none is applied silently. They take whole reports
# with their lines as well as single-spaced sections.

_UNDERSCORES = re.compile(r"\(\s*_+\s*\)|_+")
_GAP_BEFORE = re.compile(r"(?<![ \t])[ \t]+(?=[.,;:)])")
_GAP = re.compile(r"[ \t]{2,}")
_NUMBERING = re.compile(r"(^[ \t]*|(?<=[.:;!?])\s+)\(?\d{1,2}[.)]\s+(?=[A-Z_])", re.MULTILINE)
_RULE = r"^[ \t]*_{10,}[ \t]*$"  # the line that parts addenda and wet reads from the report
_WET_READ = re.compile(rf"^[ \t]*WET READ\b.*?(?={_RULE}|^[ \t]*FINAL REPORT|\Z)", re.DOTALL | re.MULTILINE)
_WET_READ_WITHIN = re.compile(r"(?<!\s)\s*\bWET READ\b.*\Z", re.DOTALL)
_ADDENDUM_ABOVE = re.compile(rf"\A.*\bADDENDUM\b.*{_RULE}", re.DOTALL | re.MULTILINE)
_ADDENDUM_WITHIN = re.compile(r"(?<!\s)\s*\b(?:ADDENDUM\b|Addendum:).*\Z", re.DOTALL)
_SENTENCE_END = re.compile(
    r"(?<!\bDr\.)(?<!\bDrs\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\b[ap]\.m\.)(?<=[.!?])\s+(?=[A-Z0-9_(])"
)
_PEOPLE = re.compile(
    r"\b(?:Drs?|Mrs?|Ms)\b\.?|\bM\.?D\.?\b|\b(?:tele)?phoned?\b|\bpage[dr]\b|\be-?mail(?:ed)?\b|"
    r"\b(?:discussed|communicated|conveyed|relayed|reported|told|called|notified)\b.*\b(?:with|to|by|in person|at \d)",
    re.IGNORECASE | re.DOTALL,
)


@register("cleaner", "no_underscores")
def no_underscores(text: str) -> str:
    """Take out the underscores that stand for removed words, and the gaps they leave; to be applied last."""
    return _GAP.sub(" ", _GAP_BEFORE.sub("", _UNDERSCORES.sub("", text))).strip()


@register("cleaner", "no_numbering")
def no_numbering(text: str) -> str:
    """Take out the numbers of enumerated sentences, as in `1. No edema. 2. No effusion.`"""
    return _NUMBERING.sub(lambda match: match.group(1), text)


@register("cleaner", "no_wet_reads")
def no_wet_reads(text: str) -> str:
    """Take out preliminary readings that were left in the report."""
    return _WET_READ_WITHIN.sub("", text) if "\n" not in text else _WET_READ.sub("", text)


@register("cleaner", "no_addenda")
def no_addenda(text: str) -> str:
    """Take out addenda: what stands above the line over the report, or follows the word in a section."""
    return _ADDENDUM_WITHIN.sub("", text) if "\n" not in text.strip("\n") else _ADDENDUM_ABOVE.sub("", text)


@register("cleaner", "no_people")
def no_people(text: str) -> str:
    """Take out sentences that name people or tell of telephone calls."""
    return " ".join(part for part in _SENTENCE_END.split(text) if not _PEOPLE.search(part))
