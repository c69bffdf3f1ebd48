# SPDX-License-Identifier: Apache-2.0
"""Which template, padding and number of beginnings a bare checkpoint was made with.

The original decides by the folder's name. Here a table decides by what the checkpoint holds: kind of encoder,
connector, family and vocabulary. `libra-monai import-weights` prints the row it took, and every choice can be
overridden there. Sources: the notes of each row; docs/published-weights.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)
_LLAMA_3 = 128_256  # words of Llama 3
_LLAMA_2 = range(32_000, 32_101)  # words of Llama 2, and of Meditron with its 17 additional ones


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
        lambda tower, connector, family, words: connector == "TAC" and family == "llama" and words >= _LLAMA_3,
        {"template": "libra_llama_3", "num_bos": 1, "fill": 135},
    ),
    Rule(
        "TAC on a Llama 2 vocabulary (Libra-7B): black padding as in training",
        lambda tower, connector, family, words: connector == "TAC" and words in _LLAMA_2,
        {"template": "libra_v1", "fill": 0},
    ),
    Rule(
        "DINOv2 with a four-layer MLP (MAIRA-2)",
        lambda tower, connector, family, words: tower == "dinov2" and connector == "mlp4x_gelu",
        {"template": "maira_2", "prompt": "findings_maira"},
    ),
    Rule(
        "an encoder trained through open_clip (LLaVA-Rad)",
        lambda tower, connector, family, words: tower in ("timm", "open_clip"),
        {"template": "v1"},
    ),
    Rule(
        "CLIP with a two-layer MLP on Mistral (LLaVA-Med)",
        lambda tower, connector, family, words: (tower, connector, family) == ("clip", "mlp2x_gelu", "mistral"),
        {"template": "llava_med_v1_5_mistral_7b"},
    ),
    Rule(
        "CLIP with a two-layer MLP on Llama (Med-CXRGen)",
        lambda tower, connector, family, words: (tower, connector, family) == ("clip", "mlp2x_gelu", "llama"),
        {"template": "libra_v0"},
    ),
)
_OTHERWISE = Rule("none of the published ones; Libra-7B's settings", lambda *_: True, {"template": "libra_v1", "fill": 0})


def choose_rule(config: Mapping[str, Any], family: str, tower: str) -> Rule:
    """The row for a published checkpoint; a warning if there is none.

    Args:
        config: published `config.json`.
        family: of the language model, such as `llama`.
        tower: kind of encoder, see `encoder_kind`.
    """
    connector = str(config.get("mm_projector_type") or "linear")
    words = int(config.get("vocab_size") or 0)
    for rule in RULES:
        if rule.fits(tower, connector, family, words):
            return rule
    logger.warning(
        "no rule fits encoder '%s', connector '%s', family '%s' with %d words: check --template and --fill",
        tower, connector, family, words,
    )  # fmt: skip
    return _OTHERWISE
