# SPDX-License-Identifier: Apache-2.0
"""Without a prior nothing is compared, and what describes a state stays sayable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from libra_monai import paths
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.evaluation.drafting import Drafter
from libra_monai.inferers.guard import compares, will_compare
from libra_monai.inferers.steering import pieces
from libra_monai.metrics import FindingF1
from libra_monai.metrics.labelers.changes import claims_change
from libra_monai.types import Decoding

STATIC = """The heart is enlarged.
Increased interstitial markings.
Elevated right hemidiaphragm.
There are increased interstitial markings in both lungs.
Decreased lung volumes.
Low lung volumes with bibasilar atelectasis.
Small left pleural effusion.
No pleural effusion or pneumothorax.
Moderate cardiomegaly with mild pulmonary edema.
The cardiomediastinal silhouette is unremarkable.
Enlarged cardiac silhouette.
The aorta is unfolded.
No prior studies for comparison.
Large right pneumothorax with collapse of the lung.
Prominent hila.
Right lower lobe consolidation, concerning for pneumonia.
The endotracheal tube is in standard position.
Increased lung volumes suggest emphysema.
Calcified granuloma in the left upper lobe.
The patient is rotated to the right.""".splitlines()
COMPARING = """There is a new endotracheal tube.
Unchanged small right pneumothorax.
The moderate consolidation is stable.
The effusion has increased.
Increasing left pleural effusion.
Interval placement of a central line.
No change since the prior study.
Compared with the prior radiograph, the heart is larger.
The effusion is no longer seen.
Improved pulmonary edema.""".splitlines()


@pytest.mark.parametrize("sentence", STATIC)
def test_no_beginning_of_a_static_sentence_is_refused(sentence):
    assert [sentence[:end] for end in range(len(sentence) + 1) if _at_a_word(sentence, end) and will_compare(sentence[:end])] == []


def _at_a_word(sentence, end):
    return end == len(sentence) or not sentence[end].isalpha()


@pytest.mark.parametrize("sentence", COMPARING)
def test_a_comparison_is_refused(sentence):
    assert compares(sentence)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    return folder, load_records(str(generate(folder, 4, 99, {"test": 1.0})), "test")


@pytest.fixture(scope="module")
def loaded():
    return load_pretrained(paths.tiny_model())


def _drafts(loaded, folder, records, **options):
    loaded.decoding = Decoding(**{"max_new_tokens": 120, **options})
    return {name: draft.text for name, draft in Drafter(loaded, str(folder), 8, shown=False).drafts(records).items()}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="greedy"),
        pytest.param({"num_beams": 3}, id="beams", marks=pytest.mark.slow),
        pytest.param({"do_sample": True, "top_p": 0.9}, id="sampling", marks=pytest.mark.slow),
    ],
)
def test_no_draft_of_a_first_study_compares_although_the_model_likes_to(loaded, studies, options):
    folder, records = studies
    comparing = [{**r, "prior": None} for r in records if r["prior"]]  # the request still speaks of an earlier study
    free = _drafts(loaded, folder, comparing, **options)
    assert any(claims_change(text) for text in free.values())
    guarded = _drafts(loaded, folder, comparing, guard=True, **options)
    assert not any(claims_change(text) or compares(text) for text in guarded.values()), guarded
    assert all(text.endswith(".") for text in guarded.values()), guarded


@pytest.mark.slow
def test_with_a_prior_the_guard_changes_nothing_and_without_the_findings_stay(loaded, studies):
    folder, records = studies
    free, guarded = _drafts(loaded, folder, records), _drafts(loaded, folder, records, guard=True)
    assert all(free[r["study_id"]] == guarded[r["study_id"]] for r in records if r["prior"])
    values = []
    for texts in (free, guarded):
        metric = FindingF1(truth=True)
        metric.update([texts[r["study_id"]] for r in records], [r["findings"] for r in records], records)
        values.append(metric.compute()["finding_side_micro_f1"])
    assert values[1] >= values[0] - 0.005


def test_an_answer_ends_before_a_stop_string_and_the_stream_joins_to_the_text(loaded, studies):
    folder, records = studies
    whole = _drafts(loaded, folder, records[:1])[records[0]["study_id"]]
    first = whole.split(". ")[0]
    beams = _drafts(loaded, folder, records[:1], stop=[". "], num_beams=2)[records[0]["study_id"]]
    assert beams and "." not in beams.rstrip(".")
    assert _drafts(loaded, folder, records[:1], stop=[". "])[records[0]["study_id"]] == first
    assert "".join(loaded.stream(records[0], folder)) == first
    loaded.decoding = replace(loaded.decoding, stop=())
    said = list(loaded.stream(records[0], folder))
    assert "".join(said) == loaded.report_record(records[0], folder).text and len(said) > 3


def test_half_letters_and_half_stop_strings_are_held_back():
    texts = ["Ta", "Tag \ufffd", "Tag ü", "Tag ü EN", "Tag ü END", "Tag ü END more"]
    assert "".join(pieces(range(6), lambda said: texts[len(said) - 1], ["END"])) == "Tag ü"


def test_findings_and_impression_in_one_call_read_pictures_once(loaded, studies):
    folder, records = studies
    loaded.decoding = Decoding(max_new_tokens=60)
    encoded = []
    hook = loaded.model.encoder.register_forward_hook(lambda _, args, __: encoded.append(len(args[0])))
    record = next(r for r in records if r["prior"])
    both = loaded.report_record(record, folder, ("findings", "impression"))
    hook.remove()
    assert encoded == [2] and both.impression
    assert both.findings == loaded.report_record(record, folder).findings
