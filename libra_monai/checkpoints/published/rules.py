# SPDX-License-Identifier: Apache-2.0
"""Which template, padding and number of beginnings a bare checkpoint was made with.

The original decides by the folder's name. Here a table decides by what the configuration says: vision tower,
connector, family and vocabulary. `libra-monai import-weights` prints the row it took, and every choice can be
overridden there. Sources: the notes of each row; specification in docs/published-weights.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)
_LLAMA_3 = 128_256  # tokens of Llama 3


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Args:
        what: the row in words.
        fits: whether it is the row of (tower, connector, family, vocabulary).
        settings: of the processor.
    """

    what: str
    fits: Callable[[str, str, str, int], bool]
    settings: Mapping[str, Any] = field(default_factory=dict)


RULES = (
    Rule(
        "TAC on a Llama 3 vocabulary (Libra-3B): header in capitals, one beginning, grey padding",
        lambda tower, connector, family, vocabulary: connector == "TAC" and vocabulary >= _LLAMA_3,
        {"template": "libra_llama_3", "num_bos": 1, "fill": 135},
    ),
    Rule(
        "TAC on any other vocabulary (Libra-7B): black padding as in training",
        lambda tower, connector, family, vocabulary: connector == "TAC",
        {"template": "libra_v1", "fill": 0},
    ),
    Rule(
        "RAD-DINO with a four-layer MLP (MAIRA-2)",
        lambda tower, connector, family, vocabulary: "dino" in tower and connector == "mlp4x_gelu",
        {"template": "maira_2", "prompt": "findings_maira"},
    ),
    Rule(
        "BiomedCLIP through open_clip (LLaVA-Rad)",
        lambda tower, connector, family, vocabulary: "biomedclip" in tower or tower.startswith("hf-hub:"),
        {"template": "v1"},
    ),
    Rule(
        "CLIP with an MLP on Mistral (LLaVA-Med)",
        lambda tower, connector, family, vocabulary: "clip" in tower and family == "mistral",
        {"template": "llava_med_v1_5_mistral_7b"},
    ),
    Rule(
        "CLIP with an MLP on Llama (Med-CXRGen)",
        lambda tower, connector, family, vocabulary: "clip" in tower and connector.startswith("mlp"),
        {"template": "libra_v0"},
    ),
)
_OTHERWISE = Rule("none of the published ones; Libra-7B's settings", lambda *_: True, {"template": "libra_v1", "fill": 0})


def choose_rule(config: Mapping[str, Any], family: str) -> Rule:
    """The row for a published configuration; a warning if there is none.

    Args:
        config: published `config.json`.
        family: of the language model, such as `llama`.
    """
    tower = str(config.get("mm_vision_tower") or "").lower()
    connector = str(config.get("mm_projector_type") or "linear")
    vocabulary = int(config.get("vocab_size") or 0)
    for rule in RULES:
        if rule.fits(tower, connector, family, vocabulary):
            return rule
    logger.warning("no rule fits tower '%s', connector '%s', family '%s'", tower, connector, family)
    return _OTHERWISE
