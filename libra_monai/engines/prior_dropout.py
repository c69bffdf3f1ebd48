# SPDX-License-Identifier: Apache-2.0
"""Take the prior away from some training studies, so that a model also learns to report a single one.

Without it a model meets studies without prior only among first visits, and takes the missing prior for a sign of them. The
report must lose its comparisons with the prior: phantoms say what was drawn, and are told anew; other reports lose
the sentences that claim a change (`PriorText`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import RandomizableTransform

from libra_monai.data.phantom.counterfactual import alone, told
from libra_monai.engines.prior_text import DROP, KEEP, SECTIONS, PriorText
from libra_monai.errors import ConfigError
from libra_monai.evaluation.controls import WITHHELD
from libra_monai.types import VIEWS


class RandDropPriord(RandomizableTransform):
    """Withhold the prior of a study, and all that its texts tell of it, with a probability.

    What goes is what the control `no_prior` takes away. Reports of phantoms (`statements`) say the same findings without
    a change, in the wordings of training; other references lose their claims of change. `indication` and `history` stay. A
    study whose findings or impression are nothing but claims keeps its prior. Belongs behind the reading of the pictures and before
    `RandViewsd`.

    Args:
        prob: chance of a study with a prior to lose it.
        prior_text: `drop` removes claims of change, `mask` leaves them in the text and takes no loss on them; phantoms
            are told anew with either.

    Raises:
        ConfigError: `prior_text` is neither.
    """

    def __init__(self, prob: float = 0.15, prior_text: str = DROP) -> None:
        super().__init__(prob)
        if prior_text == KEEP:
            raise ConfigError("prior_text 'keep' would teach claims without a prior", "Use 'drop' or 'mask'.")
        self.text = PriorText(prior_text)

    def __call__(self, study: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(study)
        self.randomize(None)
        if item.get("prior") is None or not self._do_transform:
            return item
        changed = item | dict.fromkeys(WITHHELD)
        said = changed.get("statements")
        if said:
            changed |= told(alone(said), any("zone" in line for line in said), self.R.randint(2**31))
        else:
            changed = self.text.cut(changed)
        if any(item.get(section) and not changed.get(section) for section in SECTIONS):
            return item
        changed["picture_paths"] = {**item.get("picture_paths", {}), "prior": None}
        record = {key: value for key, value in changed.items() if key not in (*VIEWS, "picture_paths", "record")}
        return changed | {"record": {**record, **{view: changed["picture_paths"].get(view) for view in VIEWS}}}
