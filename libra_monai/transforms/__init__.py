# SPDX-License-Identifier: Apache-2.0
"""Files to pixels to tensors, as MONAI transforms."""

from libra_monai.transforms.augment import RandViewsd
from libra_monai.transforms.gate import ACCEPT_ALL, GatePolicy
from libra_monai.transforms.geometry import FitSquare
from libra_monai.transforms.reading import LoadRadiograph
from libra_monai.transforms.sections import RandDropSectionsd
from libra_monai.transforms.study import StudyPicturesd

__all__ = [
    "ACCEPT_ALL",
    "FitSquare",
    "GatePolicy",
    "LoadRadiograph",
    "RandDropSectionsd",
    "RandViewsd",
    "StudyPicturesd",
]
