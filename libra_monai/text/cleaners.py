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
