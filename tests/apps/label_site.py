# SPDX-License-Identifier: Apache-2.0
"""A site with studies, drafts and corrections, for tests of what is learned from them."""

from __future__ import annotations

from pathlib import Path

from libra_monai import paths
from libra_monai.apps.monailabel.learning.frozen import FrozenRules
from libra_monai.apps.monailabel.learning.reports import CORRECTED, ORIGINAL, ReportStore
from libra_monai.apps.monailabel.learning.training import Learning
from libra_monai.apps.monailabel.sources.studies import unknown


class ListedStudies:
    """Studies of a datalist, with the reports that stand there."""

    def __init__(self, root, records):
        self.root, self.records = str(root), {record["study_id"]: record for record in records}

    def ids(self):
        return list(self.records)

    def record(self, image):
        if image not in self.records:
            raise unknown(image, {})
        return dict(self.records[image])


def site(home, phantom, records, **rules) -> Learning:
    """An app whose own files stand in `home`."""
    rules = FrozenRules(**{"least": 3, "most": 3, **rules})
    return Learning(Path(home), ListedStudies(phantom, records), ReportStore(Path(home) / "reports"), Path(paths.tiny_model()), rules)


def draft(learning, image, findings="The lungs are clear.", **more):
    """A saved draft, with the prior of the record."""
    prior = learning.studies.record(image)["prior_study_id"]
    content = {"uid": f"draft of {image}", "findings": findings, "impression": None, "prior_used": prior is not None, "prior_study_id": prior}
    learning.reports.save(image, ORIGINAL, {**content, **more})


def correct(learning, image, findings=None, **more):
    """A saved correction of that draft, to the report of the record."""
    text = findings or learning.studies.record(image)["findings"]
    learning.reports.save(image, CORRECTED, {"findings": text, "impression": None, "draft": f"draft of {image}", "seconds": 30, **more})
