# SPDX-License-Identifier: Apache-2.0
"""Pixels are the original's to the bit: the route through Pillow of Hugging Face's own processors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from libra_monai.data.processor import StudyProcessor
from libra_monai.errors import ConfigError
from libra_monai.transforms import FitSquare

from ..helpers import make_processor

RAD_DINO = {"mean": 0.5307, "std": 0.2583}
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
SHAPES = [(61, 47), (47, 61), (40, 131), (131, 40), (37, 37), (36, 36), (38, 200), (64, 65), (74, 73)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer, which every processor needs."""
    return make_processor(tmp_path_factory.mktemp("tokenizer")).tokenizer


def _grey(shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def _theirs(kind, grey, size, mean, std):
    """Float32 [C,size,size] by Hugging Face's Pillow processor, from a three-channel picture."""
    mean, std = ([v] * 3 if isinstance(v, float) else list(v) for v in (mean, std))
    processor = kind(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, resample=3, do_convert_rgb=True,
        image_mean=mean, image_std=std,
    )  # fmt: skip
    picture = Image.fromarray(np.stack([grey] * 3, axis=-1))
    return np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])


def _ours(tokenizer, grey, **settings):
    processor = StudyProcessor(tokenizer, **settings)
    square = processor.square(torch.from_numpy(grey)[None])
    assert square.dtype == torch.uint8 and square.shape == (1, processor.image_size, processor.image_size)
    return processor.normalise([square])[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "levels"), [(BitImageProcessorPil, RAD_DINO), (CLIPImageProcessorPil, CLIP)])
def test_cropped_pixels_are_bit_equal_to_the_librarys_processor(tokenizer, shape, kind, levels):
    for size in (37, 56):
        ours = _ours(tokenizer, _grey(shape), image_size=size, aspect="crop", **levels)
        theirs = _theirs(kind, _grey(shape), size, **levels)
        assert ours.dtype == torch.float32 and np.array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fill", [0, 135])
def test_padded_pixels_are_bit_equal_to_padding_before_the_librarys_processor(tokenizer, shape, fill):
    side = max(shape)
    padded = np.full((side, side), fill, np.uint8)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    padded[top : top + shape[0], left : left + shape[1]] = _grey(shape)
    ours = _ours(tokenizer, _grey(shape), image_size=37, fill=fill, **RAD_DINO)
    assert np.array_equal(ours.numpy(), _theirs(BitImageProcessorPil, padded, 37, **RAD_DINO))


@pytest.mark.parametrize("aspect", ["pad", "crop"])
def test_a_cached_square_picture_goes_through_unchanged(tokenizer, aspect):
    square = FitSquare(37, aspect=aspect)(torch.from_numpy(_grey((61, 47)))[None])
    assert torch.equal(FitSquare(37, aspect=aspect)(square), square)
    ours = _ours(tokenizer, np.asarray(square[0]), image_size=37, aspect=aspect, **RAD_DINO)
    assert np.array_equal(ours.numpy(), _theirs(BitImageProcessorPil, np.asarray(square[0]), 37, **RAD_DINO))


@pytest.mark.parametrize("levels", [RAD_DINO, CLIP])
def test_every_grey_level_is_normalised_to_the_bit(tokenizer, levels):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ours = _ours(tokenizer, grey, image_size=16, **levels)
    assert np.array_equal(ours.numpy(), _theirs(BitImageProcessorPil, grey, 16, **levels))


def test_three_means_and_the_aspect_come_back_from_the_file(tokenizer, tmp_path):
    processor = StudyProcessor(tokenizer, image_size=28, aspect="crop", **CLIP)
    processor.save(tmp_path)
    back = StudyProcessor.load(tmp_path)
    assert back.settings == processor.settings and back.settings["mean"] == list(CLIP["mean"])
    picture = torch.from_numpy(_grey((28, 28)))[None]
    assert torch.equal(back.normalise([picture]), processor.normalise([picture]))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"aspect": "square"}, "aspect 'square' does not exist. Use one of pad, crop"),
        ({"mean": [0.5, 0.5]}, "processor.mean has 2 numbers"),
        ({"std": 0.0}, "processor.std is 0.0"),
        ({"image_size": 0}, "image_size 0 is not positive"),
        ({"fill": 256}, "fill 256 is no grey level"),
        ({"fill": -1}, "fill -1 is no grey level"),
    ],
)
def test_settings_that_make_no_picture_are_refused(tokenizer, settings, says):
    with pytest.raises(ConfigError, match=says):
        StudyProcessor(tokenizer, **settings)
