# SPDX-License-Identifier: Apache-2.0
"""MONAI inferer that lets a report model write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from libra_monai.errors import ConfigError
from libra_monai.inferers.refilling import RefillingInferer
from libra_monai.inferers.steering import TextSteering, pieces, steering_for, told
from libra_monai.networks.report_model import ReportModel
from libra_monai.types import Decoding, Generation, StudyBatch, decoding_from


class ReportInferer(Inferer):
    """Write one answer a study.

    Args:
        decoding: options of generation, see `libra_monai.types.Decoding`.
        processor: the model's, for options that look at the text: `stop` and `guard`.

    Raises:
        ConfigError: an option does not exist, or needs the processor and there is none.
    """

    def __init__(self, decoding: Mapping[str, Any] | Decoding | None = None, processor: Any = None) -> None:
        try:
            self.decoding = decoding_from(decoding)
        except TypeError as error:
            raise ConfigError(f"decoding: {error}", "See configs/decode for presets.") from error
        self.processor = processor
        if processor is None and (self.decoding.stop or self.decoding.guard):
            raise ConfigError("decoding.stop and decoding.guard look at the text", "Give the inferer the `processor`.")

    @torch.no_grad()
    def __call__(self, inputs: StudyBatch, network: ReportModel, *args: Any, **kwargs: Any) -> list[Generation]:
        """What the network writes for a batch.

        Args:
            inputs: the studies, on the network's device.
            network: a report model in eval mode.
        """
        if not len(inputs):
            return []
        steering = self.steering(inputs, network)
        generations = network.generate(inputs, self.decoding, steering)
        stop = self.decoding.stop
        return [told(one, self.processor, stop, steering, row) for row, one in enumerate(generations)]

    @torch.no_grad()
    def stream(self, inputs: StudyBatch, network: ReportModel) -> Iterator[str]:
        """Pieces of the text of one study as they are written; joined they are the whole text.

        Args:
            inputs: one study, on the network's device.
            network: a report model in eval mode.

        Raises:
            ConfigError: more than one study or answer, beams, or no processor.
        """
        if self.processor is None:
            raise ConfigError("a stream needs the processor", "Give the inferer the `processor`.")
        steering = self.steering(inputs, network)
        ids = network.stream(inputs, self.decoding, steering)
        yield from pieces(ids, lambda said: self.processor.decode(Generation(said)), self.decoding.stop, steering)

    def refilling(self, network: ReportModel, places: int) -> RefillingInferer:
        """The same for a stream of batches, see `RefillingInferer`.

        Args:
            network: a report model in eval mode.
            places: studies written side by side.

        Raises:
            ConfigError: the options or the language part do not allow it.
        """
        return RefillingInferer(self, network, places)

    def steering(self, inputs: StudyBatch, network: ReportModel) -> TextSteering | None:
        """What the options ask to watch in the texts of a batch, or None."""
        ends: Sequence[int] = getattr(network.language, "end_ids", ())
        return steering_for(inputs, self.decoding, self.processor, ends) if ends else None
