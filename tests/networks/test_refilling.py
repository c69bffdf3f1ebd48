# SPDX-License-Identifier: Apache-2.0
"""A stream of studies: finished ones make room for waiting ones, and nobody's words change."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from libra_monai.errors import ConfigError, StudyError
from libra_monai.networks.language.row_cache import join
from libra_monai.types import Decoding

from .conftest import IMAGE, make_batch
from .test_families import FAMILIES, _model
from .test_generating import _count, _likely_end

MODES = {
    "greedy": Decoding(max_new_tokens=24),
    "penalties": Decoding(max_new_tokens=16, no_repeat_ngram_size=2, repetition_penalty=1.3, min_new_tokens=4),
    "two samples": Decoding(max_new_tokens=16, do_sample=True, temperature=0.9, top_p=0.9, seed=3, num_return_sequences=2),
}


def _studies(count=18, size=6):
    """Batches of studies with prompts of 4 to 16 tokens, every other one with a prior."""
    draw = torch.Generator().manual_seed(7)
    prompts = [[1, IMAGE, *torch.randint(3, 40, (int(n),), generator=draw).tolist()] for n in torch.randint(2, 15, (count,), generator=draw)]
    batch = make_batch(prompts, [row % 2 == 0 for row in range(count)])
    batch.study_ids = [f"S{row}" for row in range(count)]
    return batch.split(size)


def _streamed(model, batches, decoding, places):
    """Study -> generation, and how many were done after each batch."""
    stream, names, found, done = model.refilled(decoding, places), {}, {}, []
    for number, batch in enumerate(batches):
        names |= dict(zip(stream.wait(batch), batch.study_ids, strict=True))
        for study, generation in stream.written(drain=number == len(batches) - 1):
            assert names[study] not in found
            found[names[study]] = generation
        done.append(len(found))
    return found, done


def _ids(generation):
    return [one.token_ids for one in (generation, *generation.others)], generation.finished


@pytest.mark.parametrize(("family", "mode"), [*((family, "greedy") for family in FAMILIES), ("llama2", "penalties"), ("mistral", "two samples")])
def test_refilled_studies_get_the_tokens_of_their_own_batch(family, mode):
    model, decoding = _likely_end(_model(family, seed=5)) if family == "llama2" else _model(family), MODES[mode]
    batches = _studies()
    plain = {study: one for batch in batches for study, one in zip(batch.study_ids, model.generate(batch, decoding), strict=True)}
    found, done = _streamed(model, batches, decoding, 4)
    assert {study: _ids(one) for study, one in found.items()} == {study: _ids(one) for study, one in plain.items()}
    assert all(found[study].score == pytest.approx(plain[study].score, abs=1e-4) for study in plain)
    assert done[-1] == len(plain) and 0 < done[0]


def test_refilling_reads_the_weights_less_often_for_the_same_answers():
    model, batches, decoding = _likely_end(_model("llama2", seed=5)), _studies(48, 8), MODES["greedy"]
    work = {}
    for way in ("batches", "refilled"):
        passes, pictures = _count(model)
        lengths = [
            len(one.token_ids)
            for one in (
                [one for batch in batches for one in model.generate(batch, decoding)]
                if way == "batches"
                else _streamed(model, batches, decoding, 8)[0].values()
            )
        ]
        steps = [rows for rows, places in passes if places == 1]
        work[way] = {"steps": len(steps), "row_steps": sum(steps), "prompts": sum(rows for rows, places in passes if places > 1), "pictures": sum(pictures)}
        assert max(steps) <= 8 and sum(lengths) > 0
    assert len(set(lengths)) > 3  # else there would be nothing to gain
    assert work["refilled"]["steps"] < 0.7 * work["batches"]["steps"]  # 68 and 117
    assert work["refilled"]["row_steps"] < 1.05 * work["batches"]["row_steps"]  # finished rows leave either way: 423 and 422
    assert work["refilled"]["prompts"] == work["batches"]["prompts"] == 48
    assert work["refilled"]["pictures"] == work["batches"]["pictures"]


def test_places_that_nobody_needs_leave_the_cache():
    model, decoding = _likely_end(_model("llama2", seed=5)), MODES["greedy"]
    widths = []
    model.language.model.base_model.register_forward_pre_hook(lambda _, args, given: widths.append(given["attention_mask"].shape[1]), with_kwargs=True)
    _streamed(model, _studies(48, 8), decoding, 4)
    longest = max(int(model.language.prompt(batch, model.slots(batch))[1].sum(dim=1).max()) for batch in _studies(48, 8))
    assert max(widths) <= longest + decoding.max_new_tokens


def test_a_prompt_that_is_too_long_keeps_its_batch_out_and_the_stream_goes_on():
    model = _model("llama2")
    first, second, _ = _studies()
    model.language.model.config.max_position_embeddings = 12
    stream = model.refilled(MODES["greedy"], 4)
    with pytest.raises(StudyError, match="12 positions"):
        stream.wait(first)
    model.language.model.config.max_position_embeddings = 400
    numbers = stream.wait(second)
    assert sorted(number for number, _ in stream.written(drain=True)) == numbers


@pytest.mark.parametrize("decoding", [Decoding(num_beams=2), Decoding(static_cache=True)])
def test_what_cannot_be_refilled_is_refused(decoding):
    with pytest.raises(ConfigError, match="refill"):
        _model("llama2").refilled(decoding, 4)


def test_a_cache_of_another_kind_is_refused():
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 0)

    class Other(type(cache.layers[0])):
        pass

    cache.layers[0].__class__ = Other
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ConfigError, match="refill"):
        join(cache, mask, cache, mask)
