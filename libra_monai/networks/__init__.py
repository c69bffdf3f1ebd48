# SPDX-License-Identifier: Apache-2.0
"""Encoders, connectors, language models, and the report model that joins them."""
