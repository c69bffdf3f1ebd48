# SPDX-License-Identifier: Apache-2.0
"""Without a prior nothing is compared, and what describes a state stays sayable."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from libra_monai import paths
from libra_monai.checkpoints import load_pretrained
from libra_monai.data import load_records
from libra_monai.data.phantom.generate import generate
from libra_monai.evaluation.drafting import Drafter
from libra_monai.inferers.guard import TRIED, Guard
from libra_monai.inferers.steering import pieces
from libra_monai.metrics import FindingF1
from libra_monai.metrics.labelers.changes import claims_change
from libra_monai.metrics.labelers.comparisons import compares
from libra_monai.types import Decoding

STATIC = (
    "The heart is enlarged.", "Enlarged heart.", "Increased interstitial markings.", "Heart size is increased.",
    "There are increased interstitial markings in both lungs.", "The left hemidiaphragm is elevated.",
    "Elevated diaphragm on the right.", "Lung volumes are decreased.", "Decreased lung volumes with bibasilar atelectasis.",
    "Degenerative changes of the thoracic spine.", "Increased retrocardiac density.",
    "The right hemithorax is larger than the left.", "The patient is status post prior median sternotomy.",
    "Old healed rib fractures from prior trauma.", "The aorta is tortuous and calcified.",
    "There is a large right pleural effusion.", "Increased lucency of the upper lobes suggests emphysema.",
    "The lungs are clear and there is no pneumothorax.", "The right hilum is more prominent than the left.",
    "Mild cardiomegaly with increased pulmonary vascularity.", "No focal consolidation.",
    "Blunting of the costophrenic angle against the chest wall.", "Chronic interstitial changes.",
)  # fmt: skip
CHANGE = (
    "The heart is unchanged.", "There is a new opacity.", "Interval removal of the tube.", "Stable cardiomegaly.",
    "The effusion has increased.", "The effusion has decreased since the prior study.", "Larger left pleural effusion.",
    "Compared with the prior study the effusion is larger.", "The pneumothorax is no longer seen.", "No change.",
    "Again seen is a left effusion.", "There is again seen a small effusion.", "The edema has improved.", "Worsening edema.",
    "The left effusion has resolved.", "The tube has been removed.", "Persistent opacity at the left base.",
    "Increased left pleural effusion.", "The opacity is smaller.", "The pneumothorax has cleared.", "Decreased edema.",
    "Small left effusion, increasing.", "No significant interval change.", "The effusion is worse.",
)  # fmt: skip


def _first_comparison(text):
    """How far a text comes until it compares, or None."""
    return next((text[:end] for end in range(1, len(text) + 1) if compares(text[:end])), None)


@pytest.mark.parametrize("sentence", STATIC)
def test_disease_at_rest_is_never_blocked(loaded, sentence):
    tokenizer = loaded.processor.tokenizer
    guard = Guard(lambda ids: tokenizer.decode(ids, skip_special_tokens=True), [False], [2], 1)
    ids = tokenizer(f"Lungs are clear. {sentence}", add_special_tokens=False).input_ids
    for place in range(1, len(ids)):
        scores = torch.zeros(1, len(tokenizer))
        scores[0, ids[place]] = 1
        assert guard.weigh(torch.tensor([ids[:place]]), scores, [0]).argmax() == ids[place], tokenizer.decode(ids[: place + 1])
    assert len(set(STATIC)) >= 20


@pytest.mark.parametrize("sentence", CHANGE)
def test_a_comparison_is_stopped_before_it_is_said(sentence):
    assert claims_change(sentence)
    stopped = _first_comparison(f"The lungs are clear. {sentence}")
    assert stopped is not None and not claims_change(stopped[:-1])


def test_a_comparison_breaks_its_sentence_off_and_a_sentence_that_only_begins_goes_on_with_other_words():
    words = ["The tube is", " un", "changed", ".", " seen", "likely"]
    guard = Guard(lambda ids: "".join(words[i] for i in ids), [False], [6], 1)
    scores = torch.tensor([[float("-inf"), 3.0, 9.0, 1.0, 4.0, 2.0, 0.0]])
    assert guard.weigh(torch.tensor([[0, 1]]), scores, [0]).argmax() == 3  # "The tube is un."
    assert guard.weigh(torch.tensor([[1]]), scores, [0]).argmax() == 5  # neither " un seen" nor " un un": "unlikely"


def test_a_sentence_can_be_broken_off_however_unlikely_its_full_stop():
    words = ["The heart is", " stable", *[f" w{number}" for number in range(TRIED)], "."]
    guard = Guard(lambda ids: "".join(words[i] for i in ids), [False], [0], 1, full_stops=[len(words) - 1])
    scores = torch.linspace(0, -99, len(words))[None]
    scores[0, 0] = -50
    weighed = guard.weigh(torch.tensor([[0]]), scores, [0])
    assert weighed.argmax() == len(words) - 1 and weighed.max() == scores.max()  # no beam pays for it
    assert [size for size, _ in guard.broken(0, [0, len(words) - 1, 0])] == [2] and not guard.broken(0, [0, 1])


def test_the_answer_ends_where_nothing_else_can_be_said():
    words = ["new", "stable", "unchanged", "the", "!"]
    guard = Guard(lambda ids: "".join(f" {words[i]}" for i in ids), [False, True], [4], 1)
    scores = torch.tensor([[3.0, 2.0, 1.0, float("-inf"), float("-inf")]]).repeat(2, 1)
    left = guard.weigh(torch.tensor([[3], [3]]), scores, [0, 1])
    assert left.argmax(dim=1).tolist() == [4, 0] and torch.equal(left[1], scores[1])


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


def _finding_f1(texts, records):
    metric = FindingF1(truth=True)
    metric.update([texts[r["study_id"]] for r in records], [r["findings"] for r in records], records)
    return metric.compute()["finding_side_micro_f1"]


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
    assert not any(claims_change(text) for text in guarded.values()), guarded
    assert all(len(text.split()) > 5 for text in guarded.values()), guarded
    assert not any(re.search(r"\b(\w+) \1\b", text) for text in guarded.values()), guarded  # part of a word, over and over
    if not options:  # as the preset `guarded`; of so few studies one finding may be told otherwise, of many see benchmarks/guard.py
        one = 1 / sum(said["change"] not in ("resolved", "removed") for record in comparing for said in record["statements"])
        assert _finding_f1(guarded, comparing) >= _finding_f1(free, comparing) - 0.005 - one


@pytest.mark.slow
def test_with_a_prior_the_guard_changes_nothing_and_without_the_findings_stay(loaded, studies):
    folder, records = studies
    free, guarded = _drafts(loaded, folder, records), _drafts(loaded, folder, records, guard=True)
    assert all(free[r["study_id"]] == guarded[r["study_id"]] for r in records if r["prior"])
    assert _finding_f1(guarded, records) >= _finding_f1(free, records) - 0.005


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
    both = loaded.report_record(record, folder, sections=("findings", "impression"))
    hook.remove()
    assert encoded == [2] and both.impression
    assert both.findings == loaded.report_record(record, folder).findings
