# SPDX-License-Identifier: Apache-2.0
"""The MONAI Label app: drafts for readers, their corrections, and training from them."""
