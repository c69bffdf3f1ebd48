# SPDX-License-Identifier: Apache-2.0
"""Everything a model wants done to a study before it, and to its tokens after it.

Pixels: size, padding, channels, mean and deviation. Text: tokenizer, template, task. A model folder
keeps it as `processor.json`, so that training, evaluation, inference and serving cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from libra_monai import registry
from libra_monai.data.cache import PictureCache
from libra_monai.data.dataset import FAILURE, failure_of
from libra_monai.errors import ConfigError, ModelError, StudyError
from libra_monai.files import write_json
from libra_monai.text import encode_conversation, encode_prompt, load_tokenizer, places_of, request_text, split_answer
from libra_monai.text.prompts import Prompt, find_prompt
from libra_monai.transforms import FitSquare, StudyPicturesd
from libra_monai.transforms.reading import reader
from libra_monai.types import IGNORE, VIEWS, WEIGHTS, Failure, Generation, PictureNotes, StudyBatch

_FILE = "processor.json"


class StudyProcessor:
    """Turns records and pictures into a `StudyBatch`, and generated ids into text.

    Args:
        tokenizer: folder or hub name of a Hugging Face tokenizer, or a tokenizer.
        template: registered conversation template.
        prompt: task, see `libra_monai.text.PROMPTS`; an item with a `prompt` of its own is asked that instead.
        image_size: side of the square pictures in pixels.
        channels: C, the grey channel is repeated.
        mean, std: normalisation of grey levels in 0..1, one number or one a channel; the defaults are RAD-DINO's.
        fill: grey level of the padding to a square.
        aspect: `pad` or `crop`, see `FitSquare`.
        num_bos: beginning-of-sequence tokens of a prompt; None keeps what template and tokenizer give.

    Raises:
        ModelError: the tokenizer cannot be loaded.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str = "libra_v1",
        prompt: str = "findings",
        image_size: int = 518,
        channels: int = 3,
        mean: float | Sequence[float] = 0.5307,
        std: float | Sequence[float] = 0.2583,
        fill: int = 0,
        aspect: str = "pad",
        num_bos: int | None = None,
    ) -> None:
        self.tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
        self.template = registry.find("template", template)
        self.prompt = find_prompt(prompt)
        self.settings = {
            "template": template,
            "prompt": prompt,
            "image_size": image_size,
            "channels": channels,
            "mean": list(mean) if isinstance(mean, Sequence) else mean,  # as JSON gives it back
            "std": list(std) if isinstance(std, Sequence) else std,
            "fill": fill,
            "aspect": aspect,
            "num_bos": num_bos,
        }
        self.image_size, self.channels, self.num_bos = image_size, channels, num_bos
        self.square = FitSquare(image_size, fill, aspect)
        self.table = normalising_table(channels, mean, std)

    def pictures(
        self,
        root: str,
        remember: bool = False,
        views: Sequence[str] = VIEWS,
        cache: str | Path | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> StudyPicturesd:
        """The transform from the paths of a record to uint8 pictures of this model's size.

        Args:
            root: folder the paths are relative to.
            remember: keep pictures in memory, so that each file is read once.
            views: views the model looks at.
            cache: folder that keeps finished pictures between runs; None keeps none.
            reading: arguments of `LoadRadiograph`, such as `policy` or `equalise`.

        Raises:
            ConfigError: an argument of `LoadRadiograph` does not exist or makes no sense.
        """
        steps = [reader(reading), self.square]
        kept = None if cache is None else PictureCache(cache, steps)
        return StudyPicturesd(steps, root, tuple(views), remember, hide=not self.prompt.pictures, cache=kept)

    def normalise(self, pictures: Sequence[Tensor]) -> Tensor:
        """uint8 pictures U x [1,h,w] to float32 [U,C,h,w], to the bit as Hugging Face's processors do."""
        if not pictures:
            return torch.zeros(0, self.channels, self.image_size, self.image_size)
        stack = torch.stack([torch.as_tensor(p).as_subclass(Tensor) for p in pictures])
        return normalise_pixels(stack, self.table)

    def collate(self, items: Sequence[Mapping[str, Any]], training: bool = False) -> StudyBatch:
        """Put studies together; every distinct picture stands in the batch once.

        Args:
            items: from `StudyDataset` through `pictures`; failed ones are sorted out.
            training: prompts as in training, where the template opens answers otherwise in generation.
        """
        failures = [item[FAILURE] for item in items if FAILURE in item]
        good, texts, weighed = [], [], []
        for item in items:
            if FAILURE in item:
                continue
            try:
                texts.append(self._texts(item, training))
                weighed.append(self._weighed(item, texts[-1][1]))
                good.append(item)
            except StudyError as error:
                failures.append(failure_of(error, item["record"]))
        pictures, index = self._distinct_pictures(good)
        input_ids, attention_mask = _pad_left([prompt for prompt, _ in texts], self.pad_id)
        targets = [target for _, target in texts]
        answered = bool(targets) and all(target is not None for target in targets)
        return StudyBatch(
            images=self.normalise(pictures),
            index=index,
            input_ids=input_ids,
            attention_mask=attention_mask,
            target_ids=_pad_right(targets) if answered else None,
            study_ids=[item["study_id"] for item in good],
            records=[item["record"] for item in good],
            notes=[_notes(item) for item in good],
            failures=failures,
            weights=_weights(targets, weighed) if answered and any(weighed) else None,
        )

    def collate_for_training(self, items: Sequence[Mapping[str, Any]]) -> StudyBatch:
        """As `collate`, but a study without a target text counts as failed instead of leaving the batch unlearnable."""
        checked = [self._missing_target(item) or item for item in items]
        return self.collate(checked, training=True)

    def prompt_of(self, item: Mapping[str, Any]) -> Prompt:
        """The task of one item: its own, or the workflow's."""
        return find_prompt(item["prompt"]) if item.get("prompt") else self.prompt

    def decode(self, generation: Generation) -> str:
        """Text of a generation, without special tokens and surrounding space."""
        if generation.text is not None:
            return generation.text
        text = self.tokenizer.decode(generation.token_ids, skip_special_tokens=True).strip()
        stop = self.template.stop
        return text[: -len(stop)].strip() if stop and text.endswith(stop) else text

    @property
    def pad_id(self) -> int:
        """Id used for padding; it is always masked, so any will do where a tokenizer has none."""
        return next((i for i in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id) if i is not None), 0)

    def save(self, folder: str | Path, tokenizer_in: str = "language") -> None:
        """Write `processor.json`, and the tokenizer into a subfolder.

        Args:
            folder: the model folder.
            tokenizer_in: name of the subfolder.
        """
        self.tokenizer.save_pretrained(str(Path(folder) / tokenizer_in))
        write_json(Path(folder) / _FILE, {"tokenizer": tokenizer_in, **self.settings})

    @classmethod
    def load(cls, folder: str | Path, **changes: Any) -> StudyProcessor:
        """Read a processor back from a model folder.

        Args:
            folder: the model folder.
            changes: settings to use instead of the saved ones, such as `prompt`.

        Raises:
            ModelError: the folder has no `processor.json`.
        """
        settings = {**read_settings(folder), **changes}
        return cls(tokenizer=str(Path(folder) / settings.pop("tokenizer")), **settings)

    def _texts(self, item: Mapping[str, Any], training: bool) -> tuple[list[int], list[int] | None]:
        """Ids of the prompt and of the answer; the prompt is the one of generation, or the one of training."""
        task = self.prompt_of(item)
        request = request_text(task, item)
        prompt = encode_prompt(self.tokenizer, self.template.open(request), self.num_bos)
        answer = item.get(task.target)
        if not answer:
            return prompt, None
        turns = [(request, answer)]
        before, target = split_answer(encode_conversation(self.tokenizer, self.template, turns, num_bos=self.num_bos))
        return before if training else prompt, target

    def _weighed(self, item: Mapping[str, Any], target: list[int] | None) -> list[tuple[int, int, float]]:
        """Which ids of the answer count otherwise in the loss, see `WEIGHTS`."""
        prompt = self.prompt_of(item)
        spans = (item.get(WEIGHTS) or {}).get(prompt.target)
        if not spans or target is None:
            return []
        turn = (request_text(prompt, item), item[prompt.target])
        before, _ = split_answer(encode_conversation(self.tokenizer, self.template, [turn], num_bos=self.num_bos))
        places = places_of(self.tokenizer, self.template, turn, [(start, end) for start, end, _ in spans], self.num_bos)
        weights = [weight for _, _, weight in spans]
        return [(a - len(before), b - len(before), weight) for (a, b), weight in zip(places, weights, strict=True)]

    def _missing_target(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        if FAILURE in item:
            return None
        target = self.prompt_of(item).target
        if item.get(target):
            return None
        remedy = "Leave the study out, or choose another prompt."
        failure = Failure(item["study_id"], item["study_id"], "record", f"the record has no {target}", remedy)
        return {"study_id": item["study_id"], FAILURE: failure}

    def _distinct_pictures(self, items: Sequence[Mapping[str, Any]]) -> tuple[list[Tensor], dict[str, Tensor]]:
        pictures: list[Tensor] = []
        rows: dict[Any, int] = {}
        index: dict[str, list[int]] = {view: [] for view in VIEWS}
        for item in items:
            for view in VIEWS:
                picture = item.get(view)
                if not isinstance(picture, Tensor):
                    index[view].append(-1)
                    continue
                path = item.get("picture_paths", {}).get(view)
                key = (item.get("group"), path) if path else id(picture)
                if key not in rows:
                    rows[key] = len(pictures)
                    pictures.append(picture)
                index[view].append(rows[key])
        return pictures, {view: torch.tensor(numbers, dtype=torch.long) for view, numbers in index.items()}


def normalising_table(channels: int, mean: float | Sequence[float], std: float | Sequence[float]) -> Tensor:
    """What each of the 256 grey levels becomes, [C,256] or, where all channels agree, [1,256] repeated without copy.

    The steps are those of the original's processor: times 1/255 in double, then mean and deviation in single precision.

    Args:
        channels: C.
        mean, std: one number, or C of them.

    Raises:
        ConfigError: the numbers are not one or C, or a deviation is not positive.
    """
    rows = []
    for name, value in (("mean", mean), ("std", std)):
        values = np.atleast_1d(np.asarray(value, dtype=np.float32))
        if len(values) not in (1, channels):
            raise ConfigError(f"processor.{name} has {len(values)} numbers", f"Give one, or {channels}.")
        if name == "std" and not (values > 0).all():
            raise ConfigError(f"processor.std is {std}", "Give positive numbers.")
        rows.append(np.broadcast_to(values, (channels,)))
    levels = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    table = torch.from_numpy((levels[None] - rows[0][:, None]) / rows[1][:, None])
    return table[:1].expand(channels, -1) if bool((table == table[:1]).all()) else table


def normalise_pixels(pictures: Tensor, table: Tensor) -> Tensor:
    """uint8 [U,1,h,w] to float32 [U,C,h,w].

    Args:
        pictures: grey levels.
        table: [C,256], see `normalising_table`.
    """
    grey = pictures[:, 0].numpy()
    rows = table[:1] if table.stride(0) == 0 else table  # equal channels share their memory
    channels = torch.from_numpy(np.stack([np.take(row.numpy(), grey) for row in rows], axis=1))
    return channels.expand(-1, len(table), -1, -1)


def _notes(item: Mapping[str, Any]) -> PictureNotes:
    notes = PictureNotes(files=item.get("picture_files", {}), reading=item.get("picture_reading"))
    for view in VIEWS:
        meta = getattr(item.get(view), "meta", None) or {}
        if meta.get("sop_uid"):
            notes.uids.append(meta["sop_uid"])
        notes.warnings += [f"{view}: {warning}" for warning in meta.get("warnings", [])]
        notes.export_allowed &= bool(meta.get("export_allowed", True))
    return notes


def read_settings(folder: str | Path) -> dict[str, Any]:
    """`processor.json` of a model folder.

    Raises:
        ModelError: the folder has none, or it is damaged.
    """
    path = Path(folder) / _FILE
    if not path.is_file():
        raise ModelError(f"{path} does not exist", "Give a model folder written by this package.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error})", "Save or download the model again.") from error


def same_tokenizer(processor: StudyProcessor, folder: str | Path) -> bool:
    """Whether a model folder was saved with this processor's vocabulary.

    Raises:
        ModelError: its tokenizer cannot be loaded.
    """
    own = load_tokenizer(Path(folder) / read_settings(folder)["tokenizer"])
    return own.get_vocab() == processor.tokenizer.get_vocab()


def check_same_size(processor: StudyProcessor, encoder: Any) -> None:
    """Refuse a processor whose pictures the encoder cannot take.

    Raises:
        ConfigError: sizes or channels differ.
    """
    wanted = (getattr(encoder, "image_size", None), getattr(encoder, "channels", None))
    given = (processor.image_size, processor.channels)
    for want, have, name in zip(wanted, given, ("image_size", "channels"), strict=True):
        if want is not None and want != have:
            raise ConfigError(f"processor.{name} is {have}, but the encoder takes {want}", "Make them equal.")


def _pad_left(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    width = max((len(row) for row in rows), default=0)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = True
    return ids, mask


def _weights(targets: list[list[int]], weighed: list[list[tuple[int, int, float]]]) -> Tensor:
    weights = torch.ones(len(targets), max(map(len, targets)))
    for row, places in enumerate(weighed):
        for start, end, weight in places:
            weights[row, start:end] *= weight
    return weights


def _pad_right(rows: list[list[int]]) -> Tensor:
    ids = torch.full((len(rows), max(len(row) for row in rows)), IGNORE, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids
