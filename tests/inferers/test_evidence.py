# SPDX-License-Identifier: Apache-2.0
"""Evidence of a sentence: the model's own numbers, in three passes, each picture encoded once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from libra_monai.data.dataset import StudyDataset
from libra_monai.errors import ConfigError, ModelError
from libra_monai.evaluation.controls import blank
from libra_monai.inferers import ReportInferer, sentence_evidence
from libra_monai.inferers.calibration import DEFAULT, KEY, calibration_of
from libra_monai.inferers.evidence import GREY
from libra_monai.networks.language.token_scores import token_log_probs
from libra_monai.text.token_ends import token_ends, tokens_within
from libra_monai.types import Decoding, Generation

from ..networks.conftest import IMAGE, PRIORS, PROMPTS, TARGETS, make_batch, make_model


@pytest.fixture(scope="module")
def drafted(tiny, phantom, records):
    """Six studies, the first and the last ones without prior, and their drafts."""
    chosen = [r for r in records if r["prior"]][:4]
    chosen = [next(r for r in records if not r["prior"]), *chosen, [r for r in records if not r["prior"]][-1]]
    data = StudyDataset(chosen, tiny.processor.pictures(str(phantom)))
    batch = tiny.processor.collate([data[i] for i in range(len(chosen))])
    generations = ReportInferer()(batch, tiny.model)
    return batch, generations, sentence_evidence(tiny.model, tiny.processor, batch, generations, tiny.card)


class _Counted:
    """Counts encoded rows and passes of a model while it is watched."""

    def __init__(self, model):
        self.encoded, self.passes = [], 0
        self.hooks = [
            model.encoder.register_forward_hook(lambda _, args, __: self.encoded.append(len(args[0]))),
            model.language.model.register_forward_pre_hook(self._passed),
        ]

    def _passed(self, *_):
        self.passes += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def _log_probs(model, batch, answers=TARGETS):
    with torch.no_grad():
        return token_log_probs(model.language, batch, model.slots(batch), answers)


def test_token_log_probs_sum_to_the_loss_of_training():
    model, batch = make_model(), make_batch(PROMPTS, PRIORS, TARGETS)
    scores = _log_probs(model, batch)
    assert scores.shape == (3, 5) and torch.allclose(-scores.sum(), model(batch).loss_sum, rtol=1e-5)
    assert [(row != 0).sum().item() for row in scores] == [len(t) for t in TARGETS]


def test_token_log_probs_of_a_greedy_draft_are_those_it_was_chosen_with():
    model, batch = make_model(), make_batch(PROMPTS, PRIORS)
    prompt, mask = model.language.prompt(batch, model.slots(batch))
    out = model.language.model.generate(
        inputs_embeds=prompt, attention_mask=mask.long(), max_new_tokens=6, do_sample=False, eos_token_id=None,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    chosen = torch.stack([s.log_softmax(-1).max(-1).values for s in out.scores], dim=1)
    assert torch.allclose(_log_probs(model, batch, out.sequences.tolist()), chosen, atol=1e-4)


def test_a_batch_gives_each_study_what_it_gets_alone():
    model, batch = make_model(), make_batch(PROMPTS, PRIORS)
    together = _log_probs(model, batch)
    for row, part in enumerate(batch.split(1)):
        part = replace(part, study_ids=part.study_ids)
        alone = _log_probs(model, part, [TARGETS[row]])
        assert torch.allclose(alone[0], together[row, : len(TARGETS[row])], atol=1e-5)


def test_a_language_model_without_token_probabilities_is_refused_in_words():
    model, batch = make_model(), make_batch(PROMPTS, PRIORS)
    model.language.takes = "images"
    with pytest.raises(ConfigError, match="CausalLM gives no probability of a token.*evidence"):
        token_log_probs(model.language, batch, {}, TARGETS)


def test_evidence_takes_three_passes_and_encodes_each_picture_and_one_blank(tiny, drafted):
    batch, generations, _ = drafted
    with _Counted(tiny.model) as work:
        sentence_evidence(tiny.model, tiny.processor, batch, generations)
    assert work.passes == 3 and work.encoded == [len(batch.images) + 1]


def test_without_any_prior_evidence_takes_two_passes(tiny, drafted):
    batch, generations, _ = drafted
    first = batch.split(1)[0]
    with _Counted(tiny.model) as work:
        sentence_evidence(tiny.model, tiny.processor, first, generations[:1])
    assert work.passes == 2 and work.encoded == [2]


def test_nothing_written_costs_nothing(tiny, drafted):
    batch = drafted[0]
    with _Counted(tiny.model) as work:
        found = sentence_evidence(tiny.model, tiny.processor, batch, [Generation([], text="Clear.")] * len(batch))
    assert found == [[]] * len(batch) and work.passes == 0 and work.encoded == []


def test_every_token_of_a_draft_belongs_to_one_sentence(tiny, drafted):
    batch, generations, found = drafted
    for generation, sentences in zip(generations, found, strict=True):
        text = tiny.processor.decode(generation)
        assert [text[s.start : s.end] for s in sentences] == [s.text for s in sentences]
        assert " ".join(s.text for s in sentences) == text
        assert sum(s.tokens for s in sentences) == len(generation.token_ids)
        assert all(s.min_log_prob <= s.mean_log_prob <= 0 and 0 < s.score < 1 for s in sentences)


def test_contrasts_are_differences_of_what_the_model_says_of_changed_pictures(tiny, drafted):
    batch, generations, found = drafted
    answers = [g.token_ids for g in generations]
    grey = tiny.processor.normalise([blank(torch.zeros(1, 112, 112, dtype=torch.uint8))])
    lone = replace(batch, index={**batch.index, "prior": torch.full_like(batch.index["prior"], -1)})
    empty = replace(batch, images=grey, index={view: rows.clamp(max=0) for view, rows in batch.index.items()})
    given, no_prior, no_image = (_log_probs(tiny.model, b, answers) for b in (batch, lone, empty))
    for row, sentences in enumerate(found):
        ends = token_ends(tiny.processor.tokenizer, answers[row])
        for s in sentences:
            places = tokens_within(ends, s.start, s.end)
            assert s.mean_log_prob == pytest.approx(float(given[row, places].mean()), abs=1e-4)
            assert s.image_contrast == pytest.approx(float((given - no_image)[row, places].mean()), abs=1e-3)
            if int(batch.index["prior"][row]) < 0:
                assert s.prior_contrast is None
            else:
                assert s.prior_contrast == pytest.approx(float((given - no_prior)[row, places].mean()), abs=1e-3)
    assert GREY == int(blank(torch.zeros(1, 1, 1, dtype=torch.uint8)))
    assert any(abs(s.image_contrast) > 0.1 for sentences in found for s in sentences)


def test_a_prompt_without_pictures_has_no_contrasts():
    model, batch = make_model(), make_batch([[1, 5, 6]], [True])
    assert IMAGE not in batch.input_ids[0].tolist()

    class Words:  # what the function asks of a processor
        image_size, tokenizer = 28, None
        normalise = staticmethod(lambda pictures: torch.zeros(len(pictures), 3, 28, 28))

    from libra_monai.inferers.evidence import _passes

    given, no_prior, no_image = _passes(model, Words, batch, [[7, 8]])
    assert given.shape == (1, 2) and no_prior is None and no_image is None


def test_the_wrong_side_is_less_likely_than_the_right_one(tiny, phantom, records):
    """The numbers speak of the picture: a reference with its sides turned round gets lower log-probabilities."""
    turn = {"right": "left", "left": "right", "Right": "Left", "Left": "Right"}
    sided = [r for r in records if " right " in r["findings"] or " left " in r["findings"]][:12]
    data = StudyDataset(sided, tiny.processor.pictures(str(phantom)))
    batch = tiny.processor.collate([data[i] for i in range(len(sided))])
    texts = [r["findings"] for r in sided]
    wrong = [" ".join(turn.get(word, word) for word in text.split()) for text in texts]
    sums = []
    for version in (texts, wrong):
        ids = [tiny.processor.tokenizer(t, add_special_tokens=False)["input_ids"] for t in version]
        found = sentence_evidence(tiny.model, tiny.processor, batch, [Generation(i) for i in ids])
        sums.append([sum(s.mean_log_prob * s.tokens for s in sentences) for sentences in found])
    assert len(sided) >= 8 and sum(a > b for a, b in zip(*sums, strict=True)) >= 0.75 * len(sided)


@pytest.mark.parametrize("way", ["as encoded", "letter by letter"])
def test_tokens_are_found_by_where_they_end_in_the_text(tiny, way):
    text = "1. Nodule of 2.5 cm seen by Dr. Who. 2. No pneumothorax."
    tokenizer = tiny.processor.tokenizer
    encode = lambda t: tokenizer(t, add_special_tokens=False)["input_ids"]  # noqa: E731
    ids = encode(text) if way == "as encoded" else [i for letter in text for i in encode(letter)]
    decoded = tokenizer.decode(ids, skip_special_tokens=True).strip()
    ends = token_ends(tokenizer, ids)
    assert ends == sorted(ends) and ends[-1] == len(decoded)
    place = decoded.index("2.5")
    inside = tokens_within(ends, place, place + 3)
    assert decoded[ends[inside[0] - 1] : ends[inside[-1]]].strip() == "2.5"


def test_the_score_can_be_recomputed_from_what_is_written(drafted):
    for sentences in drafted[2]:
        for s in sentences:
            told = s.as_json()
            total = told["mean_log_prob"] * told["tokens"]
            again = DEFAULT.score(total, told["image_contrast"], told["prior_contrast"])
            assert calibration_of({}) is DEFAULT and again == pytest.approx(told["score"], abs=0.01)


def test_the_coefficients_of_a_card_are_used_and_the_note_says_whose_they_are(tiny, drafted):
    batch, generations, _ = drafted
    own = {**DEFAULT.as_json(), "intercept": 0.0, "sum_log_prob": 0.0, "image_contrast": 0.0, "prior_contrast": 0.0}
    card = {"name": "mine", "version": "1", KEY: {**own, "model": "mine 1", "data": "two studies"}}
    found = sentence_evidence(tiny.model, tiny.processor, batch, generations, card)
    assert {s.score for sentences in found for s in sentences} == {0.5}
    assert "calibrated for mine 1 on two studies" in calibration_of(card).note(card)
    assert "not for this model" in DEFAULT.note(card)


_WHOLE = DEFAULT.as_json()


@pytest.mark.parametrize(
    "bad", [{"intercept": 1.0}, [1.0], {**_WHOLE, "sum_log_prob": float("nan")}, {**_WHOLE, "prior_contrast": "x"}]
)
def test_unusable_coefficients_are_refused_with_a_remedy(bad):
    with pytest.raises(ModelError, match="card of m 2 has unusable `evidence`.*benchmarks/evidence.py"):
        calibration_of({"name": "m", "version": "2", KEY: bad})


def test_beams_and_sampling_get_evidence_like_greedy_drafts(tiny, drafted):
    batch = drafted[0].split(2)[0]
    for decoding in (Decoding(max_new_tokens=20, num_beams=2), Decoding(max_new_tokens=20, do_sample=True)):
        generations = ReportInferer(decoding)(batch, tiny.model)
        found = sentence_evidence(tiny.model, tiny.processor, batch, generations)
        assert [sum(s.tokens for s in sentences) for sentences in found] == [len(g.token_ids) for g in generations]
