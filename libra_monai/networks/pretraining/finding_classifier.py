# SPDX-License-Identifier: Apache-2.0
"""Classification of findings by side, severity and change: pre-training before any text, and a baseline by itself.

It stands in the language model's place and learns from the `statements` of the records, so that the same
trainer, evaluator and metrics serve it. Its "report" lists what it sees in short sentences.
"""

from __future__ import annotations

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


@register("language", "finding_classifier")
class FindingClassifier(nn.Module):
    """Three readers over the visual tokens, each giving a severity and a change for every finding and side.

    The reader of places has its own weights for every token, so that it quickly learns what small things look
    like and where they lie. The reader by attention asks one question per finding and side of all tokens, as a
    connector and a language model will; alone it took many times as long on phantom studies (docs/log.md). The
    reader of the mean makes the encoder carry the same knowledge into all its tokens. Behind a connector that looks
    at the prior, changes make it compare, which learning to write alone takes very long to bring about.

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
        self.hidden_size, self.num_tokens = hidden_size, num_tokens
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

    def forward(self, batch: StudyBatch, slots: dict[str, Tensor]) -> LanguageOutput:
        """Cross entropy of severity and change over all pairs of finding and side, the mean of the readers.

        Args:
            batch: its records carry `statements`.
            slots: `image` -> [B,T,H].

        Raises:
            ValueError: a record has no `statements`.
        """
        readers = self.read(slots)
        wanted = torch.tensor([self._wanted(record) for record in batch.records], device=readers[0].device)  # [B,K,2]
        losses = []
        for reader in readers:
            parts = reader.flatten(0, 1).float().split(self.sizes, dim=-1)
            labels = wanted.flatten(0, 1).unbind(dim=-1)[: len(parts)]
            losses += [F.cross_entropy(p, label, reduction="sum") for p, label in zip(parts, labels, strict=True)]
        return LanguageOutput(sum(losses) / len(readers), torch.tensor(wanted.numel(), device=wanted.device))

    @torch.no_grad()
    def generate(self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding) -> list[Generation]:
        """A list of the findings seen, as text; decoding options do not apply."""
        chosen = self.read(slots)[0][..., : len(LEVELS)].argmax(dim=-1).tolist()  # [B,K]
        return [Generation([], text=self._write(levels)) for levels in chosen]

    def _wanted(self, record: Record) -> list[tuple[int, int]]:
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

    def _write(self, levels: list[int]) -> str:
        found = {pair: LEVELS[level] for pair, level in zip(self.classes, levels, strict=True) if level}
        sentences = []
        for (name, side), severity in found.items():
            if side == "left" and (name, "right") in found:
                continue
            where = "bilateral" if side == "right" and (name, "left") in found else side
            sentences.append(" ".join(word for word in (severity, where, name.lower()) if word).capitalize() + ".")
        return " ".join(sentences) or "No abnormality."
