# SPDX-License-Identifier: Apache-2.0
"""What is asked of a study, and which section of its report answers it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from libra_monai.errors import ConfigError, StudyError, did_you_mean
from libra_monai.types import Record

PICTURE = "<image>"
CONTEXT = ("indication", "history", "comparison", "technique")  # order of the published prompts
CONTEXT_MAIRA = ("indication", "technique", "comparison")  # order of MAIRA-2's


@dataclass(frozen=True)
class Prompt:
    """A task.

    Args:
        request: the question, without pictures or context; None asks the record's own `question`.
        target: field of the record that answers it: `findings`, `impression` or `answer`.
        context: how sections of the record follow the question: `libra` lists those that are there, `maira` names
            all three of MAIRA-2's and writes `None.` for absent ones, None adds nothing.
        pictures: whether the pictures are shown.
        facts: whether the statements of the record are listed where the pictures would be, so that a
            language model learns to write a report from findings before it sees any picture.
    """

    request: str | None
    target: str
    context: str | None = "libra"
    pictures: bool = True
    facts: bool = False


_FINDINGS = "Provide a detailed description of the findings in the radiology image."
PROMPTS = {
    "findings": Prompt(_FINDINGS, "findings"),
    "impression": Prompt("Provide a detailed description of the impression in the radiology image.", "impression"),
    "question": Prompt(None, "answer", context=None),
    "findings_maira": Prompt(
        "Provide a description of the findings in the radiology study in comparison to the prior frontal image.",
        "findings",
        context="maira",
    ),
    "findings_from_facts": Prompt(_FINDINGS, "findings", pictures=False, facts=True),
    "findings_from_tokens": Prompt(_FINDINGS, "findings", pictures=False),
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
        StudyError: the prompt lists facts and the record has no `statements`, or it asks the record's own
            `question` and there is none.
    """
    shown = _facts(record) if prompt.facts else PICTURE
    question = prompt.request or record.get("question")
    if not question:
        remedy = "Use another prompt, or leave the study out."
        raise StudyError(str(record.get("study_id")), "record", "the record has no `question` to ask", remedy)
    return f"{shown}\n{question}{_context(prompt.context, record)}"


def _context(style: str | None, record: Record) -> str:
    if style == "maira":
        return "".join(f" {name.upper()}: {record.get(name) or 'None.'}" for name in CONTEXT_MAIRA)
    if style == "libra":
        said = [f"{name.capitalize()}: {record[name]}" for name in CONTEXT if record.get(name)]
        return f" Following clinical context: {' '.join(said)}" if said else ""
    return ""


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
