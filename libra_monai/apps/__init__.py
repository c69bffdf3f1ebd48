# SPDX-License-Identifier: Apache-2.0
"""Command line, MONAI Label app, listener. Each command is one module with `arguments` and `run`."""
