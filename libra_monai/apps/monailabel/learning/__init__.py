# SPDX-License-Identifier: Apache-2.0
"""From corrections to served weights: versions of reports, scores, orders, trainings, and the decision which weights serve."""
