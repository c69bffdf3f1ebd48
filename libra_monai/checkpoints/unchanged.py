# SPDX-License-Identifier: Apache-2.0
"""Whether a part in memory still is what its base holds: a cheap look before weights are left out of a folder.

Names are compared all, values of a few tensors. It catches a base that was replaced or changed while a run went on
(a run that goes on from its own `best`, say), and one that is not what the run started from.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from libra_monai.checkpoints.adapter_files import LORA_MARK, bare, fold_in, read_adapters, unadapted_state
from libra_monai.checkpoints.pointers import Source
from libra_monai.checkpoints.published.readers import WeightFiles, weight_files
from libra_monai.networks.sharding import named_tensors

_SAMPLES = 4
_LARGEST = 1 << 25  # elements of a tensor that is looked at; vocabularies may be larger


def is_unchanged(part: nn.Module, source: Source) -> bool:
    """Compare a part, without the LoRA it was given since, with the files of its base.

    Args:
        part: one of the three parts.
        source: where the base's weights stand.
    """
    own = unadapted_state(part)
    tied = set(getattr(bare(part), "all_tied_weights_keys", None) or ())
    files = WeightFiles(weight_files(source.weights) if source.weights.is_dir() else [source.weights])
    if set(own) - tied != set(files) - tied:
        return False
    adapters = read_adapters(source.adapters)
    for name in _samples(part, own, tied):
        mine, stored = own[name].detach().cpu(), files.tensor(name)
        base = {name: stored.to(mine.dtype)}
        fold_in(base, adapters)
        if not _equal(mine, base[name], stored, exact=not adapters):
            return False
    return True


def _samples(part: nn.Module, own: dict[str, Tensor], tied: set[str]) -> list[str]:
    """Names of a few tensors, spread over the part; of those that LoRA changes where there are some."""
    changed = {key.partition(LORA_MARK)[0] + ".weight" for key in named_tensors(bare(part)) if LORA_MARK in key}
    able = [name for name in own if name not in tied and own[name].numel() <= _LARGEST]
    return _spread([n for n in able if n in changed]) or _spread([n for n in able if own[n].dim() > 1]) or _spread(able)


def _spread(names: Sequence[str]) -> list[str]:
    step = max(len(names) / _SAMPLES, 1.0)
    return [names[int((number + 0.5) * step)] for number in range(min(_SAMPLES, len(names)))]


def _equal(mine: Tensor, base: Tensor, stored: Tensor, exact: bool) -> bool:
    """Equal as far as the float types allow: the model may be in memory in fewer bits than its files."""
    if mine.shape != base.shape:
        return False
    if exact:
        return torch.equal(mine, base) or torch.equal(mine.to(stored.dtype), stored)
    return torch.allclose(mine.float(), base.float(), rtol=1e-4, atol=1e-5 * float(base.float().abs().max()))
