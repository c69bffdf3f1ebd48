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
    """One attention-pooled query per finding and side, each answering with a severity.

    Args:
        hidden_size: H of the tokens it looks at.
        findings: names as in the records' `statements`.
        midline: those of them that have no side.
    """

    takes = "states"

    def __init__(self, hidden_size: int, findings: Sequence[str], midline: Sequence[str] = ()) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.classes = [(name, side) for name in findings for side in ((None,) if name in midline else _BOTH)]
        self.norm = nn.LayerNorm(hidden_size)
        self.queries = nn.Parameter(torch.randn(len(self.classes), hidden_size) * hidden_size**-0.5)
        self.heads = nn.Parameter(torch.zeros(len(self.classes), hidden_size, len(LEVELS)))
        self.bias = nn.Parameter(torch.zeros(len(self.classes), len(LEVELS)))
        self.embed = nn.Identity()

    def levels(self, slots: dict[str, Tensor]) -> Tensor:
        """Logits of severity, [B,K,4] for K pairs of finding and side.

        Args:
            slots: `image` -> [B,T,H].
        """
        tokens = self.norm(slots[IMAGE_SLOT])
        attention = torch.einsum("kh,bth->bkt", self.queries, tokens).softmax(dim=-1)
        pooled = torch.einsum("bkt,bth->bkh", attention, tokens)
        return torch.einsum("bkh,khl->bkl", pooled, self.heads) + self.bias

    def forward(self, batch: StudyBatch, slots: dict[str, Tensor]) -> LanguageOutput:
        """Cross entropy over all pairs of finding and side.

        Args:
            batch: its records carry `statements`.
            slots: `image` -> [B,T,H].

        Raises:
            ValueError: a record has no `statements`.
        """
        logits = self.levels(slots)
        wanted = torch.tensor([self._wanted(record) for record in batch.records], device=logits.device)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum")
        return LanguageOutput(loss, torch.tensor(wanted.numel(), device=logits.device))

    @torch.no_grad()
    def generate(self, batch: StudyBatch, slots: dict[str, Tensor], decoding: Decoding) -> list[Generation]:
        """A list of the findings seen, as text; decoding options do not apply."""
        chosen = self.levels(slots).argmax(dim=-1).tolist()  # [B,K]
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
