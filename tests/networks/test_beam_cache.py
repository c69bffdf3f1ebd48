# SPDX-License-Identifier: Apache-2.0
"""Beams of a study share its prompt: the same keys and values as the library's cache, without copying the prompt."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from libra_monai.networks.language import beam_cache
from libra_monai.networks.language.beam_cache import ForkedLayer, fork


def _read(seed=0):
    torch.manual_seed(seed)
    cache = DynamicCache()
    for layer in range(2):
        cache.update(torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4), layer)
    return cache


def test_forked_layers_hold_what_the_library_would_hold(monkeypatch):
    monkeypatch.setattr(beam_cache, "_ROOM", 4)  # room is made anew on the way
    plain, forked = _read(), _read()
    plain.batch_repeat_interleave(3)
    fork(forked, 3)
    for step in range(11):
        torch.manual_seed(step)
        for layer in range(2):
            new = torch.randn(6, 3, 1, 4), torch.randn(6, 3, 1, 4)
            for ours, theirs in zip(forked.update(*new, layer), plain.update(*new, layer), strict=True):
                assert torch.equal(ours, theirs)
        order = torch.cat([torch.randint(0, 3, (3,)), torch.randint(3, 6, (3,))])
        plain.reorder_cache(order), forked.reorder_cache(order)
        assert forked.get_seq_length() == plain.get_seq_length() == 6 + step
    assert all(isinstance(layer, ForkedLayer) for layer in forked.layers)


def test_a_step_copies_no_prompt():
    cache = _read()
    fork(cache, 3)
    layer = cache.layers[0]
    place, prompt = layer.keys.data_ptr(), layer.keys.clone()
    for _ in range(20):
        cache.update(torch.randn(6, 3, 1, 4), torch.randn(6, 3, 1, 4), 0)
        cache.reorder_cache(torch.tensor([1, 0, 2, 5, 5, 3]))
        assert layer.keys.data_ptr() == place
    assert torch.equal(layer.keys[:, :, :5], prompt)


def test_layers_of_another_kind_are_left_to_the_library():
    cache = _read()

    class Other(type(cache.layers[0])):
        pass

    cache.layers[1].__class__ = Other
    fork(cache, 2)
    assert not any(isinstance(layer, ForkedLayer) for layer in cache.layers) and len(cache.layers[1].keys) == 4
