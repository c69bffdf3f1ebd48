# SPDX-License-Identifier: Apache-2.0
"""Current and prior features to language-model tokens; importing this room registers the built-in connectors."""

from libra_monai.networks.connectors.linear import LinearConnector
from libra_monai.networks.connectors.mlp import MlpConnector
from libra_monai.networks.connectors.tac import TemporalAlignmentConnector

__all__ = ["LinearConnector", "MlpConnector", "TemporalAlignmentConnector"]
