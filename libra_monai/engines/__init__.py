# SPDX-License-Identifier: Apache-2.0
"""Steps for MONAI's supervised trainer and evaluator, and the start and end of a run."""

from libra_monai.engines.change_weights import WeighChangesd
from libra_monai.engines.data import batches, chain
from libra_monai.engines.distributed import distribute
from libra_monai.engines.drafting import DraftingStep, RefillingStep, drafting_step
from libra_monai.engines.muon import MuonAdamW
from libra_monai.engines.prior_dropout import RandDropPriord
from libra_monai.engines.prior_text import PriorText, with_prior_text
from libra_monai.engines.run import finish, pick_device, pick_dtype, place, prepare
from libra_monai.engines.schedule import learning_rate_schedule, parameter_groups
from libra_monai.engines.steps import TrainingStep
from libra_monai.engines.validation import Validate

__all__ = [
    "DraftingStep",
    "MuonAdamW",
    "PriorText",
    "RandDropPriord",
    "RefillingStep",
    "TrainingStep",
    "Validate",
    "WeighChangesd",
    "batches",
    "chain",
    "distribute",
    "drafting_step",
    "finish",
    "learning_rate_schedule",
    "parameter_groups",
    "pick_device",
    "pick_dtype",
    "place",
    "prepare",
    "with_prior_text",
]
