# SPDX-License-Identifier: Apache-2.0
"""Conversation templates: how requests and answers are put to a language model.

Only the form stands here; what is asked stands in `prompts`. The styles and texts are those of
`libra/conversation.py` (X-iZhang/Libra), which inherits most of them from LLaVA; names are made Python
identifiers (`llava_med_v1.5_mistral_7b` is `llava_med_v1_5_mistral_7b`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from libra_monai.errors import ConfigError

Turn = tuple[str, str | None]  # a request and its answer; None leaves the answer open
Piece = tuple[str, bool]  # text, and whether a language model learns to write it


@dataclass(frozen=True)
class Template:
    """The form of a conversation.

    Args:
        style: how the pieces below are joined, one of `STYLES`.
        system: opening text, before the first turn.
        user, assistant: names or marks of the speakers.
        separator: between turns, or after everything a speaker says, as the style has it.
        closing: what ends an answer, where that differs from the separator.
        preset: turns that stand before the first real one.
        open_as: what the open answer begins with in generation, where that differs from training. Libra's 3B
            model was used with `ASSISTANT` and no line breaks, though it was trained on `assistant` and two.
    """

    style: str
    system: str = ""
    user: str = "USER"
    assistant: str = "ASSISTANT"
    separator: str = " "
    closing: str | None = None
    preset: tuple[tuple[str, str], ...] = ()
    open_as: str | None = None

    @property
    def stop(self) -> str:
        """Text that ends an answer; generation stops there."""
        return self.closing if self.closing is not None else self.separator

    def pieces(self, turns: Sequence[Turn], training: bool = False) -> list[Piece]:
        """The conversation as pieces of text that are learned or not.

        Args:
            turns: requests with their answers; only the last answer may be open (None).
            training: whether the text is for training, where two templates differ from generation.

        Raises:
            ConfigError: an answer before the last is missing.
        """
        turns = [*self.preset, *turns]
        if any(answer is None for _, answer in turns[:-1]):
            raise ConfigError("a turn before the last one has no answer", "Leave only the last answer open.")
        return _tidy(STYLES[self.style](self, turns, training), self.style)

    def render(self, turns: Sequence[Turn], training: bool = False) -> str:
        """The conversation as one text; arguments as in `pieces`."""
        return "".join(text for text, _ in self.pieces(turns, training))

    def open(self, request: str) -> str:
        """The text up to where the answer begins, for generation.

        Args:
            request: the user's text, with `<image>` where the picture goes.
        """
        return self.render([(request, None)])


def _two(form: Template, turns: Sequence[Turn], training: bool) -> list[Piece]:
    """Vicuna and Libra: named speakers, one text after the user, another after the assistant."""
    pieces = [(form.system + form.separator, False)]
    for request, answer in turns:
        pieces.append((f"{form.user}: {request}{form.separator}{form.assistant}:", False))
        if answer is not None:
            pieces.append((f" {answer}{form.stop}", True))
    return pieces


def _plain(form: Template, turns: Sequence[Turn], training: bool) -> list[Piece]:
    pieces = [(form.system, False)]
    for request, answer in turns:
        pieces.append((request + form.separator, False))
        if answer is not None:
            pieces.append((answer + form.separator, True))
    return pieces


def _bracketed(form: Template, turns: Sequence[Turn], training: bool) -> list[Piece]:
    """Llama 2 and Mistral: the system text stands within the first request."""
    system = f"<<SYS>>\n{form.system}\n<</SYS>>\n\n" if form.system else ""
    pieces: list[Piece] = []
    for number, (request, answer) in enumerate(turns):
        lead = system if number == 0 else ""
        pieces.append((f"{form.separator if number else ''}[INST] {lead}{request} [/INST]", False))
        if answer is not None:
            pieces.append((f" {answer} {form.stop}", True))
    return pieces


def _headed(form: Template, turns: Sequence[Turn], training: bool) -> list[Piece]:
    """Llama 3: every speaker has a header; no line break after the system text, one after each turn."""

    def header(name: str) -> str:
        return f"<|start_header_id|>{name}<|end_header_id|>\n\n"

    pieces: list[Piece] = [(f"{form.separator}{header('system')}{form.system}{form.stop}", False)]
    for request, answer in turns:
        pieces.append((f"{header('user')}{request}{form.stop}\n", False))
        if answer is None:
            opening = header(form.assistant) if form.open_as is None or training else form.open_as
            pieces.append((opening, False))
        else:
            pieces += [(header(form.assistant), False), (answer + form.stop, True), ("\n", False)]
    return pieces


def _joined(form: Template, turns: Sequence[Turn], training: bool) -> list[Piece]:
    """MPT, Phi and Gemma: mark, text, separator, with nothing between."""
    pieces = [(form.system + form.separator, False)]
    for request, answer in turns:
        pieces.append((form.user + request + form.separator + form.assistant, False))
        if answer is not None:
            pieces.append((answer + form.separator, True))
    return pieces


def _lines(form: Template, turns: Sequence[Turn], training: bool) -> list[Piece]:
    """Qwen: as joined, on lines of their own."""
    pieces: list[Piece] = [(f"{form.system}{form.separator}\n", False)]
    for request, answer in turns:
        pieces.append((f"{form.user}\n{request}{form.separator}\n{form.assistant}\n", False))
        if answer is not None:
            pieces += [(answer + form.separator, True), ("\n", False)]
    return pieces


def _tidy(pieces: list[Piece], style: str) -> list[Piece]:
    """Without the white space that the original strips from the end of a conversation."""
    pieces = [piece for piece in pieces if piece[0]]
    if style in ("headed", "lines"):
        while pieces and not pieces[-1][0].strip():
            pieces.pop()
        if pieces and not pieces[-1][1]:  # an open turn; a closed one ends with its stop text
            pieces[-1] = (pieces[-1][0].rstrip() if style == "lines" else pieces[-1][0], False)
    return pieces


STYLES = {
    "two": _two,
    "plain": _plain,
    "bracketed": _bracketed,
    "headed": _headed,
    "joined": _joined,
    "lines": _lines,
}
