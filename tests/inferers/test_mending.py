# SPDX-License-Identifier: Apache-2.0
"""What the guard broke off reads like dictated radiology, says nothing new, and what is not broken stays as it was written."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from libra_monai.data.dataset import StudyDataset
from libra_monai.inferers import ReportInferer, sentence_evidence
from libra_monai.inferers.guard import Guard
from libra_monai.inferers.mending import Broken, mend
from libra_monai.inferers.steering import TextSteering, pieces, told
from libra_monai.metrics.labelers.changes import claims_change
from libra_monai.metrics.labelers.findings import present_findings
from libra_monai.types import Decoding, Generation

BEFORE, AFTER = "The lungs are clear.", "No pneumothorax."
# written until it was broken off, what was refused then, what stands
BROKEN = (
    ("The enteric tube is un", "changed", "Enteric tube."),
    ("The left effusion has", " increas", "Left effusion."),
    ("An endotracheal tube is again", " seen", "Endotracheal tube."),
    ("Left basal atelectasis is slightly", " larger", "Left basal atelectasis."),
    ("The right nodule and the left effusion are un", "ch", "Right nodule and the left effusion."),
    ("Left basal atelectasis has not", " increased", "Left basal atelectasis."),  # denied, and there all the same
    ("The heart is enlarged, un", "changed", "The heart is enlarged."),
    ("The lungs are clear and un", "changed", "The lungs are clear."),
    ("There is a small effusion and the enteric tube is un", "changed", "There is a small effusion; enteric tube."),
    ("There is a small effusion and the enteric tube has been", " remov", "There is a small effusion."),
    ("There is a small effusion and the heart is un", "changed", "There is a small effusion."),
    ("No pneumothorax has", " developed", "No pneumothorax."),
    ("Moderate left effusion, not significantly", " changed", "Moderate left effusion."),
    ("Possible effusion at the İ base is un", "changed", "Possible effusion at the İ base."),
)
GONE = (  # nothing stands: the finding is said to be gone, or none is named
    ("The left effusion has", " resolv"), ("The enteric tube has been", " removed"), ("The effusion is no", " longer"),
    ("The effusion is not", " still present"), ("Left effusion", " resolved"), ("The left effusion has been", " drained"),
    ("The heart is un", "changed"), ("The lungs are un", "changed"), ("There is a", " new"), ("There is no", " new"),
    ("There is evidence of", " interval"), ("There is a small", " new"), ("It is un", "changed"),
    ("There is no pleural", " new"), ("Left effusion, if any, is un", "changed"),
)  # fmt: skip


def _mended(written, refused, before=BEFORE, after=AFTER, **more):
    text = " ".join(filter(None, (before, f"{written}.", after)))
    end = len(" ".join(filter(None, (before, f"{written}."))))
    mended = mend(text, [(end, Broken(refused, refused[0].isalpha()))], **more)
    assert len(mended.text) == len(mended.places)
    put_in = {letter for letter, place in zip(mended.text, mended.places, strict=True) if place < 0}
    assert put_in <= set(".; ")
    own = [(letter, text[place]) for letter, place in zip(mended.text, mended.places, strict=True) if place >= 0]
    assert all(letter.lower() == was.lower() for letter, was in own)  # nothing is said that was not written
    return mended.text


@pytest.mark.parametrize(("written", "refused", "stands"), BROKEN)
def test_of_a_broken_sentence_only_what_was_seen_stands(written, refused, stands):
    assert _mended(written, refused) == f"{BEFORE} {stands} {AFTER}"
    assert _mended(written, refused, before="", after="") == stands
    assert not claims_change(stands)


@pytest.mark.parametrize(("written", "refused"), GONE)
def test_a_broken_sentence_goes_where_it_names_nothing_or_what_is_gone(written, refused):
    assert _mended(written, refused) == f"{BEFORE} {AFTER}"
    assert _mended(written, refused, before="", after="") == ""


def test_an_item_of_a_list_keeps_its_number_and_an_answer_that_ended_gets_its_full_stop():
    assert _mended("2. The enteric tube is un", "changed", before="1. Lungs clear.\n").endswith("\n 2. Enteric tube. No pneumothorax.")
    assert mend("Lungs clear. The tube is", [(24, Broken(" unchanged", False, ended=True))]).text == "Lungs clear. Tube."


def test_a_sentence_that_a_stop_string_cut_or_that_comes_later_is_left_alone():
    text = f"{BEFORE} The enteric tube is un. {AFTER}"
    broken = [(text.index("un.") + 3, Broken("changed", True))]
    assert mend(text, broken, len(BEFORE)).text == BEFORE
    assert mend(text, broken, text.index(" tube")).text == f"{BEFORE} The enteric"
    assert mend(text, broken, text.index("un.") + 2).text == f"{BEFORE} Enteric tube"  # the stop string was the full stop


@pytest.fixture(scope="module")
def broken_off(tiny, phantom, records):
    """Studies whose prior was taken away, as a batch; their records and folder; what guarded greedy search wrote."""
    chosen = [{**r, "prior": None} for r in records if r["prior"]][:4]
    data = StudyDataset(chosen, tiny.processor.pictures(str(phantom)))
    batch = tiny.processor.collate([data[row] for row in range(len(chosen))])
    return batch, chosen, phantom, _guarded(tiny, batch)


def _guarded(tiny, batch, **options):
    return ReportInferer(Decoding(guard=True, **{"max_new_tokens": 80, **options}), tiny.processor)(batch, tiny.model)


def _written(tiny, generation):
    return tiny.processor.decode(Generation(generation.token_ids))


_DANGLING = re.compile(r"\b(?:un|re|is|are|has|have|been|remains?|appears?|with|of|a|an|the|and|no|not|there|significantly)\.", re.IGNORECASE)


def _all(generations):
    return [one for generation in generations for one in (generation, *generation.others)]


def _check_mended(tiny, generations):
    for one in _all(generations):
        text, written = tiny.processor.decode(one), _written(tiny, one)
        assert not _DANGLING.search(text) and not claims_change(text), (written, text)
        assert present_findings(text) <= present_findings(written)
        assert (one.ends is None) == (text == written)
    assert any(_DANGLING.search(_written(tiny, one)) for one in _all(generations)), "nothing was broken off"


def test_guarded_greedy_drafts_have_no_fragments(tiny, broken_off):
    _check_mended(tiny, broken_off[3])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"do_sample": True, "top_p": 0.5, "num_return_sequences": 2, "max_new_tokens": 30}, id="sampling"),
        pytest.param({"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 30}, id="beams", marks=pytest.mark.slow),
    ],
)
def test_all_answers_of_a_study_are_mended(tiny, broken_off, options):
    generations = _guarded(tiny, broken_off[0].split(2)[0], **options)
    assert all(len(one.others) == options["num_return_sequences"] - 1 for one in generations)
    _check_mended(tiny, generations)


def _one_mended(generations):
    return next(row for row, generation in enumerate(generations) if generation.ends is not None)


def test_the_stream_of_a_guarded_draft_joins_to_its_text(tiny, broken_off):
    batch, records, folder, generations = broken_off
    row = _one_mended(generations)
    loaded = replace(tiny, decoding=Decoding(guard=True, max_new_tokens=80))
    said = list(loaded.stream(records[row], folder))
    assert "".join(said) == generations[row].text and len(said) > 1


WORDS = ["Clear.", " The", " tube", " is", " un", ".", " No", " mass", " changed"]


def _steering(has_prior):
    """A guard that has just broken off "The tube is un" where "unchanged" was likeliest."""

    def decode(ids):
        return "".join(WORDS[i] for i in ids).replace("un changed", "unchanged")

    steering = TextSteering(decode, guard=Guard(decode, [has_prior], [9], 1, full_stops=[5]))
    scores = torch.zeros(1, 10)
    scores[0, 8] = 5
    assert steering.weigh(torch.tensor([[0, 1, 2, 3, 4]]), scores, [0]).argmax() == (8 if has_prior else 5)
    return steering


def test_the_stream_holds_a_sentence_back_until_it_is_known_whether_it_was_broken_off():
    steering = _steering(has_prior=False)
    assert list(pieces([0, 1, 2, 3, 4, 5, 6, 7, 5], steering.decode, steering=steering)) == ["Clear.", " Tube.", " No mass."]
    free = _steering(has_prior=True)
    assert list(pieces([0, 1, 2, 3, 6, 7, 5], free.decode, steering=free)) == ["Clear.", " The", " tube", " is", " No", " mass."]


def test_refilled_studies_are_mended_as_in_a_batch(tiny, broken_off):
    batch, _, _, generations = broken_off
    inferer = ReportInferer(Decoding(guard=True, max_new_tokens=80), tiny.processor)
    refilled = inferer.refilling(tiny.model, 2)
    refilled.take(batch)
    found = {study.study_ids[0]: (one.text, one.ends) for study, one in refilled.written(drain=True)}
    assert found == {name: (one.text, one.ends) for name, one in zip(batch.study_ids, generations, strict=True)}


def test_evidence_of_a_mended_sentence_is_that_of_the_words_that_stand(tiny, broken_off):
    batch, _, _, generations = broken_off
    row = _one_mended(generations)
    one = generations[row]
    assert len(one.ends) == len(one.token_ids) and one.ends == sorted(one.ends)
    sentences = sentence_evidence(tiny.model, tiny.processor, batch.split(1)[row], [one])[0]
    assert " ".join(s.text for s in sentences) == one.text
    assert all(s.tokens for s in sentences) and sum(s.tokens for s in sentences) < len(one.token_ids)
    for s in sentences:
        places = [place for place, end in enumerate(one.ends) if s.start < end <= s.end and (place == 0 or end > one.ends[place - 1])]
        said = tiny.processor.tokenizer.decode([one.token_ids[place] for place in places]).strip().lower()
        assert said.rstrip(".") == s.text.lower().rstrip("."), (said, s.text)  # the full stop of a broken sentence is the guard's


def test_only_answers_in_which_the_guard_broke_a_sentence_off_are_mended():
    steering, processor = _steering(has_prior=False), _Words()
    same = Generation([6, 7, 5, 1, 2, 3, 4, 5])  # the model's own fragment
    assert told(same, processor, (), steering) == replace(same, text="No mass. The tube is un.")
    broken = Generation([0, 1, 2, 3, 4, 5], others=[same])
    mended = told(broken, processor, (), steering)
    assert (mended.text, mended.others[0].text) == ("Clear. Tube.", "No mass. The tube is un.")
    assert mended.ends == [6, 6, 11, 11, 11, 11]  # neither the half word nor the guard's full stop stands for the model
    assert told(broken, processor, (), _steering(has_prior=True)) is broken
    assert told(broken, processor, ["."], steering).text == "Clear"


class _Words:
    """A processor and tokenizer of a few words."""

    tokenizer = property(lambda self: self)

    def decode(self, said, **_):
        return "".join(WORDS[i] for i in getattr(said, "token_ids", said)).strip()
