# SPDX-License-Identifier: Apache-2.0
"""Keys and values of beams that begin alike.

Beams of a study share its prompt, which is far longer than the report. The library's cache copies all of it twice a token, once to append
and once to put the beams into their new order. Here a token is written into room kept free behind the others, and only what
the beams have written themselves is put in order.
"""

from __future__ import annotations

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 128  # places added at a time


def fork(cache: Cache, beams: int) -> None:
    """Repeat each row of a cache for its beams; layers other than plain ones are repeated by the library.

    Args:
        cache: of B prompts that were read; changed in place to B*beams rows.
        beams: rows a prompt.
    """
    if all(type(layer) is DynamicLayer and layer.is_initialized for layer in cache.layers):
        cache.layers = [ForkedLayer(layer.keys, layer.values, beams) for layer in cache.layers]
    else:
        cache.batch_repeat_interleave(beams)


class ForkedLayer(DynamicLayer):
    """One layer; rows of one prompt stand together, and are only ever put in order among themselves. With one beam it serves to add
    tokens without copying.

    Args:
        keys, values: [B,heads,S,d] of the prompts.
        beams: rows a prompt.
    """

    def __init__(self, keys: Tensor, values: Tensor, beams: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.hold(keys.repeat_interleave(beams, dim=0), values.repeat_interleave(beams, dim=0))

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Hold these [N,heads,S,d] and nothing else."""
        self.begun = self.length = keys.shape[-2]
        self._buffers = [_with_room(x) for x in (keys, values)]
        self._look()

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Write new places [B*beams,heads,q,d] behind the others; all keys and values."""
        end = self.length + key_states.shape[-2]
        while end > self._buffers[0].shape[-2]:
            self._buffers = [_with_room(x) for x in self._buffers]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, self.length : end] = new
        self.length = end
        self._look()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put what the beams have written into the order of the rows they go on from."""
        for buffer in self._buffers:
            written = buffer[:, :, self.begun : self.length]
            written.copy_(written.index_select(0, beam_idx.to(buffer.device)))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        self._buffers = [buffer.index_select(0, indices.to(buffer.device)) for buffer in self._buffers]
        self._look()

    def _look(self) -> None:
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self._buffers)


def _with_room(states: Tensor) -> Tensor:
    rows, heads, length, width = states.shape
    buffer = states.new_empty(rows, heads, length + _ROOM, width)
    buffer[:, :, :length] = states
    return buffer
