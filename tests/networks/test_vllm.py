# SPDX-License-Identifier: Apache-2.0
"""What can be known of the vLLM part without vLLM: what goes in, which options are sent, what is refused."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from libra_monai import build, paths
from libra_monai.apps.workflow import LibraWorkflow
from libra_monai.engines import batches
from libra_monai.errors import ConfigError, ModelError, StudyError, innermost
from libra_monai.networks.language.choosing import study_seed
from libra_monai.networks.language.prefix import Prompts
from libra_monai.networks.language.vllm_lm import generation_of, requests, sampling_options
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Decoding

FOLDER = f"{paths.tiny_model()}/language"


@pytest.fixture(scope="module")
def language():
    return build(kind="language", name="vllm", weights=FOLDER)


@pytest.fixture(scope="module")
def studies(tiny, phantom, records):
    from libra_monai.data import StudyDataset

    return next(iter(batches(StudyDataset(records[:4], tiny.processor.pictures(str(phantom))), tiny.processor.collate, 4)))


def test_the_embeddings_sent_are_those_our_own_path_feeds(language, tiny, studies):
    model = ReportModel(tiny.model.encoder, tiny.model.connector, language).eval()
    with torch.no_grad():
        ours = tiny.model.language.prompt(studies, tiny.model.slots(studies))
        theirs = model.language.prompt(studies, model.slots(studies))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    sent = requests(Prompts(*theirs), torch.float32)
    assert [len(one["prompt_embeds"]) for one in sent] == ours[1].sum(dim=1).tolist()
    for row, one in enumerate(sent):  # the same tokens come of them as of the batch
        assert torch.equal(one["prompt_embeds"], ours[0][row, ours[1][row]])
    assert language.end_ids == tiny.model.language.end_ids


def test_options_are_those_of_the_presets():
    (greedy,) = sampling_options(Decoding(max_new_tokens=160, stop=("END",)), ["a"], [2])
    assert greedy["temperature"] == 0.0 and greedy["max_tokens"] == 160 and greedy["stop_token_ids"] == [2] and greedy["stop"] == ["END"]
    first, second = sampling_options(Decoding(do_sample=True, temperature=0.9, top_p=0.8, seed=3), ["a", "b"], [2])
    assert (first["temperature"], first["top_p"], first["seed"]) == (0.9, 0.8, study_seed(3, "a")) and second["seed"] != first["seed"]


@pytest.mark.parametrize("options", [{"num_beams": 4}, {"guard": True}, {"no_repeat_ngram_size": 3}])
def test_options_it_cannot_serve_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        sampling_options(Decoding(**options), ["a"], [2])


def test_answers_end_before_the_end_token_and_carry_their_score():
    ended = SimpleNamespace(token_ids=[5, 6, 2], finish_reason="stop", cumulative_logprob=-3.0)
    answers = [ended, SimpleNamespace(token_ids=[7, 8], finish_reason="length", cumulative_logprob=None)]
    first = generation_of(answers, [2], Decoding())
    assert (first.token_ids, first.finished, first.score) == ([5, 6], True, -1.0)
    assert (first.others[0].token_ids, first.others[0].finished, first.others[0].score) == ([7, 8], False, None)


@pytest.mark.skipif("vllm" in sys.modules, reason="vLLM is here")
def test_without_vllm_the_overlay_says_what_to_install(phantom, tmp_path):
    where = {"datalist": str(phantom / "datalist.json"), "data_root": str(phantom), "output_dir": str(tmp_path), "limit": 1}
    with pytest.raises(Exception) as caught:
        LibraWorkflow("inference", ["system/vllm"], where).run_all()
    error = innermost(caught.value)
    assert isinstance(error, ConfigError) and "needs the package vllm" in str(error) and "libra-monai[vllm]" in str(error)


def test_a_prompt_that_is_too_long_a_loss_and_a_folder_without_weights_are_refused(language, studies, tiny, tmp_path):
    limit, language.config.max_position_embeddings = language.config.max_position_embeddings, 20
    with torch.no_grad(), pytest.raises(StudyError, match="20 positions"):
        language.generate(studies, tiny.model.slots(studies), Decoding())
    language.config.max_position_embeddings = limit
    with pytest.raises(ConfigError, match="no loss"):
        language(studies, {})
    with pytest.raises(ModelError, match="no configuration"):
        build(kind="language", name="vllm", weights=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="no table of embeddings"):
        build(kind="language", name="vllm", weights=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma"}))
    with pytest.raises(ConfigError, match="gemma"):
        build(kind="language", name="vllm", weights=str(tmp_path))
