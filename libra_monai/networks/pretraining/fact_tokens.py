# SPDX-License-Identifier: Apache-2.0
"""Facts as slot tokens: what a language model reads before any connector can show it pictures.

A connector says what it sees in single tokens, somewhere among many. A language model that has read findings as text only
looks for words in their order, and overlooks such tokens where they are rare. So it is trained on tokens like
theirs: one for each side of each finding of the record, the sum of what, where, how much and since when, a few
copies at random places, noise in all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from libra_monai.registry import register
from libra_monai.types import IMAGE_SLOT, Record

_SIDES = (None, "right", "left")
_SEVERITIES = (None, "small", "moderate", "large")
_CHANGES = (None, "new", "worsened", "improved", "stable", "resolved", "removed")


@register("connector", "fact_tokens")
class FactTokens(nn.Module):
    """Slot tokens from the `statements` of the records instead of from pictures; no encoder runs.

    Args:
        hidden_size: H of the language model.
        findings: names as in the records' `statements`.
        num_tokens: T, as many as the connector will hand out that takes its place.
        copies: most places that show one fact.
        noise: deviation of the noise on every token, at most; each study draws its own.
    """

    views = ()
    takes_records = True

    def __init__(
        self, hidden_size: int, findings: Sequence[str], num_tokens: int = 64, copies: int = 4, noise: float = 0.5
    ) -> None:
        super().__init__()
        self.hidden_size, self.findings, self.num_tokens = hidden_size, list(findings), num_tokens
        self.copies, self.noise = copies, noise
        sizes = (len(self.findings), len(_SIDES), len(_SEVERITIES), len(_CHANGES))
        self.tables = nn.ModuleList(nn.Embedding(size, hidden_size) for size in sizes)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.5)
        self.nothing = nn.Parameter(torch.zeros(hidden_size))

    def forward(
        self, features: None, index: dict[str, Tensor], embed: nn.Module, records: Sequence[Record] = ()
    ) -> dict[str, Tensor]:
        """Tokens of B studies.

        Args:
            features: not used.
            index, embed: not used.
            records: the B records.

        Returns:
            `image` -> [B,T,H].

        Raises:
            ValueError: a record has no `statements`.
        """
        return {IMAGE_SLOT: torch.stack([self._study(record) for record in records])}

    def _study(self, record: Record) -> Tensor:
        if record.get("statements") is None:
            raise ValueError(f"study {record['study_id']} has no `statements` to show")
        tokens = self.nothing.expand(self.num_tokens, -1).clone()  # [T,H]
        facts = [row for said in record["statements"] for row in self._rows(said)]
        if facts:
            shown = torch.tensor(facts, device=self.nothing.device)
            shown = shown.repeat_interleave(torch.randint(1, self.copies + 1, (len(facts),)).to(shown.device), dim=0)
            places = torch.randperm(self.num_tokens, device=shown.device)[: len(shown)]
            values = sum(table(shown[: len(places), i]) for i, table in enumerate(self.tables))
            tokens = tokens.index_copy(0, places, values)
        scale = torch.rand((), device=tokens.device) * self.noise if self.training else 0.0
        return tokens + scale * torch.randn_like(tokens)

    def _rows(self, said: Record) -> list[tuple[int, int, int, int]]:
        """One row of table entries for each side of a statement."""
        sides = ("right", "left") if said["side"] == "bilateral" else (said["side"],)
        what = self.findings.index(said["finding"])
        return [
            (what, _SIDES.index(side), _SEVERITIES.index(said["severity"]), _CHANGES.index(said["change"])) for side in sides
        ]
