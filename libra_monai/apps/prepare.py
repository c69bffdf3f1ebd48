# SPDX-License-Identifier: Apache-2.0
"""Turn a corpus or a folder of DICOM files into a datalist, each study with its prior.

Writes datalist.json, manifest.json (sources, options, counts, checks) and dropped.csv (what fell out, and why).
A second run writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from libra_monai.data.studies import Study


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `libra-monai prepare`, one subcommand per source."""
    from libra_monai import registry

    subparsers = parser.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    for name in registry.names("source"):
        part = registry.find("source", name)
        spoken = name.replace("_", "-")
        aliases = [name] if spoken != name else []
        first = (part.__doc__ or "").partition("\n")[0]
        sub = subparsers.add_parser(spoken, aliases=aliases, help=first, description=part.__doc__)
        part().arguments(sub)
        sub.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
        _pairing(sub)
        _keeping(sub)
        _deidentifying(sub)


def _pairing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--prior-rule", default="default", metavar="NAME", help="default, libra-v1 or previous-study (default)")
    add("--max-gap", type=float, metavar="HOURS", help="priors further back are not used (no limit)")
    add("--keep-earlier", type=int, metavar="N", help="earlier studies kept with each study, the prior included (all)")
    add("--unknown-views", action="store_true", help="pictures of unknown view may stand for studies without a frontal one")
    add("--explain", metavar="STUDY", help="say why a study has its prior, and write nothing")


def _keeping(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--limit", type=int, metavar="N", help="only the first N studies")
    add("--dry-run", action="store_true", help="show the counts, and write nothing")
    add(
        "--check", choices=("exists", "content", "pixels"),
        help="pictures: are there; also equal files; also decoded and not blank (study-folder: pixels, else content)",
    )  # fmt: skip
    add("--cleaner", action="append", default=[], metavar="NAME", help="report cleaner of each section; repeatable")
    add("--require", action="append", default=[], metavar="SECTION", help="a study needs one of these sections; repeatable")
    add("--min-words", type=int, default=1, metavar="N", help="words that a required section must have (1)")
    add("--splits", default="training=0.8,validation=0.1,test=0.1", metavar="SHARES", help="of patients without a split")
    add("--privacy", metavar="NAME", help="synthetic, de-identified or identifiable (what the source says, else identifiable)")


def _deidentifying(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--deidentify", action="store_true", help="copy pictures and texts under pseudonyms into --out")
    add("--key", metavar="FILE", help="secret of the pseudonyms, kept away from --out")
    add("--burned-in", choices=("refuse", "refuse_declared", "blank"), default="refuse", help="pictures with writing (refuse)")
    add("--region", action="append", default=[], metavar="T,B,L,R", help="blanked part, in shares of the picture; repeatable")
    add("--keep-characteristics", action="store_true", help="keep sex and age, ages over 89 joined")


def run(args: argparse.Namespace) -> int:
    """Prepare, and print the account."""
    from libra_monai import registry
    from libra_monai.data.chronology import PriorRule
    from libra_monai.data.preparing import prepare
    from libra_monai.files import check_writable, write_jsonl

    name = args.source.replace("-", "_")
    source = registry.find("source", name)()
    rule = PriorRule(args.prior_rule, args.max_gap, args.keep_earlier, unknown_views=args.unknown_views)
    options = _options(args, name, source)
    writes = not (args.dry_run or args.explain)
    if writes:
        check_writable(args.out, "--out")
    found = _Sources(source, args)
    copied = _Copied(args, source) if args.deidentify else None
    manifest = prepare(
        copied.studies() if copied and writes else source.studies(args),
        args.out,
        options,
        sources=found,
        rule=rule,
        data_root=args.out if copied and writes else args.root,
        notes=source.notes,
        skipped=[] if copied else getattr(source, "skipped", []),
        dry_run=not writes,
    )
    if copied and writes:
        write_jsonl(Path(args.out) / "scrub_report.jsonl", copied.reports)
    print(_explained(manifest, args.explain) if args.explain else manifest.summary())
    if writes:
        root = "" if copied else f" --data_root {args.root}"
        print(f"\nWritten: {Path(args.out) / 'datalist.json'}, manifest.json, dropped.csv")
        print(f"Use it with: libra-monai run evaluate --datalist {Path(args.out) / 'datalist.json'}{root}")
    return 0


def _options(args: argparse.Namespace, name: str, source: Any) -> Any:
    from libra_monai.apps.phantom import _splits
    from libra_monai.data.preparing import PrepareOptions
    from libra_monai.data.studies import ABOUT

    return PrepareOptions(
        source=name,
        limit=args.limit,
        splits=_splits(args.splits),
        cleaners=tuple(args.cleaner),
        require=tuple(args.require),
        min_words=args.min_words,
        check=args.check or getattr(source, "check", "content"),
        privacy=args.privacy or ("de-identified" if args.deidentify else getattr(source, "privacy", "identifiable")),
        hide=() if not args.deidentify or args.keep_characteristics else ABOUT,
    )


class _Sources:
    """(path, sha256) of what a source read, asked for after it was read; many files count as one."""

    def __init__(self, source: Any, args: argparse.Namespace) -> None:
        self.source, self.args = source, args

    def __iter__(self):  # noqa: ANN204 - an iterator of pairs
        from libra_monai.data.sources.content import file_hash

        pairs = [(_shown(path, self.args.root), file_hash(path)) for path in sorted(set(map(str, self.source.sources)))]
        if len(pairs) <= 20 and not self.args.deidentify:  # names of files may be identifiers
            return iter(pairs)
        lines = "".join(f"{path}\t{sha256}\n" for path, sha256 in pairs)
        return iter([(f"{len(pairs)} files", hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest())] * bool(pairs))


class _Copied:
    """The studies of a source, their pictures copied without what identifies the patient."""

    def __init__(self, args: argparse.Namespace, source: Any) -> None:
        from libra_monai.data.deidentify import Deidentifier, Policy, read_key
        from libra_monai.errors import ConfigError

        if not args.key:
            raise ConfigError("--deidentify needs a key", "Make one with `openssl rand -hex 32 > FILE`, and give --key FILE.")
        regions = [_region(text) for text in args.region]
        policy = Policy(args.burned_in, regions, args.keep_characteristics)
        self.by = Deidentifier(read_key(args.key, args.out), policy)
        self.args, self.source = args, source
        self.reports: list[dict[str, Any]] = []

    def studies(self) -> Iterator[Study]:
        """Copies one by one; what tells patients apart stays with them until the records are written."""
        from dataclasses import asdict, replace

        for study in self.source.studies(self.args):
            copied, report = self.by.export(study, self.args.root, self.args.out)
            self.reports.append(asdict(report))
            about = {**copied.about, "sex": study.about.get("sex")}
            yield replace(copied, issuer=study.issuer, birth_date=study.birth_date, about=about)


def _region(text: str) -> tuple[float, ...]:
    from libra_monai.errors import ConfigError

    try:
        top, bottom, left, right = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--region {text} is not top,bottom,left,right", "Example: 0,0.1,0,1 blanks the upper tenth.") from None
    return top, bottom, left, right


def _shown(path: str, root: str) -> str:
    """A path that says nothing of the machine: relative to the root, else the name."""
    place = Path(path).resolve()
    base = Path(root).resolve()
    return place.relative_to(base).as_posix() if place.is_relative_to(base) else place.name


def _explained(manifest, study_id: str) -> str:  # noqa: ANN001 - a type of a heavy room
    from libra_monai.data.chronology import explain
    from libra_monai.errors import ConfigError

    lines = [explain(manifest.choices[study_id])] if study_id in manifest.choices else []
    for row in manifest.dropped:
        if row.study is not None and row.study.study_id == study_id:
            lines.append(f"  left out: {row.what} {row.item}: {row.reason} ({row.step})")
    if not lines:
        raise ConfigError(f"--explain: study '{study_id}' is not in the source", "Identifiers stand in datalist.json and dropped.csv.")
    return "\n".join(lines)
