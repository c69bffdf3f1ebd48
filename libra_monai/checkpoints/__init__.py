# SPDX-License-Identifier: Apache-2.0
"""Model folders: saving, loading, and reports from a loaded model."""

from libra_monai.checkpoints.card import published_folder, read_card
from libra_monai.checkpoints.folder import assemble, load_weights, save_model
from libra_monai.checkpoints.loaded import LoadedModel, load_pretrained

__all__ = ["LoadedModel", "assemble", "load_pretrained", "load_weights", "published_folder", "read_card", "save_model"]
