# SPDX-License-Identifier: Apache-2.0
"""Whole evaluations: drafts and references from files, scores by kind of study, the control suite."""
