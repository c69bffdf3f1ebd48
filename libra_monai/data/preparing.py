# SPDX-License-Identifier: Apache-2.0
"""From the studies of any source to a datalist with a manifest: filters that are counted, and checks that are shown.

Used by all `libra-monai prepare` commands. The steps: identifiers, splits, pictures, equal pictures, priors, texts.
Every study that falls out is listed with its reason in `dropped.csv`. Nothing is drawn at random and no clock is
read, so a second run writes the same bytes. A patient keeps its split when others are added.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from libra_monai import __version__
from libra_monai.data.chronology import Choice, PriorRule, choose_priors, to_record
from libra_monai.data.schema import PRIVACY, SPLITS
from libra_monai.data.sources.content import CHECKS, Content, examine, judged
from libra_monai.data.sources.manifest import Dropped, Manifest, failed_checks, gap_histogram, group_hash
from libra_monai.data.studies import NOT_FRONTAL, SECTIONS, Study, StudyImage, frontal_rank
from libra_monai.errors import ConfigError, did_you_mean
from libra_monai.registry import find

SHARES = {"training": 0.8, "validation": 0.1, "test": 0.1}
_FIRST = ("test", "validation", "training")  # of a patient or picture in two splits the first of these keeps it


@dataclass(frozen=True)
class PrepareOptions:
    """What is kept, and how texts are cleaned.

    Args:
        source: name of the source, for the manifest.
        limit: only the first studies of the source.
        splits: shares by which patients without a split are assigned, by a hash of their identifier.
        cleaners: names of report cleaners, applied to each section in this order.
        require: sections of which a study must have at least one after cleaning; empty: none.
        min_words: words that a section of `require` must have to count.
        check: how pictures are looked at: `exists`, `content` or `pixels`.
        privacy: what the datalist says of its content: `synthetic`, `de-identified` or `identifiable`.
        hide: characteristics of patients that are left out of the records.

    Raises:
        ConfigError: an option makes no sense.
    """

    source: str = "studies"
    limit: int | None = None
    splits: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    cleaners: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    min_words: int = 1
    check: str = "content"
    privacy: str = PRIVACY[-1]
    hide: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for value, known, what in (
            *((name, SECTIONS, "section") for name in self.require),
            *((name, SPLITS, "split") for name in self.splits),
            (self.check, CHECKS, "check"),
            (self.privacy, PRIVACY, "privacy"),
        ):
            if value not in known:
                raise ConfigError(f"{what} '{value}' does not exist", did_you_mean(str(value), known))
        shares = self.splits.values()
        if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"splits {dict(self.splits)} are not shares that sum to 1", "Example: training=0.9,test=0.1")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit {self.limit} leaves no study", "Give 1 or more, or leave it out.")


def prepare(
    studies: Iterable[Study],
    out: str | Path,
    options: PrepareOptions | None = None,
    sources: Sequence[tuple[str, str]] = (),
    rule: PriorRule | None = None,
    data_root: str | Path | None = None,
    notes: Mapping[str, int] | None = None,
    skipped: Sequence[tuple[str, str]] = (),
    dry_run: bool = False,
) -> Manifest:
    """Filter, pair and write studies.

    Args:
        studies: of a source.
        out: folder of `datalist.json`, `manifest.json` and `dropped.csv`.
        options: what is kept.
        sources: (path, sha256) of the tables that were read.
        rule: how priors are chosen.
        data_root: folder that the pictures' paths are relative to; default `out`.
        notes: what the source noted, reason -> count; read after `studies` is used up.
        skipped: (path, reason) of files that the source left aside; read as late.
        dry_run: write nothing.

    Raises:
        ConfigError: an option makes no sense, or no study is left.
    """
    options = options or PrepareOptions()
    cleaners = [find("cleaner", name) for name in options.cleaners]
    work = _Preparation(options, rule or PriorRule(), Path(out if data_root is None else data_root))
    work.read(studies)
    work.keep_first_of_each_id()
    work.assign_splits()
    work.look_at_pictures()
    work.pair()
    work.clean_texts(cleaners)
    work.dropped += [Dropped("file", None, path, "read from the source", reason) for path, reason in skipped]
    manifest = work.manifest(sources, notes or {})
    if not dry_run:
        manifest.write(out)
    return manifest


@dataclass
class _Preparation:
    """The studies between the steps."""

    options: PrepareOptions
    rule: PriorRule
    root: Path
    studies: list[Study] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    explained: dict[str, Choice] = field(default_factory=dict)
    found: dict[str, Content] = field(default_factory=dict)
    flow: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def read(self, studies: Iterable[Study]) -> None:
        self.studies = list(islice(studies, self.options.limit))
        self._count("read from the source", self.studies)

    def keep_first_of_each_id(self) -> None:
        """Drop studies without an id, and all but the first of each id."""
        seen: set[str] = set()
        kept = []
        for study in self.studies:
            if not study.study_id or study.study_id in seen:
                self._drop(study, "unique study id", "no study id" if not study.study_id else "the study id stands twice")
                continue
            seen.add(study.study_id)
            kept.append(study)
        self.studies = kept
        self._count("unique study id", kept)

    def assign_splits(self) -> None:
        """Give every patient one split; of a patient in two, studies outside the first of test, validation, training go."""
        given: dict[str, set[str]] = {}
        for study in self.studies:
            if study.split is not None and study.split not in SPLITS:
                raise ConfigError(f"study '{study.study_id}': split '{study.split}' does not exist", did_you_mean(study.split, SPLITS))
            given.setdefault(_patient(study), set()).update({study.split} - {None})
        kept = []
        for study in self.studies:
            known = given[_patient(study)]
            split = next((name for name in _FIRST if name in known), None) or self._hashed_split(_patient(study))
            if study.split not in (None, split):
                self.counts["patients_in_two_splits"] += 1
                self._drop(study, "patients in one split", f"its patient is also in split {split}")
                continue
            kept.append(study if study.split == split else replace(study, split=split))
        self.studies = kept
        self._count("patients in one split", kept)

    def look_at_pictures(self) -> None:
        """Mark pictures that do not open, and repeats of a picture, as not usable."""
        self.found = examine(self.studies, self.root, self.options.check)
        self.studies = [judged(study, self.found) for study in self.studies]
        self._mark_repeats()
        for study in self.studies:
            for image in study.images:
                if not image.usable:
                    self.counts["pictures_not_usable"] += 1
                    self.dropped.append(Dropped("image", study, image.path, "usable pictures", image.reason or "not usable"))
        self._count("usable pictures", self.studies)

    def _mark_repeats(self) -> None:
        first: dict[str, tuple[Study, StudyImage]] = {}
        order = {name: rank for rank, name in enumerate(_FIRST)}
        repeats: dict[tuple[str, str], str] = {}
        for study in sorted(self.studies, key=lambda s: (order[s.split], s.time is None, str(s.time), s.order or 0.0, s.study_id)):
            for image in sorted(study.images, key=lambda i: (i.image_id, i.path)):
                key = self.found[image.path].key if image.usable else None
                if key is None:
                    continue
                other, _ = first.setdefault(key, (study, image))
                if first[key][1] is image:
                    continue
                self.counts["pictures_repeated"] += 1
                self.counts["pictures_in_two_splits"] += other.split != study.split
                repeats[study.study_id, image.path] = f"same picture as in study {other.study_id} ({other.split})"
        if repeats:
            self.studies = [_without(study, repeats) for study in self.studies]

    def pair(self) -> None:
        """Choose the current picture and the prior of every study by the rule."""
        choices = choose_priors(self.studies, self.rule)
        self.explained = {choice.study.study_id: choice for choice in choices}
        for choice in choices:
            self.counts["patient_mismatches"] += len(choice.warnings)
            if choice.current is not None:
                self.choices.append(choice)
                continue
            reasons = sorted({i.reason for i in choice.study.images if not i.usable and i.reason and frontal_rank(i.view) != NOT_FRONTAL})
            self._drop(choice.study, "usable frontal picture", "; ".join(reasons) or "no frontal picture")
        self._count("usable frontal picture", [choice.study for choice in self.choices])

    def clean_texts(self, cleaners: list[Callable[[str], str]]) -> None:
        """Clean the sections of all studies, priors included, and drop those that say too little."""
        cleaned = {choice.study.study_id: _cleaned(choice.study, cleaners) for choice in self.choices} if cleaners else {}
        kept = []
        for choice in self.choices:
            choice.study = cleaned.get(choice.study.study_id, choice.study)
            choice.earlier = [(cleaned.get(s.study_id, s) if cleaners else s, i, gap) for s, i, gap in choice.earlier]
            lengths = [len((choice.study.sections.get(name) or "").split()) for name in self.options.require]
            if lengths and max(lengths) < max(self.options.min_words, 1):
                texts = " or ".join(self.options.require)
                self._drop(choice.study, "text", f"{max(lengths)} words of {texts}, fewer than {max(self.options.min_words, 1)}")
                continue
            kept.append(choice)
        self.choices = kept
        self._count("text", [choice.study for choice in kept])

    def manifest(self, sources: Sequence[tuple[str, str]], notes: Mapping[str, int]) -> Manifest:
        """What was made of the source: datalist, counts per filter, dropped rows, checks.

        Args:
            sources: name and hash of every table that was read.
            notes: what a user should know of the source: reason -> count.

        Raises:
            ConfigError: no study is left.
        """
        if not self.choices:
            reason = Counter(row.reason for row in self.dropped).most_common(1)
            why = f"; the most frequent reason: {reason[0][0]}" if reason else ""
            raise ConfigError(f"no study is left of {self.flow[0]['studies']}{why}", "Check the source and the options.")
        datalist = self._datalist()
        content = {
            "builder": {"package": "libra-monai", "version": __version__, "source": self.options.source},
            "options": _plain(asdict(self.options)),
            "prior_rule": _plain(asdict(self.rule)),
            "sources": [{"path": path, "sha256": sha256} for path, sha256 in sources],
            "pictures": group_hash(self.found),
            "flow": self.flow,
            "splits": {name: len(datalist[name]) for name in SPLITS},
            "notes": {reason: count for reason, count in sorted(notes.items()) if count},
            "counts": {name: count for name, count in sorted(self.counts.items()) if count},
            "priors": self._prior_counts(),
            "gap_hours": gap_histogram(self.choices),
            "checks": failed_checks(self.choices, self.rule),
        }
        return Manifest(content, datalist, self.dropped, self.explained)

    def _datalist(self) -> dict[str, Any]:
        datalist: dict[str, Any] = {
            "description": f"Prepared from {self.options.source} by libra-monai; prior rule {self.rule.name}.",
            "privacy": self.options.privacy,
        }
        datalist |= {split: [] for split in SPLITS}
        for choice in self.choices:
            datalist[choice.study.split].append(to_record(choice) | dict.fromkeys(self.options.hide))
        for split in SPLITS:
            datalist[split].sort(key=lambda record: (record["patient_id"] or "", record["study_id"]))
        return datalist

    def _prior_counts(self) -> dict[str, Any]:
        skipped = Counter(one["reason"].partition(" (")[0] for choice in self.choices for one in choice.skipped)
        without = [choice for choice in self.choices if choice.prior is None]
        return {
            "with_prior": len(self.choices) - len(without),
            "without_prior": len(without),
            "without_prior_share": round(len(without) / len(self.choices), 4),
            "without_prior_but_report_names_comparison": sum(choice.claims_comparison for choice in without),
            "skipped": _summed(skipped),
        }

    def _drop(self, study: Study, step: str, reason: str) -> None:
        self.dropped.append(Dropped("study", study, study.study_id, step, reason))

    def _count(self, step: str, studies: Sequence[Study]) -> None:
        before = self.flow[-1]["studies"] if self.flow else len(studies)
        self.flow.append(
            {
                "step": step,
                "studies": len(studies),
                "patients": len({_patient(study) for study in studies}),
                "pictures": sum(image.usable for study in studies for image in study.images),
                "dropped": before - len(studies),
            }
        )

    def _hashed_split(self, patient: str) -> str:
        """By a hash of the patient's identifier, so that a patient keeps its split when others are added."""
        place = int.from_bytes(hashlib.sha256(f"libra-monai split\0{patient}".encode()).digest()[:8], "big") / 2**64
        reached = 0.0
        names = [name for name in SPLITS if self.options.splits.get(name)]
        for name in names:
            reached += self.options.splits[name]
            if place < reached:
                return name
        return names[-1]


def _patient(study: Study) -> str:
    """What a split is given to: the patient, or the study alone if nobody says whose it is."""
    return study.patient_id or f"study {study.study_id}"


def _without(study: Study, repeats: Mapping[tuple[str, str], str]) -> Study:
    images = []
    for image in study.images:
        reason = repeats.get((study.study_id, image.path)) if image.usable else None
        images.append(replace(image, usable=False, reason=reason) if reason else image)
    return replace(study, images=tuple(images))


def _cleaned(study: Study, cleaners: list[Callable[[str], str]]) -> Study:
    sections = {}
    for name, text in study.sections.items():
        for clean in cleaners:
            text = clean(text) if text else text
        sections[name] = text
    return replace(study, sections=sections)


def _summed(counts: Mapping[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for reason, count in counts.items():
        total[_without_numbers(reason)] += count
    return dict(sorted(total.items()))


def _without_numbers(reason: str) -> str:
    return "further back than allowed" if "hours back" in reason else reason


def _plain(value: Any) -> Any:
    """Tuples as lists and moments as text, for JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
