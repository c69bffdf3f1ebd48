# SPDX-License-Identifier: Apache-2.0
"""The whole loop: correct, train, the server is killed in the middle, a new one goes on, a person approves, and takes it back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from libra_monai import paths
from libra_monai.apps.monailabel import approval
from libra_monai.apps.monailabel.reports import CORRECTED
from libra_monai.apps.monailabel.runs import list_runs, unfinished_run
from libra_monai.apps.monailabel.training import corrected_records, train
from libra_monai.checkpoints import load_pretrained
from libra_monai.errors import ModelError
from tests.apps.label_site import correct, draft, site

pytestmark = pytest.mark.slow
OPTIONS = {"max_epochs": 6, "batch_size": 1, "save_steps": 2, "device": "cpu"}
SERVER = textwrap.dedent(
    """
    import json, sys
    from libra_monai.apps.monailabel.training import train
    from libra_monai.data import load_records
    from tests.apps.label_site import site

    home, phantom, options = sys.argv[1:]
    records = [r for split in ("training", "validation", "test") for r in load_records(phantom + "/datalist.json", split)]
    train(site(home, phantom, records), json.loads(options))
    """
)


def _killed_in_training(home, phantom, at):
    """A server that begins a training and is killed behind a step; the process of the training ends by itself."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(home), str(phantom), json.dumps(OPTIONS)], start_new_session=True)
    until = time.monotonic() + 200
    while time.monotonic() < until and server.poll() is None:
        run = unfinished_run(home)
        if run is not None and run.state().get("step", 0) >= at:
            break
        time.sleep(0.05)
    assert server.poll() is None, "the training ended before it could be killed"
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    return run


def test_a_training_survives_its_server_and_its_candidate_is_served_only_after_approval(phantom, records, tmp_path):
    base = Path(paths.tiny_model())
    learning = site(tmp_path / "home", phantom, records)
    for image in [record["study_id"] for record in records if record["prior"]]:
        draft(learning, image)
        correct(learning, image)
        if len(learning.reports.ids(CORRECTED)) > 1 and len(corrected_records(learning)[0]) == 3:
            break  # three corrected reports of patients that do not judge
    frozen = (learning.home / "frozen.json").read_text()
    corrections = {image: learning.reports.versions(image, CORRECTED) for image in learning.reports.ids(CORRECTED)}

    run = _killed_in_training(learning.home, phantom, at=4)
    told = []
    ended = train(learning, OPTIONS, told.append)
    steps = [state["step"] for state in told if state["state"] == "training"]
    assert steps[0] > 4 and steps[-1] == 18 == 3 * OPTIONS["max_epochs"]  # it did not begin anew
    assert ended["name"] == run.name and [one.name for one in list_runs(learning.home)] == [run.name]
    assert {image: learning.reports.versions(image, CORRECTED) for image in corrections} == corrections
    assert (learning.home / "frozen.json").read_text() == frozen

    assert approval.served_folder(learning.home, base) == base.resolve()  # trained, and not served
    if not ended["passed"]:
        with pytest.raises(ModelError, match="is not served"):
            approval.approve(learning.home)
        assert approval.served_folder(learning.home, base) == base.resolve()
        return
    approval.approve(learning.home, by="Dr A")
    assert load_pretrained(approval.served_folder(learning.home, base)).card["name"] == run.name
    approval.rollback(learning.home, by="Dr B")
    assert approval.served_folder(learning.home, base) == base.resolve()

