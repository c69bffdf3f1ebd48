# SPDX-License-Identifier: Apache-2.0
"""Questions about one study, answered word by word: `libra-monai report ... --interactive`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from libra_monai.errors import StudyError
from libra_monai.outputs.draft import marks_for

ENDS = ("", "quit", "exit")
SECTIONS = ("findings", "impression")


def converse(
    loaded: Any,
    record: Mapping[str, Any],
    ask: Callable[[str], str] = input,
    say: Callable[..., None] = print,
) -> int:
    """Answer questions until an empty line, the word quit, or the end of the input.

    `findings` and `impression` write that section again; every other line is a question of its own, which the model reads with the
    pictures and without what was said before.

    Args:
        loaded: a loaded model.
        record: the study, with absolute paths.
        ask: shows a prompt and returns a line.
        say: prints; takes `end` and `flush`.

    Returns:
        how many questions were answered.
    """
    root, answered = Path(record["current"]).anchor, 0
    say(*marks_for(loaded.card), "A question, or findings, or impression; an empty line ends.", sep="\n")
    while True:
        try:
            line = ask("? ").strip()
        except EOFError:
            return answered
        if line.lower() in ENDS:
            return answered
        wanted = {"section": line.lower()} if line.lower() in SECTIONS else {"question": line}
        try:
            for piece in loaded.stream(record, root, **wanted):
                say(piece, end="", flush=True)
            say("")
            answered += 1
        except StudyError as error:
            say(f"{error}")
