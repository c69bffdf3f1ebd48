# SPDX-License-Identifier: Apache-2.0
"""Classification of findings by side, severity and change: pre-training before any text, and a baseline by itself.

It stands in the language model's place and learns from the `statements` of the records, so that the same
trainer, evaluator and metrics serve it. Its "report" lists what it sees in short sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from libra_monai.errors import ConfigError
from libra_monai.registry import register
from libra_monai.types import IMAGE_SLOT, Decoding, Generation, LanguageOutput, Record, StudyBatch

LEVELS = (None, "small", "moderate", "large")  # class 0: absent; findings without severity use class 2
CHANGES = (None, "new", "worsened", "improved", "stable", "gone")  # class 0: nothing said, or no prior
_GONE = ("resolved", "removed")
_BOTH = ("right", "left")
_UNKNOWN = -100  # class that no loss is taken of

_TOKENS_OF_A_FINDING = 8  # about as many of 64 tokens show a finding; weighs what is seen here against the whole
_PARTS = 2  # each token tells for so many rows and columns of its own part of the picture what they show


def footprint(cells: str | None, side: int) -> Tensor:
    """Cells of a statement, bits of a square grid as hexadecimal digits, as LongTensor [side,side] of 0 and 1.

    Args:
        cells: 4 bits a digit, row by row; None is a finding that is seen nowhere.
        side: rows and columns wanted; a cell counts where any of those it covers does.
    """
    if cells is None:
        return torch.zeros(side, side, dtype=torch.long)
    bits = torch.tensor([int(digit, 16) >> shift & 1 for digit in cells for shift in (3, 2, 1, 0)])
    grid = bits.view(1, 1, math.isqrt(len(bits)), -1).float()
    return F.adaptive_max_pool2d(grid, side)[0, 0].long()


def _even(seen: Tensor, places: tuple[int, ...], extent: int) -> Tensor:
    """Weights by which a finding counts as much whether it is seen in few places or many; 1 where it is not seen.

    Args:
        seen: 0 and 1.
        places: dimensions that are places.
        extent: number of places at which each weighs 1; no place weighs less than half.
    """
    number = seen.sum(dim=places, keepdim=True).clamp(min=1)
    return torch.where(seen > 0, (extent / number).clamp(min=0.5), 1.0)


def _outline_loss(logits: Tensor, quarters: Tensor, extent: int, known: Tensor | None = None) -> Tensor:
    """Summed cross entropy of what each quarter shows, [B,T,K*4] against [B,T,K,4], where it is known."""
    weight = _even(quarters, (1, 3), extent)
    weight = weight if known is None else weight * known
    return F.binary_cross_entropy_with_logits(logits.unflatten(-1, (-1, _PARTS**2)).float(), quarters.float(), weight, reduction="sum")


@register("language", "finding_classifier")
class FindingClassifier(nn.Module):
    """Readers over the visual tokens, each giving a severity and a change for every finding and side.

    The reader of places has its own weights for every token, so that it quickly learns what small things look
    like and where they lie. The reader by attention asks one question per finding and side of all tokens, as a
    connector and a language model will; alone it took many times as long on phantom studies (docs/log.md). The
    reader of the mean makes the encoder carry the same knowledge into all its tokens. Behind a connector that looks
    at the prior, changes make it compare, which learning to write alone takes very long to bring about.

    Where statements carry `cells` (phantoms do), two more ask every token about its own part of the picture: the reader
    here what is seen in it, the reader of outlines in which of its quarters. Thin devices need the first, as the readers of
    the whole picture find them without any token saying what it shows. Small findings need the second: how large a nodule
    is shows in less than a token. In both, a finding weighs the same however few tokens show it (docs/log.md).

    Where records carry the `prior_statements` that `RandCounterfactualPrior` puts there, all readers can also be asked what the
    prior shows: to tell a change a connector must carry both, and a word for their difference teaches that slowly.

    Args:
        hidden_size: H of the tokens.
        num_tokens: T, their number.
        findings: names as in the records' `statements`.
        midline: those of them that have no side.
        changes: also read what became of each since the prior; for connectors that look at it.
        place_width: width the tokens are reduced to before the reader of places.
        before: also read how large each was in the prior, and where; needs `changes`.

    Raises:
        ConfigError: `before` without `changes`.
    """

    takes = "states"

    def __init__(
        self,
        hidden_size: int,
        num_tokens: int,
        findings: Sequence[str],
        midline: Sequence[str] = (),
        changes: bool = False,
        place_width: int = 32,
        before: bool = False,
    ) -> None:
        super().__init__()
        if before and not changes:
            raise ConfigError("finding_classifier reads what was before only with what changed", "Set `changes` too.")
        self.hidden_size, self.num_tokens, self.side = hidden_size, num_tokens, math.isqrt(num_tokens)
        self.classes = [(name, side) for name in findings for side in ((None,) if name in midline else _BOTH)]
        self.sizes = (len(LEVELS), *((len(CHANGES),) if changes else ()), *((len(LEVELS),) if before else ()))
        outputs = len(self.classes) * sum(self.sizes)
        self.norm = nn.LayerNorm(hidden_size)
        self.reduce = nn.Linear(hidden_size, place_width)
        self.places = nn.Linear(num_tokens * place_width, outputs)
        self.keys = nn.Linear(hidden_size, hidden_size)
        self.queries = nn.Parameter(torch.randn(len(self.classes), hidden_size) * 0.02)
        self.answers = nn.Parameter(torch.randn(len(self.classes), hidden_size, sum(self.sizes)) * hidden_size**-0.5)
        self.mean_norm = nn.LayerNorm(hidden_size)
        self.mean = nn.Linear(hidden_size, outputs)
        nn.init.normal_(self.places.weight, std=0.01)
        self.here = nn.Linear(hidden_size, outputs)
        self.outline = nn.Linear(hidden_size, len(self.classes) * _PARTS**2)
        self.outline_before = nn.Linear(hidden_size, len(self.classes) * _PARTS**2) if before else None
        self.embed = nn.Identity()

    def read(self, slots: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits by the readers of places, by attention and of the mean, [B,K,4] or [B,K,4+6] for K pairs.

        Args:
            slots: `image` -> [B,T,H].

        Returns:
            for each pair of finding and side the logits of `LEVELS`, then those of `CHANGES` where they are read.
        """
        tokens = slots[IMAGE_SLOT]
        known = self.norm(tokens)  # [B,T,H]
        shape = (len(self.classes), sum(self.sizes))
        places = self.places(self.reduce(known).flatten(1)).unflatten(-1, shape)
        attention = (self.queries @ self.keys(known).transpose(1, 2)).softmax(dim=-1)  # [B,K,T]
        asked = torch.einsum("bkh,khl->bkl", attention @ known, self.answers)
        mean = self.mean(self.mean_norm(tokens.mean(dim=1))).unflatten(-1, shape)
        return places, asked, mean

    def read_here(self, slots: dict[str, Tensor]) -> Tensor:
        """Logits as of `read`, for what is seen in the part of the picture each token stands for, [B,T,K,4] or [B,T,K,4+6]."""
        return self.here(self.norm(slots[IMAGE_SLOT])).unflatten(-1, (len(self.classes), sum(self.sizes)))

    def read_outline(self, slots: dict[str, Tensor]) -> Tensor:
        """Logits that each finding is seen in each quarter of each token's part of the picture, [B,T,K,4], rows first."""
        return self.outline(self.norm(slots[IMAGE_SLOT])).unflatten(-1, (len(self.classes), _PARTS**2))

    def forward(self, batch: StudyBatch, slots: dict[str, Tensor]) -> LanguageOutput:
        """Cross entropy of all that is read over all pairs of finding and side, the mean of the readers.

        Args:
            batch: its records carry `statements`, and `prior_statements` where the prior's are to be learned.
            slots: `image` -> [B,T,H].

        Raises:
            ValueError: a record has no `statements`.
        """
        readers = self.read(slots)
        wanted = torch.tensor([self.wanted(record) for record in batch.records], device=readers[0].device)  # [B,K,1 to 3]
        loss = sum(self._loss(reader, wanted) for reader in readers) / len(readers)
        said = [[record[name] or () for name in ("statements", "prior_statements") if name in record] for record in batch.records]
        if self.side**2 == self.num_tokens and all("cells" in one for parts in said for part in parts for one in part):
            loss = loss + self._loss_here(slots, wanted, batch.records)
        return LanguageOutput(loss, torch.tensor(wanted.numel(), device=wanted.device))

    def _loss_here(self, slots: dict[str, Tensor], wanted: Tensor, records: Sequence[Record]) -> Tensor:
        """Loss of the readers that ask each token about its own part: of what is seen there, and in which of its quarters.

        Args:
            slots: `image` -> [B,T,H].
            wanted: classes [B,K,1 to 3].
            records: their statements have `cells`.
        """
        extent, known = _TOKENS_OF_A_FINDING * _PARTS, self.norm(slots[IMAGE_SLOT])
        quarters = self._quarters([record["statements"] for record in records]).to(wanted.device)
        here = quarters.amax(dim=-1)  # [B,T,K]
        labels, weights = wanted[:, None] * here[..., None], [_even(here, (1,), _TOKENS_OF_A_FINDING)] * len(self.sizes)
        outline = _outline_loss(self.outline(known), quarters, extent)
        if self.outline_before is not None:
            quarters = self._quarters([record.get("prior_statements") or () for record in records]).to(wanted.device)
            there, level = quarters.amax(dim=-1), wanted[:, None, :, -1]
            unknown = level == _UNKNOWN  # [B,1,K], one value a study
            labels[..., -1] = torch.where(unknown, _UNKNOWN, level * there)
            weights[-1] = _even(there, (1,), _TOKENS_OF_A_FINDING)
            outline = outline + _outline_loss(self.outline_before(known), quarters, extent, ~unknown[..., None])
        return self._loss(self.read_here(slots), labels, weights) / _TOKENS_OF_A_FINDING + outline / extent

    def _quarters(self, statements: Sequence[Sequence[Record]]) -> Tensor:
        """Which quarters of each token's part show which pair of finding and side, [B,T,K,4] of 0 and 1."""
        seen = torch.stack([self._seen(said, self.side * _PARTS) for said in statements])
        quarters = seen.unflatten(2, (self.side, _PARTS)).unflatten(1, (self.side, _PARTS))  # [B,side,parts,side,parts,K]
        return quarters.permute(0, 1, 3, 5, 2, 4).flatten(4).flatten(1, 2)

    def _loss(self, logits: Tensor, wanted: Tensor, weights: Sequence[Tensor] = ()) -> Tensor:
        """Summed cross entropy of logits [..., all sizes] against classes [..., len(sizes)], each weighed by [...]."""
        parts, labels = logits.float().split(self.sizes, dim=-1), wanted.unbind(dim=-1)
        pairs = zip(parts, labels, strict=True)
        losses = [F.cross_entropy(part.flatten(0, -2), label.flatten(), reduction="none") for part, label in pairs]
        if weights:
            losses = [loss * weight.flatten() for loss, weight in zip(losses, weights, strict=True)]
        return sum(loss.sum() for loss in losses)

    @torch.no_grad()
    def generate(self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding) -> list[Generation]:
        """A list of the findings seen, as text; decoding options do not apply."""
        chosen = self.read(slots)[0][..., : len(LEVELS)].argmax(dim=-1).tolist()  # [B,K]
        return [Generation([], text=self._write(levels)) for levels in chosen]

    def wanted(self, record: Record) -> list[tuple[int, ...]]:
        """Classes of every pair: of severity, of change and of severity in the prior, as far as they are read."""
        if record.get("statements") is None:
            raise ValueError(f"study {record['study_id']} has no `statements` to classify")
        now, before = self._labels(record["statements"]), None
        if self.outline_before is not None and record.get("prior_statements") is not None:
            before = self._labels(record["prior_statements"])
        columns = [[now.get(pair, (0, 0))[number] for pair in self.classes] for number in range(min(len(self.sizes), 2))]
        if self.outline_before is not None:
            columns.append([_UNKNOWN if before is None else before.get(pair, (0, 0))[0] for pair in self.classes])
        return list(zip(*columns, strict=True))

    @staticmethod
    def _labels(statements: Sequence[Record]) -> dict[tuple[str, str | None], tuple[int, int]]:
        """Pair of finding and side -> class of severity and class of change."""
        classes: dict[tuple[str, str | None], tuple[int, int]] = {}
        for said in statements:
            level = LEVELS.index(said["severity"]) if said["severity"] in LEVELS[1:] else 2
            gone = said["change"] in _GONE
            labels = (0 if gone else level, CHANGES.index("gone" if gone else said["change"]))
            for side in _BOTH if said["side"] == "bilateral" else (said["side"],):
                classes[said["finding"], side] = labels
        return classes

    def _seen(self, statements: Sequence[Record], side: int) -> Tensor:
        """Which cells of a grid show which pair of finding and side, [side,side,K] of 0 and 1."""
        seen = torch.zeros(side, side, len(self.classes), dtype=torch.long)
        for said in statements:
            cells = footprint(said["cells"], side)
            halves = {"right": cells[:, : side // 2], "left": cells[:, side // 2 :]}
            for number, (name, where) in enumerate(self.classes):
                if name != said["finding"]:
                    continue
                if said["side"] != "bilateral" and where == said["side"]:
                    seen[:, :, number] = cells
                elif said["side"] == "bilateral":
                    start = 0 if where == "right" else side // 2
                    seen[:, start : start + halves[where].shape[1], number] = halves[where]
        return seen

    def _write(self, levels: list[int]) -> str:
        found = {pair: LEVELS[level] for pair, level in zip(self.classes, levels, strict=True) if level}
        sentences = []
        for (name, side), severity in found.items():
            if side == "left" and (name, "right") in found:
                continue
            where = "bilateral" if side == "right" and (name, "left") in found else side
            sentences.append(" ".join(word for word in (severity, where, name.lower()) if word).capitalize() + ".")
        return " ".join(sentences) or "No abnormality."
