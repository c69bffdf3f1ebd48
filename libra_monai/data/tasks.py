# SPDX-License-Identifier: Apache-2.0
"""One study, several things to learn from it: its findings, its impression, its question and answer.

Libra's stage 1 mixes reports and questions (arXiv 2411.19378; specs of the original: `libra_alignment_train.json`). Here a
record becomes one item a task; each item carries the name of its `prompt`, which the processor then uses instead of
the workflow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libra_monai.errors import ConfigError
from libra_monai.text.prompts import PROMPTS, find_prompt
from libra_monai.types import FAILURE, Record


def expand_records(records: Sequence[Record], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """The items of all records, one a task that the record has a text for, in the order of records.

    An item that is no record stays one item, so that it is listed once.

    Args:
        records: from `load_records`.
        prompts: names of tasks, see `libra_monai.text.PROMPTS`.

    Raises:
        ConfigError: a task does not exist or stands twice, or no record has a text for any of them.
    """
    for name in prompts:
        find_prompt(name)
    if len(set(prompts)) < len(prompts) or not prompts:
        raise ConfigError(f"prompts are {list(prompts)}", "Name every task once.")
    items: list[dict[str, Any]] = []
    for record in records:
        names = [None] if FAILURE in record else [name for name in prompts if answers(record, name)]
        items += [dict(record) if name is None else {**record, "prompt": name} for name in names]
    if not any("prompt" in item for item in items):
        raise ConfigError(f"no study has a text for {', '.join(prompts)}", "Choose other prompts or other studies.")
    return items


def answers(record: Record, name: str) -> bool:
    """Whether a record holds all that a task asks: a target, its own question, facts to write from.

    Args:
        record: a study.
        name: of the task.
    """
    prompt = PROMPTS[name]
    asked = prompt.request is not None or record.get("question")
    told = not prompt.facts or record.get("statements") is not None
    return bool(record.get(prompt.target) and asked and told)
