# SPDX-License-Identifier: Apache-2.0
"""Synthetic samples of published corpora in their exact layouts; every word, number and picture is invented."""
