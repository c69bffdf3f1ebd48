# SPDX-License-Identifier: Apache-2.0
"""What is asked of a study, and which section of its report answers it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from libra_monai.errors import ConfigError, StudyError, did_you_mean
from libra_monai.types import Record

PICTURE = "<image>"
CONTEXT = ("indication", "history", "comparison", "technique")  # order of the published prompts


@dataclass(frozen=True)
class Prompt:
    """A task.

    Args:
        request: the question, without pictures or context.
        target: section of the record that answers it: `findings` or `impression`.
        pictures: whether the pictures are shown.
        facts: whether the statements of the record are listed where the pictures would be, so that a
            language model learns to write a report from findings before it sees any picture.
    """

    request: str
    target: str
    pictures: bool = True
    facts: bool = False


PROMPTS = {
    "findings": Prompt("Provide a detailed description of the findings in the radiology image.", "findings"),
    "impression": Prompt("Provide a detailed description of the impression in the radiology image.", "impression"),
    "findings_from_facts": Prompt(
        "Provide a detailed description of the findings in the radiology image.",
        "findings",
        pictures=False,
        facts=True,
    ),
}


def find_prompt(name: str) -> Prompt:
    """The task of a name.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in PROMPTS:
        raise ConfigError(f"prompt '{name}' does not exist", did_you_mean(name, PROMPTS))
    return PROMPTS[name]


def request_text(prompt: Prompt, record: Record) -> str:
    """The user's turn for one study: picture slot (or facts), question, clinical context.

    Args:
        prompt: the task.
        record: the study; its sections `indication`, `history`, `comparison`, `technique` are the context.

    Raises:
        StudyError: the prompt lists facts, and the record has no `statements`.
    """
    shown = _facts(record) if prompt.facts else PICTURE
    context = [f"{name.capitalize()}: {record[name]}" for name in CONTEXT if record.get(name)]
    following = f" Following clinical context: {' '.join(context)}" if context else ""
    return f"{shown}\n{prompt.request}{following}"


def _facts(record: Record) -> str:
    """The statements of a record as a list, in an order that carries no meaning and repeats from run to run."""
    statements = record.get("statements")
    if statements is None:
        raise StudyError(
            str(record.get("study_id")), "record", "the record has no `statements` to write from", "Use another prompt."
        )
    names = ("side", "severity", "finding", "change")
    facts = [" ".join(str(s[name]).lower() for name in names if s.get(name)) for s in statements]
    random.Random(str(record.get("study_id"))).shuffle(facts)
    return ". ".join(facts or ["no findings"]) + "."
