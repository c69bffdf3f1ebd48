# SPDX-License-Identifier: Apache-2.0
"""Parity of texts: prompts, ids and labels, words of change, sections. Errors count what differs."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from libra_monai import registry
from libra_monai.data.sections import parse_sections
from libra_monai.errors import ConfigError
from libra_monai.metrics.temporal import WORDS, temporal_f1, temporal_words
from libra_monai.text import encode_conversation, encode_prompt, put_picture_first
from libra_monai.text.original_labels import original_text
from libra_monai.text.sentencepiece_tokenizer import MODEL_FILE, SentencePieceTokenizer
from libra_monai.text.templates import Template

Found = list[tuple[str, float, float]]


def our_name(published: str) -> str:
    """The registered name of a published template: its name as a Python identifier."""
    return re.sub(r"\W", "_", published)


def prompts(path: Path) -> Found:
    """Every template, rendered for generation, for training and with two turns; refusals included.

    Args:
        path: `prompts.json`.
    """
    content = _read(path)
    first, second = (content["question"], content["answer"]), (content["question2"], content["answer2"])
    counts = dict.fromkeys(("generation", "training", "two_turns"), 0)
    for name, wanted in content["templates"].items():
        form = registry.find("template", our_name(name))
        counts["generation"] += form.open(first[0]) != wanted["generation"]
        counts["training"] += _for_training(form, [first]) != _refusal_or_text(wanted["training"])
        counts["two_turns"] += _for_training(form, [first, second]) != _refusal_or_text(wanted["two_turns"])
    return [(f"{name}, {len(content['templates'])} templates", float(n), 0.0) for name, n in counts.items()]


def tokenization(path: Path) -> Found:
    """Ids and labels as the original computes them, with each tokenizer of the file.

    Args:
        path: `tokenization.json`; the tokenizers stand beside it.
    """
    counts = dict.fromkeys(("ids", "labels", "refusals", "prompt ids"), 0)
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copyfile(path.parent / "tiny_llama_sp.model", Path(scratch) / MODEL_FILE)
        (Path(scratch) / "tokenizer_config.json").write_text('{"pad_token": "<unk>"}', encoding="utf-8")
        for name, cases in _read(path)["cases"].items():
            if ":" in name:
                flavour, template = name.split(":")
                _count_labels(counts, cases, _tokenizer(flavour, path.parent, Path(scratch)), template)
            else:
                wanted = {cases["text"]: cases["ids"]} if "text" in cases else cases
                tokenizer = SentencePieceTokenizer(scratch, legacy=True)
                counts["prompt ids"] += sum(encode_prompt(tokenizer, text) != ids for text, ids in wanted.items())
    return [(name, float(number), 0.0) for name, number in counts.items()]


def temporal(path: Path) -> Found:
    """Words of change, their F1, and the cleaning of texts.

    Args:
        path: `temporal_f1.json`.
    """
    content = _read(path)
    clean, cased = registry.find("cleaner", "libra"), registry.find("cleaner", "libra_cased")
    error, words = 0.0, int(content["keywords"] != WORDS)
    for pair in content["pairs"]:
        said, wanted = (temporal_words(clean(pair[name])) for name in ("prediction", "reference"))
        words += sorted(said) != pair["prediction_entities"] or sorted(wanted) != pair["reference_entities"]
        error = max(error, abs(temporal_f1(said, wanted) - pair["f1"]))
    several = content.get("multi_reference")
    if several:
        united = set().union(*(temporal_words(clean(text)) for text in several["references"]))
        error = max(error, abs(temporal_f1(temporal_words(clean(several["prediction"])), united) - several["f1"]))
    texts = sum(cased(case["in"]) != case["out"] for case in content.get("clean_text", []))
    return [("words", float(words), 0.0), ("f1", error, 1e-12), ("cleaned texts", float(texts), 0.0)]


def sections(path: Path) -> Found:
    """Names, texts and beginnings of the sections of reports.

    Args:
        path: `sections.json`.
    """
    wrong = 0
    for case in _read(path)["cases"].values():
        found = parse_sections(case["text"], compat="original")
        have = ([s.name for s in found], [s.text for s in found], [s.start for s in found])
        wrong += have != (case["names"], case["sections"], case["starts"])
    return [("reports", float(wrong), 0.0)]


def _count_labels(counts: dict[str, int], cases: Mapping[str, Any], tokenizer: Any, template: str) -> None:
    form = registry.find("template", our_name(template))
    for case in cases.values():
        said = [put_picture_first(turn["value"]) for turn in case["conversation"]]
        encoded = encode_conversation(
            tokenizer, form, list(zip(said[::2], said[1::2], strict=True)), compat="original"
        )
        counts["ids"] += encoded.input_ids != case["input_ids"]
        counts["labels"] += encoded.labels != case["labels"]
        counts["refusals"] += (encoded.refusal or "") != case["warning"]


def _tokenizer(flavour: str, folder: Path, sentencepiece: Path) -> Any:
    if flavour.startswith("llama_sp"):
        return SentencePieceTokenizer(sentencepiece, legacy=flavour.endswith("True"))
    pad = "<|eot_id|>" if "eos_pad" in flavour else "<|finetune_right_pad_id|>"
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tiny_llama3_tokenizer.json"),
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token=pad,
    )


def _for_training(form: Template, turns: list[tuple[str, str]]) -> str | None:
    try:
        return original_text(form, turns)
    except ConfigError:
        return None


def _refusal_or_text(wanted: str) -> str | None:
    return None if wanted.startswith("ERROR") else wanted


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
