# SPDX-License-Identifier: Apache-2.0
"""Tables of the corpora: finding them, reading them in one pass, and the values in them.

CSV, gzip CSV and (with pyarrow) Parquet. Rows come as tuples of the asked columns, so that a table of 400,000 rows
costs seconds and no data frame.
"""

from __future__ import annotations

import csv
import gzip
import logging
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import IO

from libra_monai.errors import ConfigError, did_you_mean

_log = logging.getLogger(__name__)

_ENDINGS = (".csv.gz", ".csv", ".parquet")
_FALLBACK = "cp1252"  # what dictation systems of the time wrote; the five bytes it lacks become U+FFFD
_DIGITS = re.compile("([0-9]+)")
_TRUNCATED = (EOFError, zlib.error, gzip.BadGzipFile)


def find_table(folders: Iterable[str | Path], stem: str) -> Path | None:
    """The file of a table, or None.

    Args:
        folders: where to look, in this order.
        stem: file name without ending; `.csv.gz`, `.csv` and `.parquet` are tried.
    """
    for folder in folders:
        for ending in _ENDINGS:
            path = Path(folder) / f"{stem}{ending}"
            if path.is_file():
                return path
    return None


def need_table(folders: Sequence[str | Path], stem: str, remedy: str) -> Path:
    """The file of a table that a corpus cannot do without.

    Raises:
        ConfigError: it is in none of the folders.
    """
    found = find_table(folders, stem)
    if found is None:
        places = ", ".join(str(folder) for folder in folders)
        raise ConfigError(f"table {stem}.csv.gz is not in {places}", remedy)
    return found


def header(path: str | Path) -> list[str]:
    """Column names of a table.

    Raises:
        ConfigError: the file is no table.
    """
    if _is_parquet(path):
        return list(_parquet(path).schema_arrow.names)
    with _open(path) as file:
        return _first_row(path, csv.reader(file))


def rows(path: str | Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """All rows of a table as tuples of the asked columns, the optional ones after the others.

    Args:
        path: CSV, gzip CSV or Parquet.
        columns: names that must be there.
        optional: names whose values are empty strings if the table lacks them.

    Raises:
        ConfigError: a column is missing, a row is cut short, or the file is truncated.
    """
    names = header(path)
    for name in columns:
        if name not in names:
            raise ConfigError(f"{path}: column '{name}' is missing", did_you_mean(name, names))
    wanted = [name for name in (*columns, *optional) if name in names]
    places = [wanted.index(name) if name in wanted else -1 for name in (*columns, *optional)]
    taken = _parquet_rows(path, wanted) if _is_parquet(path) else _csv_rows(path, names, wanted)
    if -1 not in places:
        yield from taken
        return
    for row in taken:
        yield tuple(row[place] if place >= 0 else "" for place in places)


def _csv_rows(path: str | Path, names: list[str], wanted: list[str]) -> Iterator[tuple[str, ...]]:
    picked = [names.index(name) for name in wanted]
    pick = itemgetter(*picked) if len(picked) > 1 else lambda row: (row[picked[0]],)
    _allow_long_fields()
    line = 1
    try:
        with _open(path) as file:
            reader = csv.reader(file)
            next(reader)
            for row in reader:
                line = reader.line_num
                if row:
                    yield pick(row)
    except IndexError as error:
        raise ConfigError(f"{path}: line {line} is cut short", "Download the table again.") from error
    except csv.Error as error:
        raise ConfigError(f"{path}: line {line + 1} is no row of a table ({error})", "Download the table again.") from error
    except _TRUNCATED as error:
        raise _broken(path, line) from error


def _parquet_rows(path: str | Path, wanted: list[str]) -> Iterator[tuple[str, ...]]:
    for batch in _parquet(path).iter_batches(columns=wanted):
        lists = [batch.column(name).to_pylist() for name in wanted]
        for row in zip(*lists, strict=True):
            yield tuple("" if value is None else str(value) for value in row)


def _parquet(path: str | Path):  # noqa: ANN202 - a class of an optional package
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ConfigError(f"{path}: Parquet needs pyarrow", "pip install 'libra-monai[data]', or give the CSV.") from error
    try:
        return ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a Parquet file", "Download the table again.") from error


def _is_parquet(path: str | Path) -> bool:
    return str(path).endswith(".parquet")


def _open(path: str | Path) -> IO[str]:
    """Text of a table whatever its name says; bytes that are not UTF-8 survive as surrogates, see `repair`."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        opener = gzip.open if zipped else open
        return opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise ConfigError(f"table {path} cannot be read ({error.strerror})", "Check the path.") from error


def _first_row(path: str | Path, reader: Iterator[list[str]]) -> list[str]:
    _allow_long_fields()
    try:
        names = next(reader, None)
    except _TRUNCATED as error:
        raise _broken(path, 0) from error
    except csv.Error as error:
        raise ConfigError(f"{path}: not a table ({error})", "Download it again.") from error
    if not names:
        raise ConfigError(f"{path}: the table is empty", "Download it again.")
    return [name.strip() for name in names]


def _broken(path: str | Path, line: int) -> ConfigError:
    return ConfigError(f"{path}: the table breaks off after line {line}", "The download is not complete; repeat it.")


def _allow_long_fields() -> None:
    if csv.field_size_limit() < 2**24:  # the csv module stops at 128 KiB; whole reports stand in one field
        csv.field_size_limit(min(2**24, sys.maxsize))


def decode(raw: bytes) -> tuple[str, bool]:
    """Text of a report file, and whether it was UTF-8.

    Args:
        raw: the bytes; what is not UTF-8 is read as Windows-1252, bytes without a letter there become U+FFFD.
    """
    try:
        return raw.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return raw.decode(_FALLBACK, errors="replace"), False


def repair(text: str) -> tuple[str, bool]:
    """A value of a table with bytes that were not UTF-8 read as Windows-1252, and whether it was UTF-8."""
    if text.isascii():
        return text, True
    return decode(text.encode("utf-8", errors="surrogateescape"))


def moment(date: str, time: str) -> datetime | None:
    """Date and time of a table as one moment; None if the date is not one.

    Args:
        date: `21800506`, also `2180-05-06` and what spreadsheets make of it (`21800506.0`).
        time: hours, minutes and seconds as one decimal that may have lost its leading zeros: `13.4` is 00:00:13.4.
            An empty or impossible time counts as midnight.
    """
    digits = date.strip().removesuffix(".0").replace("-", "")
    if len(digits) != 8 or not digits.isdecimal():
        return None
    whole, _, part = time.strip().replace(":", "").partition(".")
    whole = whole.zfill(6) if whole.isdecimal() else "000000"
    hour, minute, second = int(whole[:-4]), int(whole[-4:-2]), int(whole[-2:])
    if hour > 23 or minute > 59 or second > 60:
        hour = minute = second = 0
    micro = int(part[:6].ljust(6, "0")) if part.isdecimal() else 0
    try:
        return datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:]), hour, minute, min(second, 59), micro)
    except ValueError:
        return None


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if value - value == 0 else None


def label(text: str) -> int | None:
    """A finding label: 1 present, 0 absent, -1 uncertain, None not mentioned or unknown."""
    value = number(text)
    return int(value) if value in (1.0, 0.0, -1.0) else None


def natural_key(text: str) -> tuple[str | int, ...]:
    """A sort key in which `study10` follows `study2`: texts and numbers by turns, so any two can be compared."""
    return tuple(int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(text)))


def labels_by_study(path: str | Path, keys: Sequence[str]) -> dict[tuple[str, ...], dict[str, int | None]]:
    """Finding labels of each study; of repeated rows the first counts.

    Args:
        path: a table with the key columns and one column per finding.
        keys: columns that name the study.
    """
    names = [name for name in header(path) if name not in keys and name]
    width = len(keys)
    found: dict[tuple[str, ...], dict[str, int | None]] = {}
    for row in rows(path, [*keys, *names]):
        found.setdefault(row[:width], {name: label(value) for name, value in zip(names, row[width:], strict=True)})
    return found


def say_notes(notes: Counter[str], corpus: str) -> None:
    """Log what was noted of a corpus, and drop what was looked for and not found.

    Args:
        notes: reason -> count; it holds nothing of a patient.
        corpus: its name.
    """
    for note in [note for note, count in notes.items() if not count]:
        del notes[note]
    for note, count in sorted(notes.items()):
        _log.warning("%s: %d %s", corpus, count, note)
