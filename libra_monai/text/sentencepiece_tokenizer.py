# SPDX-License-Identifier: Apache-2.0
"""SentencePiece as the published Llama models were trained with it.

The original loads its tokenizers with `use_fast=False`. Transformers 5 has no slow tokenizers any more, and
their converted form differs at spaces next to special tokens, so a folder with `tokenizer.model` is read by
this class. Behaviour of both flavours of `LlamaTokenizer`: `legacy` true puts a space before every stretch of
text between special tokens, false only before the first.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from libra_monai.errors import ModelError
from libra_monai.files import write_json

MODEL_FILE = "tokenizer.model"
_CONFIG_FILE = "tokenizer_config.json"
_ADDED_FILE = "added_tokens.json"
_SPACE = "\u2581"
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None}


def is_llama_sentencepiece(folder: str | Path) -> bool:
    """Whether a folder holds a SentencePiece model of the Llama family (other families treat spaces otherwise).

    Args:
        folder: a folder, or a hub name (then False).
    """
    if not (Path(folder) / MODEL_FILE).is_file():
        return False
    return str(_read(Path(folder) / _CONFIG_FILE).get("tokenizer_class") or "Llama").startswith("Llama")


class SentencePieceTokenizer:
    """The part of Hugging Face's tokenizer interface that this package uses.

    Args:
        folder: holds `tokenizer.model`, and usually `tokenizer_config.json`, `special_tokens_map.json` and
            `added_tokens.json`.
        legacy: overrides what the folder says; the library's default was True.

    Raises:
        ModelError: a file is missing or damaged.
    """

    def __init__(self, folder: str | Path, legacy: bool | None = None) -> None:
        self.folder = Path(folder)
        self.config = _read(self.folder / _CONFIG_FILE)
        said = self.config.get("legacy")
        self.legacy = legacy if legacy is not None else True if said is None else bool(said)
        self.model = _processor(self.folder / MODEL_FILE, dummy_prefix=self.legacy)
        tokens = _SPECIAL | _read(self.folder / "special_tokens_map.json") | self.config
        self.special = {name: _content(tokens.get(name)) for name in _SPECIAL}
        self.added = {str(k): int(v) for k, v in _read(self.folder / _ADDED_FILE).items()}
        for number, token in self.config.get("added_tokens_decoder", {}).items():
            self.added[_content(token) or ""] = int(number)
        for text in filter(None, self.special.values()):
            if text not in self.added and self.model.piece_to_id(text) != self.model.unk_id():
                self.added[text] = self.model.piece_to_id(text)
        if self.special["unk_token"]:
            self.added.setdefault(self.special["unk_token"], self.model.unk_id())
        self.names = {number: text for text, number in self.added.items()}
        longest_first = sorted(self.added, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None
        self.adds_bos = bool(self.config.get("add_bos_token", True))
        self.adds_eos = bool(self.config.get("add_eos_token", False))

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        """Ids of a text, as `{"input_ids": [...]}`.

        Args:
            text: any text; special tokens in it become their ids.
            add_special_tokens: put the beginning-of-sequence token in front, where the folder says so.
        """
        ids = self._ids(text)
        if add_special_tokens and self.adds_bos and self.bos_token_id is not None:
            ids = [self.bos_token_id, *ids]
        if add_special_tokens and self.adds_eos and self.eos_token_id is not None:
            ids = [*ids, self.eos_token_id]
        return {"input_ids": ids}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Text of ids.

        Args:
            ids: token ids.
            skip_special_tokens: leave out the special tokens (not the other added ones).
        """
        hidden = set(filter(None, self.special.values())) if skip_special_tokens else set()
        parts: list[str] = []
        pieces: list[str] = []

        def flush() -> None:
            if pieces:
                text = self.model.decode_pieces(pieces)
                lost = pieces[0].startswith(_SPACE) and parts and self.legacy and not text.startswith(" ")
                parts.append((" " if lost else "") + text)
                pieces.clear()

        for number in ids:
            name = self.names.get(int(number))
            if name is None:
                pieces.append(self.model.id_to_piece(int(number)))
            elif name not in hidden:
                flush()
                parts.append(name)
        flush()
        return "".join(parts)

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, added ones included."""
        return {self.model.id_to_piece(i): i for i in range(self.model.get_piece_size())} | self.added

    def __len__(self) -> int:
        return max(self.model.get_piece_size(), max(self.added.values(), default=-1) + 1)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the tokenizer's files into a folder."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        if place.resolve() != self.folder.resolve():
            shutil.copyfile(self.folder / MODEL_FILE, place / MODEL_FILE)
        config = {key: value for key, value in self.config.items() if key != "added_tokens_decoder"}
        special = {name: text for name, text in self.special.items() if text}
        flags = {"legacy": self.legacy, "add_bos_token": self.adds_bos, "add_eos_token": self.adds_eos}
        write_json(place / _CONFIG_FILE, {**config, "tokenizer_class": "LlamaTokenizer", **special, **flags})
        if self.added:
            write_json(place / _ADDED_FILE, dict(sorted(self.added.items(), key=lambda pair: pair[1])))

    def _id(self, name: str) -> int | None:
        text = self.special[name]
        return None if text is None else self.added.get(text)

    @property
    def bos_token_id(self) -> int | None:
        """Id of the beginning-of-sequence token."""
        return self._id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """Id of the end-of-sequence token."""
        return self._id("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        """Id of the token for the unknown."""
        return self._id("unk_token")

    @property
    def pad_token_id(self) -> int | None:
        """Id of the padding token, None if the folder names none."""
        return self._id("pad_token")

    def _ids(self, text: str) -> list[int]:
        if not self.legacy and text:
            text = _SPACE + text.replace(_SPACE, " ")
        ids: list[int] = []
        parts = [part for part in (self._split.split(text) if self._split else [text]) if part]
        if not self.legacy and len(parts) > 1 and parts[0] == _SPACE:
            parts = parts[1:]  # a text that begins with a special token gets no space before it
        for part in parts:
            ids += [self.added[part]] if part in self.added else self._stretch(part)
        return ids

    def _stretch(self, text: str) -> list[int]:
        if self.legacy or not text.startswith((_SPACE, " ")):
            return self.model.encode(text)
        unknown = self.special["unk_token"] or "<unk>"  # in front, so that the leading space is not swallowed
        lead = len(self.model.encode(unknown))
        return self.model.encode(unknown + text)[lead:]


def _processor(path: Path, dummy_prefix: bool) -> sentencepiece.SentencePieceProcessor:
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "Give a folder with the tokenizer's files.")
    try:
        content = path.read_bytes()
        if not dummy_prefix:
            proto = sentencepiece_model_pb2.ModelProto.FromString(content)
            proto.normalizer_spec.add_dummy_prefix = False
            content = proto.SerializeToString()
        return sentencepiece.SentencePieceProcessor(model_proto=content)
    except Exception as error:  # its parsers raise whatever they like
        raise ModelError(f"{path} is no SentencePiece model ({str(error)[:120]})", "Download it again.") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error})", "Download the tokenizer again.") from error
    return content if isinstance(content, dict) else {}


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, Mapping) else token
