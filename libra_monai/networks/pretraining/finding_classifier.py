# SPDX-License-Identifier: Apache-2.0
"""Classification of findings by side and severity: encoder pre-training, and a report baseline by itself.

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
_GONE = ("resolved", "removed")
_BOTH = ("right", "left")


@register("language", "finding_classifier")
class FindingClassifier(nn.Module):
    """Three readers over the visual tokens, each giving a severity for every finding and side.

    The reader of places has its own weights for every token, so that it quickly learns what small things look
    like and where they lie. The reader by attention asks one question per finding and side of all tokens, as a
    connector and a language model will; alone it took many times as long on phantom studies (docs/log.md). The
    reader of the mean makes the encoder carry the same knowledge into all its tokens.

    Args:
        hidden_size: H of the tokens.
        num_tokens: T, their number.
        findings: names as in the records' `statements`.
        midline: those of them that have no side.
        place_width: width the tokens are reduced to before the reader of places.
    """

    takes = "states"

    def __init__(
        self,
        hidden_size: int,
        num_tokens: int,
        findings: Sequence[str],
        midline: Sequence[str] = (),
        place_width: int = 32,
    ) -> None:
        super().__init__()
        self.hidden_size, self.num_tokens = hidden_size, num_tokens
        self.classes = [(name, side) for name in findings for side in ((None,) if name in midline else _BOTH)]
        outputs = len(self.classes) * len(LEVELS)
        self.norm = nn.LayerNorm(hidden_size)
        self.reduce = nn.Linear(hidden_size, place_width)
        self.places = nn.Linear(num_tokens * place_width, outputs)
        self.keys = nn.Linear(hidden_size, hidden_size)
        self.queries = nn.Parameter(torch.randn(len(self.classes), hidden_size) * 0.02)
        self.answers = nn.Parameter(torch.randn(len(self.classes), hidden_size, len(LEVELS)) * hidden_size**-0.5)
        self.mean_norm = nn.LayerNorm(hidden_size)
        self.mean = nn.Linear(hidden_size, outputs)
        nn.init.normal_(self.places.weight, std=0.01)
        self.embed = nn.Identity()

    def levels(self, slots: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of severity by the readers of places, by attention and of the mean, [B,K,4] each for K pairs.

        Args:
            slots: `image` -> [B,T,H].
        """
        tokens = slots[IMAGE_SLOT]
        known = self.norm(tokens)  # [B,T,H]
        shape = (len(self.classes), len(LEVELS))
        places = self.places(self.reduce(known).flatten(1)).unflatten(-1, shape)
        attention = (self.queries @ self.keys(known).transpose(1, 2)).softmax(dim=-1)  # [B,K,T]
        asked = torch.einsum("bkh,khl->bkl", attention @ known, self.answers)
        mean = self.mean(self.mean_norm(tokens.mean(dim=1))).unflatten(-1, shape)
        return places, asked, mean

    def forward(self, batch: StudyBatch, slots: dict[str, Tensor]) -> LanguageOutput:
        """Cross entropy over all pairs of finding and side, the mean of the readers.

        Args:
            batch: its records carry `statements`.
            slots: `image` -> [B,T,H].

        Raises:
            ValueError: a record has no `statements`.
        """
        readers = self.levels(slots)
        wanted = torch.tensor([self._wanted(record) for record in batch.records], device=readers[0].device)
        losses = [F.cross_entropy(r.flatten(0, 1).float(), wanted.flatten(), reduction="sum") for r in readers]
        return LanguageOutput(sum(losses) / len(losses), torch.tensor(wanted.numel(), device=wanted.device))

    @torch.no_grad()
    def generate(self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding) -> list[Generation]:
        """A list of the findings seen, as text; decoding options do not apply."""
        chosen = self.levels(slots)[0].argmax(dim=-1).tolist()  # [B,K]
        return [Generation([], text=self._write(levels)) for levels in chosen]

    def _wanted(self, record: Record) -> list[int]:
        if record.get("statements") is None:
            raise ValueError(f"study {record['study_id']} has no `statements` to classify")
        present: dict[tuple[str, str | None], int] = {}
        for said in record["statements"]:
            if said["change"] not in _GONE:
                level = LEVELS.index(said["severity"]) if said["severity"] in LEVELS[1:] else 2
                for side in _BOTH if said["side"] == "bilateral" else (said["side"],):
                    present[said["finding"], side] = level
        return [present.get(pair, 0) for pair in self.classes]

    def _write(self, levels: list[int]) -> str:
        found = {pair: LEVELS[level] for pair, level in zip(self.classes, levels, strict=True) if level}
        sentences = []
        for (name, side), severity in found.items():
            if side == "left" and (name, "right") in found:
                continue
            where = "bilateral" if side == "right" and (name, "left") in found else side
            sentences.append(" ".join(word for word in (severity, where, name.lower()) if word).capitalize() + ".")
        return " ".join(sentences) or "No abnormality."
