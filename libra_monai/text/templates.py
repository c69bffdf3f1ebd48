# SPDX-License-Identifier: Apache-2.0
"""Conversation templates: how a request is put to a language model.

Only the form stands here; what is asked stands in `prompts`. `libra_v1` is the template of
Libra-7B (X-iZhang/Libra, `libra/conversation.py`, style TWO).
"""

from __future__ import annotations

from dataclasses import dataclass

from libra_monai.registry import register


@dataclass(frozen=True)
class Template:
    """A conversation of one request and one answer.

    Args:
        system: opening sentence, before the first turn.
        user, assistant: names of the speakers.
        separator: after the system text and the user's turn.
        stop: after the assistant's turn; generation ends there.
    """

    system: str
    user: str
    assistant: str
    separator: str
    stop: str

    def open(self, request: str) -> str:
        """The text up to where the answer begins.

        Args:
            request: the user's text, with `<image>` where the picture goes.
        """
        opening = self.system + self.separator if self.system else ""
        return f"{opening}{self.user}: {request}{self.separator}{self.assistant}:"

    def close(self, answer: str) -> str:
        """What follows `open`: the answer and the stop string, as learned in training."""
        return f" {answer}{self.stop}"


LIBRA_V1 = register("template", "libra_v1", "Libra-7B (Meditron): USER / ASSISTANT turns")(
    Template(
        system="The assistant specialized in comparing Chest X-ray images, identifying differences, "
        "and noting temporal changes.",
        user="USER",
        assistant="ASSISTANT",
        separator=" ",
        stop="</s>",
    )
)
