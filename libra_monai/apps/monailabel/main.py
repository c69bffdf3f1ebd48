# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label loads of the folder given to `--app`."""

from libra_monai.apps.monailabel.app import LibraApp  # noqa: F401
