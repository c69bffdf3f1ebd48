# SPDX-License-Identifier: Apache-2.0
"""Rows of two caches in one, and places that no row needs any more out of it.

All rows end at the last place. In a layer with a sliding window stand only the last places of it, masked ones too, as the library counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from libra_monai.errors import ConfigError
from libra_monai.networks.language.beam_cache import ForkedLayer

_KNOWN = (ForkedLayer, DynamicLayer, DynamicSlidingWindowLayer)


def join(cache: Cache, mask: Tensor, other: Cache, other_mask: Tensor) -> Tensor:
    """Put the rows of a second cache behind those of a first, which is changed in place.

    Args:
        cache: of N rows and S places.
        mask: BoolTensor[N,S].
        other: of M rows and R places, of the same model.
        other_mask: BoolTensor[M,R].

    Returns:
        the mask [N+M,max(S,R)] of the joined cache.

    Raises:
        ConfigError: the model's cache holds more than keys and values.
    """
    if not (_known(cache) and _known(other)):
        raise ConfigError("refill needs a cache of keys and values; this language model has another", "Leave `refill` off for it.")
    places = max(mask.shape[1], other_mask.shape[1])
    for layer, more in zip(cache.layers, other.layers, strict=True):
        kept = min(places, layer.sliding_window - 1) if isinstance(layer, DynamicSlidingWindowLayer) else places
        _hold(layer, places, *(torch.cat([_led(a, kept), _led(b, kept)]) for a, b in ((layer.keys, more.keys), (layer.values, more.values))))
    return torch.cat([F.pad(one, (places - one.shape[1], 0)) for one in (mask, other_mask)])


def trim(cache: Cache, mask: Tensor) -> Tensor:
    """Take the first places that are masked in all rows out of a cache, which is changed in place.

    Args:
        cache: of N rows and S places.
        mask: BoolTensor[N,S].

    Returns:
        the mask of what is left.
    """
    needless = int(mask.any(dim=0).long().argmax())
    if needless == 0 or not _known(cache):
        return mask
    places = mask.shape[1] - needless
    for layer in cache.layers:
        first = max(layer.keys.shape[-2] - places, 0)
        _hold(layer, places, layer.keys[:, :, first:], layer.values[:, :, first:])
    return mask[:, needless:]


def _known(cache: Cache) -> bool:
    return all(type(layer) in _KNOWN for layer in cache.layers)


def _hold(layer: DynamicLayer, places: int, keys: Tensor, values: Tensor) -> None:
    if isinstance(layer, ForkedLayer):
        layer.hold(keys, values)
        return
    layer.keys, layer.values = keys, values
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = places


def _led(states: Tensor, places: int) -> Tensor:
    """States [N,heads,s,d] with zeros in front, so that there are `places` of them."""
    return F.pad(states, (0, 0, places - states.shape[-2], 0))
