# SPDX-License-Identifier: Apache-2.0
"""The published templates by name. Their texts are interface data: weights were trained on them to the letter.

Left out: the template `v0` of FastChat, with its two example turns, which no published model uses.
"""

from __future__ import annotations

from libra_monai.registry import register
from libra_monai.text.templates import Template

_COMPARING = (
    "The assistant specialized in comparing Chest X-ray images, identifying differences, and noting temporal changes."
)
_CURIOUS = "A chat between a curious {who} and an artificial intelligence assistant. "
_POLITE = "The assistant gives helpful, detailed, and polite answers to the {who}'s questions."
_SEES = (
    "able to understand the visual content that the user provides, and assist the user with a variety of "
    "{what}tasks using natural language."
)
_VISION = "You are a helpful language and vision assistant. You are " + _SEES.format(what="")
_TAGGED = (
    _CURIOUS.format(who="user")
    + "The assistant is "
    + _SEES.format(what="")
    + "The visual content will be provided with the following format: <Image>visual content</Image>."
)
_SAFE = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe.  "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature. If a question does not make any "
    "sense, or is not factually coherent, explain why instead of answering something not correct. If you don't know "
    "the answer to a question, please don't share false information."
)
_TASK_1_5 = (
    "Chest X-ray interpretation task. The input consists of a current chest radiograph, optionally paired with a prior "
    "image or clinically similar reference. The model should identify radiologically significant abnormalities, detect "
    "and describe temporal changes or differences, and answer clinically relevant visual questions. Depending on the "
    "task, the output may be a structured Findings or Impression section focusing on critical observations, or a "
    "concise answer to a specific query. All outputs must follow radiological reporting standards and employ "
    "professional clinical terminology."
)
_FINDINGS_1_5 = (
    "Generate the 'Findings' section of a radiology report for a chest X-ray examination. Describe all clinically "
    "significant normal and abnormal findings using concise, structured, and professional medical language. If a prior "
    "image is available, incorporate relevant temporal comparisons, noting any improvements, worsening, or stability. "
    "Avoid referencing prior studies unless they are explicitly provided or clinically necessary to explain the "
    "current condition."
)
_LLAVA_MED = (
    "You are LLaVA-Med, a large language and vision assistant trained by a group of researchers at Microsoft, based on "
    "the general domain LLaVA architecture.\nYou are "
    + _SEES.format(what="medical and clinical research ")
    + "\nFollow the instructions carefully and explain your answers in detail{when}\n"
)
_ONE_WORD = (
    " when necessary. However, if a question is simple and can be answered with a single word (e.g., yes or no), "
    "please provide only a succinct response without additional explanation."
)
_MAIRA = (
    "You are an expert radiology assistant tasked with interpreting a chest X-ray study. "
    "Given the current frontal image only."
)
_EOS = "</s>"
_PHI = {"style": "joined", "user": "\n<|user|>\n", "assistant": "\n<|assistant|>\n"}
_IM = {"user": "<|im_start|>user\n", "assistant": "<|im_start|>assistant\n", "separator": "<|im_end|>"}
_LLAMA_3 = {"style": "headed", "assistant": "assistant", "separator": "<|begin_of_text|>", "closing": "<|eot_id|>"}
_CAPITALS = "<|start_header_id|>ASSISTANT<|end_header_id|>"  # see `Template.open_as`


def _two(system: str) -> Template:
    return Template("two", system, closing=_EOS)


def _bracketed(system: str = "", separator: str = "", preset: tuple = ()) -> Template:
    return Template("bracketed", system, separator=separator, closing=_EOS, preset=preset)


_VICUNA = _two(_CURIOUS.format(who="user") + _POLITE.format(who="user"))
_MISTRAL = _bracketed()

TEMPLATES: dict[str, tuple[Template, str]] = {
    "libra_v1": (_two(_COMPARING), "Libra-7B (Meditron)"),
    "default": (_two(_COMPARING), "the same as libra_v1"),
    "libra_v0": (_two(_CURIOUS.format(who="human") + _POLITE.format(who="human")), "Med-CXRGen (Vicuna)"),
    "v1": (_VICUNA, "Vicuna 1.1, LLaVA-Rad"),
    "vicuna_v1": (_VICUNA, "the same as v1"),
    "libra_v1_5_pretrain": (_two(_TASK_1_5), "Libra 1.5, stage 1"),
    "libra_v1_5_finetune": (_two(_FINDINGS_1_5), "Libra 1.5, stage 2"),
    "libra_v1_5_phi4_pretrain": (
        Template(system="<|system|>\n" + _TASK_1_5, separator="<|endoftext|>", **_PHI),
        "Libra 1.5 on Phi-4, stage 1",
    ),
    "libra_v1_5_phi4_finetune": (
        Template(system="<|system|>\n" + _FINDINGS_1_5, separator="<|endoftext|>", **_PHI),
        "Libra 1.5 on Phi-4, stage 2",
    ),
    "libra_v0_mmtag": (
        Template("two", _TAGGED, "Human", "Assistant", "###"),
        "tagged pictures, speakers parted by ###",
    ),
    "libra_v1_mmtag": (_two(_TAGGED), "tagged pictures"),
    "llama_2": (_bracketed(_SAFE, "<s>"), "Llama 2 chat"),
    "libra_llama_2": (_bracketed(_VISION, "<s>"), "Llama 2 chat, vision"),
    "llama_3": (Template(system=_SAFE, open_as=_CAPITALS, **_LLAMA_3), "Llama 3 as the original renders it"),
    "libra_llama_3": (
        Template(system=_VISION + _COMPARING, open_as=_CAPITALS, **_LLAMA_3),
        "Libra-3B, with the header its published results were made with",
    ),
    "libra_llama_3_as_trained": (
        Template(system=_VISION + _COMPARING, **_LLAMA_3),
        "the same with the header of training in generation too, for models trained here",
    ),
    "qwen": (
        Template(
            "lines",
            "<|im_start|>system\nYou are a helpful AI assistant.",
            "<|im_start|>user",
            "<|im_start|>assistant",
            "<|im_end|>",
        ),
        "Qwen",
    ),
    "mpt": (
        Template(
            "joined",
            "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. "
            "The assistant gives helpful and honest answers.",
            **_IM,
        ),
        "MPT",
    ),
    "mistral_direct": (Template("joined", "<|im_start|>system\nAnswer the questions.", **_IM), "Mistral, direct"),
    "conv_gemma": (
        Template("joined", "", "<start_of_turn>user\n", "<start_of_turn>model\n", "<end_of_turn>\n"),
        "Gemma",
    ),
    "conv_phi3": (
        Template(system="<|system|>\nYou are a helpful AI assistant.", separator="<|end|>", **_PHI),
        "Phi-3",
    ),
    "mistral_instruct": (_MISTRAL, "Mistral instruct"),
    "llava_med_v1_5_mistral_7b": (_MISTRAL, "LLaVA-Med 1.5"),
    "llava_med_v1_5_mistral_7b_v0": (
        _bracketed(
            _LLAVA_MED.format(when="."), preset=(("Hi!", "Hi there!  How can I help you today?\n"),)
        ),
        "LLaVA-Med 1.5 with a system text and a greeting",
    ),
    "llava_med_v1_5_mistral_7b_v1": (
        _bracketed(_LLAVA_MED.format(when=_ONE_WORD)),
        "LLaVA-Med 1.5 with a system text",
    ),
    "maira_2": (_two(_MAIRA), "MAIRA-2, current frontal picture only"),
    "plain": (Template("plain", user="", assistant="", separator="\n"), "picture and caption, LLaVA's stage 1"),
}

for _name, (_template, _about) in TEMPLATES.items():
    register("template", _name, _about)(_template)
