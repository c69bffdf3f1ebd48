# SPDX-License-Identifier: Apache-2.0
"""Drafting as a stage of a Ray Data pipeline; needs the extra `ray`. See docs/scaling.md.

Ray decides how many copies of the stage run and where; each loads the model once. Nothing else of this package needs Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DraftStage:
    """A class for `Dataset.map`: a record of a datalist in, the fields of a line of `predictions.jsonl` out.

    A study that cannot be used comes out with `failure` instead, so that the others go on.

    Args:
        model: model folder; None is the shipped small model.
        root: folder that the paths of the records are relative to.
        device: `auto`, `cpu`, or a torch device.
    """

    def __init__(self, model: str | None, root: str, device: str = "auto") -> None:
        from libra_monai import paths
        from libra_monai.checkpoints import load_pretrained
        from libra_monai.engines import pick_device

        self.root, self.model = root, load_pretrained(model or paths.tiny_model(), None, pick_device(device))

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        from libra_monai.data.dataset import failure_of
        from libra_monai.data.schema import complete
        from libra_monai.errors import StudyError

        study = complete(dict(record), "the stage")
        try:
            return {**self.model.report_record(study, self.root).as_json(), "failure": None}
        except StudyError as error:
            return {"study_id": study["study_id"], "failure": failure_of(error, study).as_json()}
