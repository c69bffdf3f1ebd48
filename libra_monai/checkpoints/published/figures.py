# SPDX-License-Identifier: Apache-2.0
"""Published figures of Libra on the findings sections of the MIMIC-CXR test split, in 0..1.

Source: the README of X-iZhang/Libra (2461 studies, 10 beams, length penalty 2), by name of our metric. The
scores were made after Libra's cleaning, so its profile is used here too. METEOR, RaTEScore, RadGraph and BERTScore
are published as well; they need weights or packages and are compared where they are registered.
"""

from __future__ import annotations

from libra_monai.metrics.score import PROFILES

METRICS = PROFILES["libra"]
FIGURES: dict[str, dict[str, float]] = {
    "libra_v1": {
        "bleu_1_13a": 0.5125, "bleu_2_13a": 0.3748, "bleu_3_13a": 0.2956, "bleu_4_13a": 0.2454,
        "rouge_l_f1": 0.3666, "temporal_f1": 0.3534,
    },
    "libra_llama_3": {"bleu_1_13a": 0.505, "bleu_4_13a": 0.233, "rouge_l_f1": 0.352},
    "libra_v0": {"bleu_1_13a": 0.373, "bleu_4_13a": 0.103, "rouge_l_f1": 0.240},
}  # fmt: skip
PUBLISHED_DECODING = {
    "max_new_tokens": 1024, "num_beams": 10, "length_penalty": 2.0, "no_repeat_ngram_size": 3,
}  # fmt: skip
SMOKE_DECODING = {"max_new_tokens": 128, "no_repeat_ngram_size": 3}
