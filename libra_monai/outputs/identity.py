# SPDX-License-Identifier: Apache-2.0
"""Names of what is written: the same inputs, model and format always give the same UID, so that a retry never doubles.

The UIDs are UUIDs under 2.25 (ITU-T X.667), made by hashing; no root of an organisation is needed.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping

from libra_monai.types import PictureHeader, ReportDraft

MANUFACTURER = "Libra-MONAI contributors"
PRODUCT = "Libra-MONAI"
LANGUAGE = ("en", "English")  # of every model there is; code of RFC 5646
_NAMESPACE = uuid.UUID("5dddecae-44d0-4145-8b52-a2c583195772")  # drawn once, for this package


def uuid_of(*parts: str) -> uuid.UUID:
    """A UUID that depends on the parts only."""
    return uuid.uuid5(_NAMESPACE, "\x1f".join(parts))


def uid_of(*parts: str) -> str:
    """A DICOM UID that depends on the parts only."""
    return f"2.25.{uuid_of(*parts).int}"


def draft_key(draft: ReportDraft, headers: Mapping[str, PictureHeader]) -> tuple[str, ...]:
    """What a written object is named by: pictures, texts of the request, model, and the sections asked for.

    Not the text itself: a retry on other hardware may word it differently, and is still the same draft. A draft that takes the
    place of others is named by its text and by them.

    Args:
        draft: the draft.
        headers: view -> header; a current picture without one is named by its study.
    """
    pictures = [f"{view}={header.sop_uid}" for view, header in sorted(headers.items()) if header.sop_uid]
    if not any(picture.startswith("current=") for picture in pictures):
        pictures.append(f"study={draft.study_id}")
    asked = [name for name in ("findings", "impression") if getattr(draft, name) is not None]
    prior = draft.prior_study_id or "given" if draft.prior_used and "prior" not in headers else ""
    key = (*pictures, prior, draft.sources.request, draft.model, "+".join(asked))
    if draft.supersedes is None:
        return key
    digest = hashlib.sha256(repr((draft.findings, draft.impression)).encode()).hexdigest()
    return (*key, digest, *sorted(earlier.sop_uid for earlier in draft.supersedes))


def model_of(draft: ReportDraft) -> tuple[str, str]:
    """Name and version of the model; the version is `unknown` if the weights do not tell."""
    name, _, version = draft.model.rpartition(" ")
    return (name, version) if name else (version, "unknown")


def device_uid(draft: ReportDraft) -> str:
    """UID of the device that observes: this software with that model."""
    return uid_of("device", PRODUCT, draft.model)
