# SPDX-License-Identifier: Apache-2.0
"""Reports of MIMIC-CXR whose text no header announces, as the official section scripts list them by hand.

The facts of the two tables `custom_section_names` and `custom_indices` in MIT-LCP/mimic-cxr (`txt/section_parser.py`,
published openly): where in 54 reports the describing text stands. The sectioned table made with those scripts leaves
these studies out.
"""

from __future__ import annotations

# section that holds the text -> studies
_IN_SECTION = {
    "recommendations": "50913680 59768032 59067458 59087630 58157373 56482935 58375018",
    "examination": "59363654 53356173 50743547 59215320 55157853",
    "technique": "59279892 53202765 50808053",
    "indication": "57936451 50058765 51966317 55124749 54365831 54654948",
    "note": "56451190",
    "history": "51491012",
}
# study, first and last character (not counted) of the text
_RANGES = """
50525523 201 349  57564132 233 554  59982525 313 717  53488209 149 475  54875119 234 988  50196495 59 399
56579911 59 218   52648681 292 631  59889364 172 453  53514462 73 377   59505494 59 450   53182247 59 412
51410602 47 320   56412866 522 822  54986978 59 306   59003148 262 505  57150433 61 394   56760320 219 457
59562049 158 348  52674888 145 296  55258338 192 568  59330497 140 655  52119491 179 454
"""
_WITHOUT_TEXT = "58235663 50798377 54168089 53071062 56724958 54231141 53607029 52035334"

SECTION_OF = {study: name for name, studies in _IN_SECTION.items() for study in studies.split()}
_numbers = _RANGES.split()
RANGE_OF = {study: (int(a), int(b)) for study, a, b in zip(_numbers[::3], _numbers[1::3], _numbers[2::3], strict=True)}
RANGE_OF |= {study: (0, 0) for study in _WITHOUT_TEXT.split()}
