# SPDX-License-Identifier: Apache-2.0
"""The default labelling learns every answer and nothing else, where the original gives samples up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from libra_monai import registry
from libra_monai.errors import ConfigError, ModelError
from libra_monai.text import encode_conversation, encode_prompt, load_tokenizer, put_picture_first, split_answer
from libra_monai.text.sentencepiece_tokenizer import SentencePieceTokenizer
from libra_monai.text.train_tokenizer import train_tokenizer

REFERENCE = Path(__file__).parents[1] / "parity" / "reference"
TURNS = [("<image>\nDescribe the findings.", "The lungs are clear."), ("Is it new?", "no")]


@pytest.fixture(scope="module", params=["legacy", "new", "llama3", "trained"])
def tokenizer(request, tmp_path_factory):
    """One tokenizer of each family."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "trained":
        train_tokenizer(["The lungs are clear. USER: Describe the findings. ASSISTANT: no</s>"], folder, 300)
        return AutoTokenizer.from_pretrained(folder)
    if request.param == "llama3":
        return PreTrainedTokenizerFast(
            tokenizer_file=str(REFERENCE / "tiny_llama3_tokenizer.json"),
            bos_token="<|begin_of_text|>",
            eos_token="<|eot_id|>",
            pad_token="<|eot_id|>",
        )
    shutil.copyfile(REFERENCE / "tiny_llama_sp.model", folder / "tokenizer.model")
    return SentencePieceTokenizer(folder, legacy=request.param == "legacy")


def _learned(tokenizer, encoded):
    """Texts of the learned stretches."""
    stretches, current = [], []
    for label in [*encoded.labels, -100]:
        if label != -100:
            current.append(label)
        elif current:
            stretches.append(tokenizer.decode(current).strip())
            current = []
    return stretches


@pytest.mark.parametrize("name", ["libra_v1", "mistral_instruct", "libra_llama_3", "conv_phi3", "conv_gemma", "qwen"])
def test_every_answer_with_its_stop_text_is_learned_and_nothing_else(tokenizer, name):
    form = registry.find("template", name)
    learned = _learned(tokenizer, encode_conversation(tokenizer, form, TURNS))
    assert len(learned) == 2
    for text, (_, answer) in zip(learned, TURNS, strict=True):
        assert "".join(text.split()) == "".join((answer + form.stop).split())


def test_labels_are_the_ids_they_stand_for(tokenizer):
    encoded = encode_conversation(tokenizer, registry.find("template", "libra_v1"), TURNS)
    assert len(encoded.labels) == len(encoded.input_ids) and encoded.input_ids.count(-200) == 1
    assert all(label in (-100, i) for label, i in zip(encoded.labels, encoded.input_ids, strict=True))


def test_prompt_and_answer_of_one_turn_join_to_the_whole(tokenizer):
    form = registry.find("template", "libra_v1")
    encoded = encode_conversation(tokenizer, form, TURNS[:1])
    prompt, answer = split_answer(encoded)
    assert prompt == encode_prompt(tokenizer, form.open(TURNS[0][0]))
    assert prompt + answer == encoded.input_ids and len(answer) > 3


def test_the_number_of_beginnings_can_be_chosen():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(REFERENCE / "tiny_llama3_tokenizer.json"), bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )
    text = registry.find("template", "libra_llama_3").open("<image>\nx")
    start = tokenizer.bos_token_id
    assert encode_prompt(tokenizer, text)[:3].count(start) == 2  # the template's and the tokenizer's
    assert encode_prompt(tokenizer, text, num_bos=1)[:2].count(start) == 1
    assert encode_prompt(tokenizer, text, num_bos=1)[1:] == encode_prompt(tokenizer, text)[2:]


def test_generation_keeps_the_header_published_results_were_made_with():
    quirk, trained = (registry.find("template", n) for n in ("libra_llama_3", "libra_llama_3_as_trained"))
    assert quirk.open("x").endswith("<|start_header_id|>ASSISTANT<|end_header_id|>")
    assert trained.open("x").endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert quirk.render([("x", "y")], training=True) == trained.render([("x", "y")], training=True)


def test_a_picture_is_put_first_wherever_it_stood():
    assert put_picture_first("Is it <image> new?") == "<image>\nIs it  new?"
    assert put_picture_first("<image>") == "<image>"
    assert put_picture_first("no picture ") == "no picture "


def test_what_the_original_cannot_do_is_refused_by_name():
    plain, phi = registry.find("template", "plain"), registry.find("template", "conv_phi3")
    with pytest.raises(ConfigError, match="cannot render"):
        encode_conversation(None, plain, TURNS, compat="original")
    with pytest.raises(ConfigError, match="compat 'libra' does not exist"):
        encode_conversation(None, phi, TURNS, compat="libra")
    with pytest.raises(ConfigError, match="before the last"):
        phi.render([("a", None), ("b", "c")])


def test_a_sentencepiece_tokenizer_is_found_saved_and_read_back(tmp_path):
    shutil.copyfile(REFERENCE / "tiny_llama_sp.model", tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"legacy": False, "pad_token": {"content": "<unk>"}}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<CLS>": 420, "<PAD>": 421}))
    first = load_tokenizer(tmp_path)
    first.save_pretrained(tmp_path / "copy")
    again = load_tokenizer(tmp_path / "copy")
    text = "The <CLS> lungs</s> are clear.<PAD>"
    assert isinstance(again, SentencePieceTokenizer) and not again.legacy and again.pad_token_id == 0
    assert first(text) == again(text) and {420, 421, 2} <= set(again(text)["input_ids"])
    assert again.get_vocab() == first.get_vocab() and len(again) == 422
    assert again.decode(again("The lungs are clear.")["input_ids"], skip_special_tokens=True).strip() == "The lungs are clear."


def test_a_damaged_sentencepiece_model_is_named(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="tokenizer.model"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_a_padding_token_has_none(tmp_path):
    shutil.copyfile(REFERENCE / "tiny_llama_sp.model", tmp_path / "tokenizer.model")
    assert load_tokenizer(tmp_path).pad_token_id is None
