# SPDX-License-Identifier: Apache-2.0
"""Where tubes and lines lie is read from the language of reports, and scored."""

from __future__ import annotations

import numpy as np
import pytest

from libra_monai.data.phantom.rich.details import retell
from libra_monai.data.phantom.rich.wording import write_findings, write_impression
from libra_monai.data.phantom.story import draw_story
from libra_monai.metrics import PositionF1, score_reports
from libra_monai.metrics.labelers import read_positions

ETT, NGT, LINE, DRAIN, PACER = "Endotracheal Tube", "Gastric Tube", "Central Line", "Chest Drain", "Pacemaker"
GOOD, BAD = "satisfactory", "malpositioned"
PROBES = {
    "ET tube terminates 4 cm above the carina. The NG tube is coiled in the esophagus.": {NGT: BAD},
    "The endotracheal tube is in the right mainstem bronchus and should be withdrawn by 3 cm.": {ETT: BAD},
    "ETT and NGT are in satisfactory position.": {ETT: GOOD, NGT: GOOD},
    "ET tube, NG tube and right central line are appropriately positioned.": {ETT: GOOD, NGT: GOOD, LINE: GOOD},
    "The tip of the endotracheal tube is too high; recommend advancement by 2 cm.": {ETT: BAD},
    "Endotracheal tube tip is 7 cm above the carina. It should be advanced.": {ETT: BAD},
    "Enteric tube with side port above the GE junction; advancement is recommended.": {NGT: BAD},
    "An enteric tube courses below the diaphragm and out of view.": {},
    "Left PICC is malpositioned, with its tip directed cephalad in the internal jugular vein.": {LINE: BAD},
    "Malposition of the left PICC. ET tube in standard position.": {LINE: BAD, ETT: GOOD},
    "Previously malpositioned NG tube is now in good position.": {NGT: GOOD},
    "ET tube has been repositioned and is now in good position.": {ETT: GOOD},
    "Malpositioned NG tube has been removed.": {},
    "No malposition of the central line.": {LINE: GOOD},
    "The NG tube is not in satisfactory position.": {NGT: BAD},
    "There is an enteric tube. The tube is coiled in the pharynx.": {NGT: BAD},
    "The ET tube is well positioned, but the gastric tube ends in the distal esophagus.": {ETT: GOOD, NGT: BAD},
    "A right chest tube has been placed and should be repositioned, tip below the diaphragm.": {DRAIN: BAD},
    "Chest tube kinked in the subcutaneous tissues.": {DRAIN: BAD},
    "Dual lead pacemaker with leads in standard positions.": {PACER: GOOD},
    "ET tube is seen. Suboptimal patient positioning.": {},
    "ET tube is seen. Lung volumes are satisfactory.": {},
    "Right subclavian line in good position. The heart is in normal position.": {LINE: GOOD},
    "No pleural effusion.": {},
    "": {},
}


@pytest.mark.parametrize("text", PROBES, ids=str)
def test_positions_are_read(text):
    assert read_positions(text) == PROBES[text]


@pytest.mark.parametrize("wordings", ["training", "held_out"])
def test_reports_of_rich_phantoms_say_where_their_devices_lie(wordings):
    wrong = devices = 0
    for number in range(150):
        rng = np.random.default_rng([8, number])
        for visit in retell(draw_story(rng)):
            text = f"{write_findings(visit.statements, rng, wordings)}\n{write_impression(visit.statements, rng, wordings)}"
            lies = {s.finding: s.position for s in visit.statements if s.position and s.change != "removed"}
            wrong, devices = wrong + (read_positions(text) != lies), devices + len(lies)
    assert devices > 150 and wrong == 0


def _score(drafts, references, studies=None, **options):
    metric = PositionF1(**options)
    metric.update(drafts, references, studies or [{"study_id": str(i)} for i in range(len(drafts))])
    return metric.compute()


def test_positions_malpositions_and_misses_are_counted():
    drafts = ["ET tube in good position. NG tube malpositioned.", "Malpositioned PICC.", "ET tube in good position."]
    wanted = ["ET tube in good position. NG tube malpositioned.", "PICC in good position.", "Malpositioned ET tube."]
    assert _score(drafts, wanted) == pytest.approx(
        {"position_micro_f1": 0.5, "malposition_micro_f1": 0.5, "missed_malposition_rate": 0.5}
    )


def test_statements_of_the_record_replace_the_reference_text():
    said = {"finding": NGT, "side": None, "severity": None, "change": "new", "position": BAD}
    gone = {"finding": ETT, "side": None, "severity": None, "change": "removed", "position": GOOD}
    study = {"study_id": "a", "statements": [said, gone, {"finding": "Edema", "side": None, "change": None, "severity": None}]}
    assert _score(["Malpositioned NG tube."], ["text"], [study], truth=True)["position_micro_f1"] == 1


def test_without_a_word_of_position_there_is_no_value():
    assert _score(["No effusion."], ["ET tube is seen."]) == {}
    only_good = _score(["ET tube in good position."], ["ET tube in good position."])
    assert only_good == {"position_micro_f1": 1.0}


def test_the_metric_is_scored_by_its_registered_name():
    scores = score_reports(["Malpositioned ETT."], ["Malpositioned ETT."], ["position_f1"], resamples=10)
    assert scores["malposition_micro_f1"]["value"] == 1 and scores["missed_malposition_rate"]["value"] == 0


def test_a_text_of_forty_thousand_tubes_is_read():
    """It took two minutes while "the tube" was looked up among all mentions before it."""
    text = "The ET tube is malpositioned. " + "tube " * 40_000
    assert read_positions(text) == {ETT: BAD}
