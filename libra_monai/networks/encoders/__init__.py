# SPDX-License-Identifier: Apache-2.0
"""Pixels to layer features; importing this room registers the built-in encoders."""

from libra_monai.networks.encoders.dinov2 import Dinov2Encoder

__all__ = ["Dinov2Encoder"]
