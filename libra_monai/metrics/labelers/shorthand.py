# SPDX-License-Identifier: Apache-2.0
"""Shorthand of reports written out before words are looked at: abbreviations, dates of earlier studies, tips of tubes out of sight."""

from __future__ import annotations

import re
import unicodedata

_MONTH = r"(?:jan|febr?|mar|apr|may(?! (?:also |still |well )?(?:be|represent|reflect|indicate|suggest|have|not|relate)\b)|june?|july?|aug|sept?|oct|nov|dec)(?:uary|ch|il|ust|ember|ober)?\.?"
_TIME = r"\d{1,2}:\d\d(?: ?(?:[ap]\.?m\b\.?|hours|hrs|h\b))?"
_DAY = (
    rf"(?:\d{{1,2}}/\d{{1,2}}(?:/\d{{2,4}})?|\d{{4}}-\d\d-\d\d|_{{2,}}|\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}(?:,? \d{{4}})?"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?|{_MONTH} \d{{4}}|(?:19|20)\d\d|{_TIME})"
)
_FILM = "(?:study|exam|examination|film|radiograph|image|cxr|x-ray)"
_TUBE = "(?:endotracheal|et|tracheal|nasogastric|orogastric|enteric|gastric|feeding|ng|og|tracheostomy)"
# The day of an earlier study, as a date or as what de-identification leaves of one, is called yesterday.
_DATED = re.compile(rf"\b(on|from|of|to|since|dated|with|than|in) (?:the )?(?:{_FILM} (?:of|from|dated) )?{_DAY}(?: {_FILM})?(?![\w/])")
_TODAY = re.compile(
    rf"\b(seen|present|visible|evident|there|apparent|than|since|from|to|obtained|performed|taken) (?:on )?"
    rf"(?:earlier (?:today|this morning|in the day|the same day)|this morning(?:'s {_FILM})?)\b"
)
# "... with its tip not visualized": the tube is there, only its end lies outside the picture.
_TIP_OUT_OF_SIGHT = re.compile(
    r"\b(?:distal )?(?:tip|end|side ?(?:port|hole))s?\b([^.;,\n]{0,40}?)\b(?:not|excluded|outside|beyond|off|out of|below)\b"
    r"[^.;,\n]{0,40}?\b(?:seen|visuali[sz]ed|included|imaged|identified|assessed|evaluated|view|field|image|film|radiograph)\b"
)
_NUMBERED = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "__")
_SHORT = (  # what a text must contain, what is looked for, what it stands for
    (("/",), re.compile(r"\bs/p\b"), "status post"),
    (("/",), re.compile(r"\bw/o\b"), "without"),
    (("/",), re.compile(r"\bw/(?=\s)"), "with"),
    (("/",), re.compile(r"\bc/w\b"), "consistent with"),
    (("/",), re.compile(r"\br/o\b"), "rule out"),
    (("/",), re.compile(r"\bb/l\b"), "bilateral"),
    (("rij", "rsc"), re.compile(r"\br(?=(?:ij|scv?)\b)"), "right "),
    (("lij", "lsc"), re.compile(r"\bl(?=(?:ij|scv?)\b)"), "left "),
    (("all but",), re.compile(r"\ball but (?=resolved|cleared|disappeared|gone|vanished)"), "nearly "),
    (_NUMBERED, _DATED, r"\1 yesterday"),
    (("today", "morning", " day"), _TODAY, r"\1 yesterday"),
    ((":",), re.compile(rf" ?(?:\bat )?{_TIME}"), ""),
    (("tubes",), re.compile(rf"\b({_TUBE})(?=(?:, {_TUBE}){{0,4}},? (?:and|or) (?:an? |the )?{_TUBE} tubes?\b)"), r"\1 tube"),
    (("gone from",), re.compile(r"\bgone from\b"), "went from"),
    (("/",), re.compile(r"\band/or\b"), "or"),
    (("/",), re.compile(r"(?<=[a-z]) ?/ ?(?=[a-z])"), " or "),
    (("-",), re.compile(r"(?<=[a-z0-9])-(?=[a-z])"), " "),
    ((">",), re.compile(r" >+ "), " greater than "),
    (("<",), re.compile(r" < "), " less than "),
    (("r ", "than r"), re.compile(r"(?<![\w/.'])r(?= +(?:[a-z]{2}|\d+(?:st|nd|rd|th)\b))|(?<=than )r\b"), "right"),
    (("l ", "than l"), re.compile(r"(?<![\w/.'])l(?= +(?:[a-z]{2}|\d+(?:st|nd|rd|th)\b))|(?<=than )l\b"), "left"),
    (("can",), re.compile(r"can't|can not"), "cannot"),
    (("n't",), re.compile(r"(?<=[a-z])n't\b"), " not"),
    ((" -",), re.compile(r" -+ "), " , "),
    # A size that is increased lies above the norm, not above the last study, unless the sentence goes on to say so.
    (
        ("increased",),
        re.compile(
            r"\b(heart size|cardiothoracic ratio|(?:heart|cardiac silhouette)(?= is)) is "
            r"((?:mildly|moderately|severely|markedly) )?increased(?: in size)?(?= *(?:[.;,]|$|at \d))"
        ),
        r"\1 is \2enlarged",
    ),
    (("pleural space",), re.compile(r"\bpleural spaces? (?:is|are|remains?|appears?) (?:free of fluid|clear|dry)\b"), "no pleural effusion"),
    (("has become",), re.compile(r"\bhas become (?=(?:mildly |moderately |severely |markedly )?enlarged\b)"), "is newly "),
    (("tip", "end", "port", "hole"), _TIP_OUT_OF_SIGHT, r"tip\1"),
)
_DASHES = str.maketrans({c: "-" for c in "\u2010\u2011\u2012\u2013\u2014\u2212"} | {"\u2019": "'", "\u00a0": " "})


def plain(text: str | None) -> str:
    """Lower-case text with usual dashes and abbreviations written out, without tips of tubes that lie out of sight.

    Args:
        text: report text; None is empty.
    """
    text = unicodedata.normalize("NFKC", text or "").translate(_DASHES).lower()
    for needed, pattern, full in _SHORT:  # looking for a string is many times faster than for a pattern
        if any(mark in text for mark in needed):
            text = pattern.sub(full, text)
    return text
