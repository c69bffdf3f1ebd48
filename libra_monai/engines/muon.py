# SPDX-License-Identifier: Apache-2.0
"""An optimizer for networks that are trained from nothing in little time: Muon for matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon, Optimizer

from libra_monai.errors import ConfigError

_SMALLEST = 32  # a matrix with fewer rows or columns is a gate or a head


class MuonAdamW(Optimizer):
    """Muon on the matrices between hidden states of some parts, AdamW on everything else, as one optimizer.

    Muon makes each step of a matrix orthogonal, so that directions that are seldom asked for are learned as fast as common ones; thin
    or small things in pictures are such directions. Both are PyTorch's; Muon's rates are scaled to the size of AdamW's steps
    (`match_rms_adamw`).

    Args:
        params: groups of `parameter_groups`, whose names begin with the part they belong to.
        lr: rate of AdamW.
        matrix_lr: rate of Muon.
        parts: parts whose matrices take Muon, tables of positions and wide adapters in them too; all other parts keep AdamW.
        momentum: of Muon.

    Raises:
        ConfigError: no matrix of these parts is trained, or parameters are sharded (FSDP).

    Source: K. Jordan and others, Muon, 2024; the scale is that of arXiv 2502.16982.
    """

    def __init__(
        self,
        params: Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        matrix_lr: float = 3e-3,
        parts: Sequence[str] = ("encoder", "connector"),
        momentum: float = 0.95,
    ) -> None:
        groups: list[dict[str, Any]] = []
        for group in params:
            part = group["name"].split()[0]
            if any(isinstance(p, DTensor) for p in group["params"]):
                raise ConfigError("Muon needs whole matrices, and these are sharded", "Take `torch.optim.AdamW`, or leave system/fsdp out.")
            matrices = [p for p in group["params"] if part in parts and p.ndim == 2 and min(p.shape) >= _SMALLEST]
            taken = {id(p) for p in matrices}
            rest = [p for p in group["params"] if id(p) not in taken]
            muon = {**group, "name": f"{group['name']}, hidden", "lr": matrix_lr, "params": matrices, "muon": True}
            groups += [one for one in (muon, {**group, "params": rest, "muon": False}) if one["params"]]
        if not any(group["muon"] for group in groups):
            raise ConfigError(f"none of the parts {', '.join(parts)} has a matrix to train with Muon", "Take `torch.optim.AdamW`.")
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "muon": False})
        matrices, rest = ([group for group in self.param_groups if group["muon"] is muon] for muon in (True, False))
        # both fill these groups up with their own settings
        self._rules: dict[bool, Optimizer] = {True: Muon(matrices, adjust_lr_fn="match_rms_adamw", momentum=momentum)}
        if rest:
            self._rules[False] = AdamW(rest, fused=True)
        self._share()

    def _share(self) -> None:
        """Let both rules work on the groups and the state of this optimizer, which is what is scheduled and saved."""
        for muon, rule in self._rules.items():
            rule.param_groups = [group for group in self.param_groups if group["muon"] is muon]
            rule.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Any = None) -> Tensor | None:
        """One step of every group."""
        loss = None if closure is None else closure()
        for rule in self._rules.values():
            rule.step()
        return loss
