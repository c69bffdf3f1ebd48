# SPDX-License-Identifier: Apache-2.0
"""Blinded reader studies: which of two drafts does a reader prefer, and what is wrong with each."""
