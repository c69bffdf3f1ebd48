# SPDX-License-Identifier: Apache-2.0
"""Prompts have the published form, and ids put the picture where the text says it is."""

from __future__ import annotations

import pytest

from libra_monai import registry
from libra_monai.errors import ConfigError, StudyError
from libra_monai.text import PROMPTS, encode_conversation, encode_prompt, places_of, request_text
from libra_monai.text.prompts import find_prompt
from libra_monai.text.train_tokenizer import train_tokenizer

SYSTEM = "The assistant specialized in comparing Chest X-ray images, identifying differences, and noting temporal changes."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer trained on two sentences."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["The lungs are clear. Small left pleural effusion.", SYSTEM], folder, 320)
    return AutoTokenizer.from_pretrained(folder)


def test_the_prompt_of_libra_7b():
    record = {"indication": "Chest pain.", "history": None, "comparison": None, "technique": "PA view."}
    text = registry.find("template", "libra_v1").open(request_text(PROMPTS["findings"], record))
    assert text == (
        f"{SYSTEM} USER: <image>\nProvide a detailed description of the findings in the radiology image. "
        "Following clinical context: Indication: Chest pain. Technique: PA view. ASSISTANT:"
    )


def test_a_silent_request_has_no_context():
    assert request_text(PROMPTS["findings"], {}).endswith("in the radiology image.")


def test_facts_stand_in_for_the_picture_in_an_order_without_meaning():
    record = {"study_id": "a", "statements": [
        {"finding": "Edema", "side": "bilateral", "severity": "large", "change": "new"},
        {"finding": "Pacemaker", "side": "left", "severity": None, "change": None},
        {"finding": "Cardiomegaly", "side": None, "severity": "small", "change": "stable"},
    ]}  # fmt: skip
    text = request_text(PROMPTS["findings_from_facts"], record)
    assert "<image>" not in text and "bilateral large edema new" in text and "left pacemaker" in text
    assert request_text(PROMPTS["findings_from_facts"], record) == text
    orders = {request_text(PROMPTS["findings_from_facts"], {**record, "study_id": str(i)}) for i in range(20)}
    assert len(orders) > 1
    with pytest.raises(StudyError, match="statements"):
        request_text(PROMPTS["findings_from_facts"], {"study_id": "a"})


def test_an_unknown_prompt_is_named():
    with pytest.raises(ConfigError, match="Did you mean 'findings'"):
        find_prompt("finding")


def test_the_picture_slot_stands_where_the_text_says(tokenizer):
    ids = encode_prompt(tokenizer, "The lungs <image>\nare clear")
    assert ids.count(-200) == 1 and ids[0] == tokenizer.bos_token_id
    before, after = ids[1 : ids.index(-200)], ids[ids.index(-200) + 1 :]
    assert tokenizer.decode(before) == "The lungs " and tokenizer.decode(after) == "\nare clear"
    assert tokenizer.bos_token_id not in after


def test_a_question_of_the_record_is_asked_without_context():
    record = {"study_id": "a", "question": "Is the effusion larger?", "indication": "Cough."}
    assert request_text(PROMPTS["question"], record) == "<image>\nIs the effusion larger?"
    with pytest.raises(StudyError, match="no `question`"):
        request_text(PROMPTS["question"], {"study_id": "a"})


def test_maira_names_every_section_and_says_none_for_absent_ones():
    text = request_text(PROMPTS["findings_maira"], {"indication": "Cough.", "history": "Smoker."})
    assert text.endswith("prior frontal image. INDICATION: Cough. TECHNIQUE: None. COMPARISON: None.")


def test_any_text_can_be_encoded(tokenizer):
    for text in ("Übelkeit, 3 µm", "胸部", "\U0001f9b4"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("name", ["libra_v1", "mistral_instruct", "llama_3", "plain", "mpt"])
def test_spans_of_an_answer_are_found_among_its_ids(tokenizer, name):
    template = registry.find("template", name)
    sentences = ["The lungs are clear.", "Small left effusion.", "No change."]
    answer = " ".join(sentences)
    spans = [(answer.index(s), answer.index(s) + len(s)) for s in sentences]
    turn = ("<image>\nWhat is seen?", answer)
    encoded = encode_conversation(tokenizer, template, [turn])
    places = places_of(tokenizer, template, turn, spans)
    assert [tokenizer.decode(encoded.input_ids[a:b]).strip() for a, b in places] == sentences
    assert [a for a, _ in places[1:]] == [b for _, b in places[:-1]]  # no token lies between two sentences
    assert all(encoded.labels[a:b] == encoded.input_ids[a:b] for a, b in places)
