# SPDX-License-Identifier: Apache-2.0
"""Pixels to layer features; importing this room registers the built-in encoders."""

from libra_monai.networks.encoders.clip import ClipEncoder
from libra_monai.networks.encoders.dinov2 import Dinov2Encoder
from libra_monai.networks.encoders.layered import LayeredEncoder
from libra_monai.networks.encoders.siglip import SiglipEncoder

__all__ = ["ClipEncoder", "Dinov2Encoder", "LayeredEncoder", "SiglipEncoder"]
