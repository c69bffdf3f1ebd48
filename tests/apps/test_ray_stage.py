# SPDX-License-Identifier: Apache-2.0
"""The stage for Ray Data, called as Ray calls it."""

from __future__ import annotations

import pytest

from libra_monai.apps.ray_stage import DraftStage


def test_the_stage_drafts_a_record_and_tells_of_one_that_cannot_be_used(phantom, records, tiny):
    stage = DraftStage(None, str(phantom), "cpu")
    assert stage(records[0])["prediction"] == tiny.report_record(records[0], phantom).text
    bad = stage({**records[0], "current": "images/missing.dcm"})
    assert bad["study_id"] == records[0]["study_id"] and "missing.dcm" in bad["failure"]["file"]


def test_ray_takes_the_stage(phantom, records):
    ray = pytest.importorskip("ray", reason="no ray; install libra-monai[ray]")
    assert callable(ray.data.from_items([{"study_id": "a"}]).map) and isinstance(DraftStage, type)
