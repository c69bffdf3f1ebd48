# SPDX-License-Identifier: Apache-2.0
"""MONAI inferer that lets a report model write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.inferers import Inferer

from libra_monai.errors import ConfigError
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Decoding, Generation, StudyBatch, decoding_from


class ReportInferer(Inferer):
    """Write one answer a study.

    Args:
        decoding: options of generation, see `libra_monai.types.Decoding`.

    Raises:
        ConfigError: an option does not exist.
    """

    def __init__(self, decoding: Mapping[str, Any] | Decoding | None = None) -> None:
        try:
            self.decoding = decoding_from(decoding)
        except TypeError as error:
            raise ConfigError(f"decoding: {error}", "See configs/decode for presets.") from error

    @torch.no_grad()
    def __call__(self, inputs: StudyBatch, network: ReportModel, *args: Any, **kwargs: Any) -> list[Generation]:
        """What the network writes for a batch.

        Args:
            inputs: the studies, on the network's device.
            network: a report model in eval mode.
        """
        return network.generate(inputs, self.decoding) if len(inputs) else []
