# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints and ours: names, layouts, reading, import and export."""
