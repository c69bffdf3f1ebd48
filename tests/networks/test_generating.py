# SPDX-License-Identifier: Apache-2.0
"""Every mode writes the tokens of the library's plain `generate`, with less work."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from libra_monai.errors import ConfigError, StudyError
from libra_monai.networks.language.choosing import end_ids, study_seed
from libra_monai.networks.language.generating import plain_config
from libra_monai.types import Decoding

from .conftest import IMAGE, PRIORS, PROMPTS, make_batch
from .test_families import _model

MODES = {
    "greedy": Decoding(max_new_tokens=12),
    "penalties": Decoding(max_new_tokens=12, no_repeat_ngram_size=2, repetition_penalty=1.3, min_new_tokens=6),
    "beams": Decoding(max_new_tokens=12, num_beams=10, length_penalty=2.0, no_repeat_ngram_size=3),
    "beams with penalty": Decoding(max_new_tokens=12, num_beams=3, repetition_penalty=1.3),
    "three of four beams": Decoding(max_new_tokens=12, num_beams=4, num_return_sequences=3),
    "sampling": Decoding(max_new_tokens=12, do_sample=True, temperature=0.9, top_p=0.8, top_k=20, seed=3),
    "static cache": Decoding(max_new_tokens=12, static_cache=True),
    "compiled step": Decoding(max_new_tokens=12, static_cache=True, compile="eager"),
}
pytestmark = pytest.mark.filterwarnings("ignore:Passing `")


def _likely_end(model):
    head = model.language.model.lm_head.weight
    with torch.no_grad():
        head[2] = head[[3, 9, 20, 31]].mean(dim=0) * 3.0
    return model


def _plain(model, batch, decoding):
    """Ids by the library alone: images, prompt and cache repeated as it does, without what follows an end."""
    prompt, mask = model.language.prompt(batch, model.slots(batch))
    inner = model.language.model
    output = inner.generate(inputs_embeds=prompt, attention_mask=mask.long(), generation_config=plain_config(inner, decoding))
    rows = []
    for row in output.sequences.tolist():
        stop = next((place for place, token in enumerate(row) if token in end_ids(inner)), len(row))
        rows.append(row[:stop])
    return rows, getattr(output, "sequences_scores", None)


@pytest.mark.parametrize("mode", [name for name in MODES if name != "sampling"])
def test_tokens_are_those_of_plain_generate(mode):
    decoding = MODES[mode]
    model, batch = _likely_end(_model("llama2", seed=5)), make_batch(PROMPTS, PRIORS)
    if decoding.repetition_penalty != 1.0:  # in padded batches the library passes over the first ids of an answer
        wanted, scores = [_plain(model, single, decoding)[0][0] for single in batch.split(1)], None
    else:
        wanted, scores = _plain(model, batch, decoding)
    said = [one for first in model.generate(batch, decoding) for one in (first, *first.others)]
    assert [one.token_ids for one in said] == wanted
    if scores is not None:
        assert [one.score for one in said] == pytest.approx(scores.tolist(), abs=1e-5)


def test_a_sampled_study_is_plain_generates_and_does_not_depend_on_its_batch():
    model, batch, decoding = _model("llama2"), make_batch(PROMPTS, PRIORS), MODES["sampling"]
    together = [g.token_ids for g in model.generate(batch, decoding)]
    for row, single in enumerate(batch.split(1)):
        torch.manual_seed(study_seed(decoding.seed, batch.study_ids[row]))
        assert _plain(model, single, decoding)[0] == [together[row]]
        assert [g.token_ids for g in model.generate(single, decoding)] == [together[row]]
    assert together != [g.token_ids for g in model.generate(batch, replace(decoding, seed=4))]


def test_several_samples_of_a_study_differ_and_have_scores():
    model, batch = _model("llama2"), make_batch(PROMPTS, PRIORS)
    for first in model.generate(batch, replace(MODES["sampling"], num_return_sequences=3)):
        assert len({tuple(one.token_ids) for one in (first, *first.others)}) == 3
        assert all(one.score < 0 for one in (first, *first.others))


def _count(model):
    """Rows and places the language model reads in each pass, and picture rows encoded."""
    passes, pictures = [], []
    inner = model.language.model.base_model
    inner.register_forward_pre_hook(
        lambda _, args, kwargs: passes.append(tuple((kwargs["input_ids"] if kwargs.get("input_ids") is not None else kwargs["inputs_embeds"]).shape[:2])),
        with_kwargs=True,
    )
    model.encoder.register_forward_hook(lambda _, args, __: pictures.append(len(args[0])))
    return passes, pictures


@pytest.mark.parametrize(("prior", "beams", "rows"), [(False, 1, 1), (True, 1, 2), (True, 10, 2)])
def test_pictures_are_encoded_once_and_one_prompt_row_is_read_for_all_beams(prior, beams, rows):
    model = _model("llama2")
    passes, pictures = _count(model)
    model.generate(make_batch([PROMPTS[1]], [prior]), Decoding(max_new_tokens=4, num_beams=beams))
    assert pictures == [rows]
    assert [count for count, places in passes if places > 1] == [1]
    assert all(count == beams for count, places in passes if places == 1)


@pytest.mark.parametrize("beams", [1, 4])
def test_questions_on_one_study_read_their_common_beginning_once(beams):
    model, decoding = _model("llama2"), Decoding(max_new_tokens=10, num_beams=beams)
    questions = [[1, 5, IMAGE, 7, 8], [1, 5, IMAGE, 7, 9, 10, 11], [1, 5, IMAGE, 12, 13]]
    batch = make_batch(questions, [True] * 3)
    batch.images, batch.index["current"], batch.index["prior"] = batch.images[:2], torch.zeros(3).long(), torch.ones(3).long()
    alone = []
    for question in questions:
        single = make_batch([question], [True])
        single.images = batch.images
        alone.append(model.generate(single, decoding)[0].token_ids)
    passes, pictures = _count(model)
    connected = []
    model.connector.register_forward_hook(lambda _, __, output: connected.append(len(output["image"])))
    assert [g.token_ids for g in model.generate(batch, decoding)] == alone
    tokens = len(model.slots(make_batch([questions[0]], [True]))["image"][0])
    assert passes[0] == (1, 2 + tokens) and pictures[0] == 2 and connected[0] == 1


def test_rows_that_end_leave_the_batch():
    model, batch = _likely_end(_model("llama2", seed=5)), make_batch(PROMPTS, PRIORS)
    passes, _ = _count(model)
    lengths = [len(g.token_ids) for g in model.generate(batch, MODES["greedy"])]
    steps = [count for count, places in passes if places == 1]
    assert len(set(lengths)) > 1 and steps == sorted(steps, reverse=True) and sum(steps) < len(batch) * max(lengths)


def test_one_compiled_step_serves_batches_whose_prompts_differ_in_length():
    graphs = []

    @torch._dynamo.register_backend(name="counted")
    def counted(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model, batch = _model("llama2"), make_batch(PROMPTS, PRIORS)
    shorter = make_batch([prompt[:5] for prompt in PROMPTS], PRIORS)
    for one in (batch, shorter, batch):
        compiled = model.generate(one, replace(MODES["static cache"], compile="counted"))
        assert [g.token_ids for g in compiled] == [g.token_ids for g in model.generate(one, MODES["greedy"])]
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_the_step_compiled_for_real_says_the_same_tokens():
    model, batch = _model("llama2"), make_batch(PROMPTS, PRIORS)
    compiled = model.generate(batch, replace(MODES["static cache"], compile=True))
    assert [g.token_ids for g in compiled] == [g.token_ids for g in model.generate(batch, MODES["greedy"])]


def test_the_stream_says_the_same_tokens(model):
    batch = make_batch([PROMPTS[0]], [True])
    assert list(model.stream(batch, MODES["greedy"])) == model.generate(batch, MODES["greedy"])[0].token_ids


def test_a_prompt_longer_than_the_models_positions_is_refused_with_the_count_before_anything_is_read():
    model, batch = _model("llama2"), make_batch([PROMPTS[0]], [True])
    length = int(model.language.prompt(batch, model.slots(batch))[1].sum())
    model.language.model.config.max_position_embeddings = length
    passes, _ = _count(model)
    with pytest.raises(StudyError, match=f"{length} tokens.*{length} positions"):
        model.generate(batch, MODES["greedy"])
    assert passes == []


@pytest.mark.parametrize(
    "options", [{"num_return_sequences": 2}, {"num_beams": 2, "num_return_sequences": 3}, {"compile": True}, {"num_beams": 2, "static_cache": True}]
)
def test_options_that_exclude_each_other_are_refused(model, batch, options):
    with pytest.raises(ConfigError, match="decoding"):
        model.generate(batch, Decoding(**options))
