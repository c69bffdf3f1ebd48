# SPDX-License-Identifier: Apache-2.0
"""Encoders, connectors, language models, and the report model that joins them."""

from libra_monai.networks.summary import parameter_table

__all__ = ["parameter_table"]
