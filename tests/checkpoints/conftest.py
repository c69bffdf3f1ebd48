# SPDX-License-Identifier: Apache-2.0
"""A processor and a model folder that runs start from."""

from __future__ import annotations

import pytest

from libra_monai.checkpoints import save_model

from ..helpers import make_processor
from ..networks.conftest import make_model
from .runs import CARD


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    """A processor for the toy model."""
    return make_processor(tmp_path_factory.mktemp("tokenizer") / "t")


@pytest.fixture
def base(tmp_path, processor):
    """A model folder that holds all its weights."""
    return save_model(make_model(), processor, tmp_path / "base", CARD)
