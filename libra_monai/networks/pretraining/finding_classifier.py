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

from libra_monai.registry import register
from libra_monai.types import IMAGE_SLOT, Decoding, Generation, LanguageOutput, Record, StudyBatch

LEVELS = (None, "small", "moderate", "large")  # class 0: absent; findings without severity use class 2
CHANGES = (None, "new", "worsened", "improved", "stable", "gone")  # class 0: nothing said, or no prior
_GONE = ("resolved", "removed")
_BOTH = ("right", "left")


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

    Args:
        hidden_size: H of the tokens.
        num_tokens: T, their number.
        findings: names as in the records' `statements`.
        midline: those of them that have no side.
        changes: also read what became of each since the prior; for connectors that look at it.
        place_width: width the tokens are reduced to before the reader of places.
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
    ) -> None:
        super().__init__()
        self.hidden_size, self.num_tokens, self.side = hidden_size, num_tokens, math.isqrt(num_tokens)
        self.classes = [(name, side) for name in findings for side in ((None,) if name in midline else _BOTH)]
        self.sizes = (len(LEVELS), len(CHANGES)) if changes else (len(LEVELS),)
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
        """Cross entropy of severity and change over all pairs of finding and side, the mean of the readers.

        Args:
            batch: its records carry `statements`.
            slots: `image` -> [B,T,H].

        Raises:
            ValueError: a record has no `statements`.
        """
        readers = self.read(slots)
        wanted = torch.tensor([self.wanted(record) for record in batch.records], device=readers[0].device)  # [B,K,2]
        loss = sum(self._loss(reader, wanted) for reader in readers) / len(readers)
        if self.side**2 == self.num_tokens and all("cells" in said for record in batch.records for said in record["statements"]):
            seen = torch.stack([self._seen(record, self.side * _PARTS) for record in batch.records]).to(wanted.device)
            loss = loss + self._loss_here(slots, wanted, seen)
        return LanguageOutput(loss, torch.tensor(wanted.numel(), device=wanted.device))

    def _loss_here(self, slots: dict[str, Tensor], wanted: Tensor, seen: Tensor) -> Tensor:
        """Loss of the readers that ask each token about its own part: of what is seen there, and in which of its quarters.

        Args:
            slots: `image` -> [B,T,H].
            wanted: classes of severity and change [B,K,2].
            seen: quarters that show a finding, [B,rows,columns,K] of 0 and 1.
        """
        quarters = seen.unflatten(2, (self.side, _PARTS)).unflatten(1, (self.side, _PARTS))  # [B,side,parts,side,parts,K]
        quarters = quarters.permute(0, 1, 3, 5, 2, 4).flatten(4).flatten(1, 2)  # [B,T,K,4]
        here = quarters.amax(dim=-1)  # [B,T,K]
        loss = self._loss(self.read_here(slots), wanted[:, None] * here[..., None], _even(here, (1,), _TOKENS_OF_A_FINDING))
        extent = _TOKENS_OF_A_FINDING * _PARTS
        weight = _even(quarters, (1, 3), extent)
        outline = F.binary_cross_entropy_with_logits(self.read_outline(slots).float(), quarters.float(), weight, reduction="sum")
        return loss / _TOKENS_OF_A_FINDING + outline / extent

    def _loss(self, logits: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Summed cross entropy of logits [...,4] or [...,4+6] against classes [...,2], weighed by [...]."""
        parts, labels = logits.float().split(self.sizes, dim=-1), wanted.unbind(dim=-1)
        pairs = zip(parts, labels, strict=False)  # where only severity is read, change is left over
        losses = (F.cross_entropy(part.flatten(0, -2), label.flatten(), reduction="none") for part, label in pairs)
        return sum((loss if weight is None else loss * weight.flatten()).sum() for loss in losses)

    @torch.no_grad()
    def generate(self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding) -> list[Generation]:
        """A list of the findings seen, as text; decoding options do not apply."""
        chosen = self.read(slots)[0][..., : len(LEVELS)].argmax(dim=-1).tolist()  # [B,K]
        return [Generation([], text=self._write(levels)) for levels in chosen]

    def wanted(self, record: Record) -> list[tuple[int, int]]:
        """Class of severity and class of change of every pair."""
        if record.get("statements") is None:
            raise ValueError(f"study {record['study_id']} has no `statements` to classify")
        classes: dict[tuple[str, str | None], tuple[int, int]] = {}
        for said in record["statements"]:
            level = LEVELS.index(said["severity"]) if said["severity"] in LEVELS[1:] else 2
            gone = said["change"] in _GONE
            labels = (0 if gone else level, CHANGES.index("gone" if gone else said["change"]))
            for side in _BOTH if said["side"] == "bilateral" else (said["side"],):
                classes[said["finding"], side] = labels
        return [classes.get(pair, (0, 0)) for pair in self.classes]

    def _seen(self, record: Record, side: int) -> Tensor:
        """Which cells of a grid show which pair of finding and side, [side,side,K] of 0 and 1."""
        seen = torch.zeros(side, side, len(self.classes), dtype=torch.long)
        for said in record["statements"]:
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
