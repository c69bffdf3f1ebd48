# SPDX-License-Identifier: Apache-2.0
"""The few dataclasses that travel between rooms, and the letters of all shapes.

Letters: B studies, U distinct pictures of the batch, L encoder layers, N patch tokens, D encoder
width, T visual tokens, H language-model width, S prompt length, R report length, C channels,
h x w pixels. Intensities are uint8 until the last transform. `gap_hours` is the time between a
study and its prior in hours.
"""

from libra_monai.types.drafts import (
    DocumentReference,
    DraftSources,
    PictureHeader,
    ReportDraft,
    SentenceEvidence,
)
from libra_monai.types.studies import (
    FAILURE,
    IGNORE,
    IMAGE_SLOT,
    SLOT_IDS,
    VIEWS,
    WEIGHTS,
    EncoderOutput,
    Failure,
    PictureNotes,
    Record,
    StudyBatch,
)
from libra_monai.types.writing import (
    Decoding,
    Generation,
    LanguageOutput,
    Steering,
    decoding_from,
)

__all__ = [
    "FAILURE",
    "IGNORE",
    "IMAGE_SLOT",
    "SLOT_IDS",
    "VIEWS",
    "WEIGHTS",
    "Decoding",
    "DocumentReference",
    "DraftSources",
    "EncoderOutput",
    "Failure",
    "Generation",
    "LanguageOutput",
    "PictureHeader",
    "PictureNotes",
    "Record",
    "ReportDraft",
    "SentenceEvidence",
    "Steering",
    "StudyBatch",
    "decoding_from",
]
