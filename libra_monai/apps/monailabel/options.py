# SPDX-License-Identifier: Apache-2.0
"""Options of the label app, as `libra-monai label` and MONAI Label's `--conf key value` give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from libra_monai.data.chronology import PriorRule
from libra_monai.data.schema import PRIVACY
from libra_monai.errors import ConfigError, did_you_mean

_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FOREIGN = ("server_mode",)  # MONAI Label's own


@dataclass(frozen=True)
class Options:
    """How the app runs.

    Args:
        model: model folder; None is the shipped small model.
        device, dtype: where and in which float type it runs.
        seconds: time limit of a draft from its start.
        queue: drafts that may wait.
        max_upload: megabytes of an upload.
        max_uploads: gigabytes of all uploads together.
        audit_size: megabytes at which the audit file is put aside.
        audit_keep: files put aside that are kept.
        prior_rule, max_gap: how priors are chosen, see `PriorRule`.
        dated: False trusts dates in the future, which de-identified archives have.
        privacy: of the studies: `identifiable`, `de-identified` or `synthetic`.
        refresh: seconds after which the studies are looked through again.
        store_back: drafts of an archive's studies may be stored there, when asked to; of an archive only.
        cache: gigabytes of pictures fetched from an archive that are kept.
        days, most: the worklist of an archive goes back so many days (None: no limit) and has at most so many studies.

    Raises:
        ConfigError: a value makes no sense.
    """

    model: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    seconds: float = 120.0
    queue: int = 256
    max_upload: int = 256
    max_uploads: float = 10.0
    audit_size: float = 64.0
    audit_keep: int = 8
    prior_rule: str = "default"
    max_gap: float | None = None
    dated: bool = True
    privacy: str = PRIVACY[-1]
    refresh: float = 10.0
    store_back: bool = False
    days: int | None = None
    most: int = 200
    cache: float = 10.0

    def __post_init__(self) -> None:
        for name in ("seconds", "queue", "max_upload", "max_uploads", "audit_size", "audit_keep", "refresh", "cache"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "Give a number above 0.")
        if self.privacy not in PRIVACY:
            raise ConfigError(f"privacy '{self.privacy}' does not exist", did_you_mean(self.privacy, PRIVACY))
        PriorRule(self.prior_rule, self.max_gap)

    @property
    def rule(self) -> PriorRule:
        """How priors are chosen."""
        return PriorRule(self.prior_rule, self.max_gap)

    @classmethod
    def of(cls, conf: Mapping[str, Any]) -> Options:
        """Options from texts.

        Args:
            conf: name -> text.

        Raises:
            ConfigError: an option does not exist, or its value makes no sense.
        """
        known = {one.name: one for one in fields(cls)}
        found = {}
        for name, value in conf.items():
            if name in _FOREIGN:
                continue
            if name not in known:
                raise ConfigError(f"--conf {name} does not exist", did_you_mean(name, known))
            found[name] = _value(name, value, str(known[name].type))
        return cls(**found)


def _value(name: str, value: Any, kind: str) -> Any:
    text = str(value)
    if value is None or "str" in kind:
        return None if value is None else text
    if kind == "bool":
        if text.lower() not in _YES_NO:
            raise ConfigError(f"--conf {name} {text} is neither yes nor no", "Write true or false.")
        return _YES_NO[text.lower()]
    try:
        return int(text) if kind.startswith("int") else float(text)
    except ValueError:
        raise ConfigError(f"--conf {name} {text} is no number", "Write a number.") from None
