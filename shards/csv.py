"""Shards of any folder of CSV files with IMU signals, by a small YAML file that says what is in them.

    python -m shards.csv --source DIR --config FILE.yaml --out DIR [--limit N] [--workers N] [--resume]

DIR holds the files, or archives of them. A YAML file:

    dataset: my_study
    licence: CC BY 4.0
    files: ["*.csv"]
    name: '(?P<subject>s\\d+)/(?P<session>[^/]+)_(?P<activity>[a-z]+)\\.csv'   # searched for in each path
    time: {column: timestamp, unit: ms}                 # s, ms, us, ns or iso; or no time, and rate_hz
    sensors:
      - placement: left wrist
        acc: {columns: [ax, ay, az], unit: g, range: 8}  # or m/s^2; gravity included
        gyro: {columns: [gx, gy, gz], unit: deg/s}       # or rad/s
    series: {heart: {columns: {heart_rate bpm: hr}, rate_hz: 1}}   # as series_heart; rate_hz where slower than the rows
    splits: {val: [s3], test: [s4, s5]}                  # by subject; the others train

`shards/csv_config.py` lists all keys: labels and texts of columns, files without header, decimal commas, and so on.

- Rates: a file's time stamps say how many rows a second it has (a usual rate where within 1 %). Rows are put on an
  even grid of that rate by linear interpolation; stamps on the grid keep their values.
- A series is linear between values up to one and a half of its steps apart; where a channel has none, it is NaN.
- Clocks that were set back, rows out of order, gaps: see `shards/signals.py`; the card counts them.
- Run with `-m` only: beside it, this file would hide the csv module of the standard library.
"""

from __future__ import annotations

import fnmatch
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.columns import Layout, open_source, read_columns
from shards.common import convert, exit_on_fault, how_of, parser
from shards.csv_config import Table, read_table
from shards.mocap import recording_name
from shards.rows import card, column_types, row_samples, words
from shards.tables import Facts, assign

PER_PART = 8


@dataclass(frozen=True)
class Recording:
    """One file; `groups` of its name, and the split of each subject in it."""

    id: str
    file: SourceFile
    groups: dict[str, str]
    splits: dict[str, str]


def samples_of(recording: Recording, table: Table) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file. ValueError, naming the file, where it does not hold what the YAML says."""
    found, skipped = read(recording.file, column_types(table), table)
    if skipped:
        told = f"{skipped} line{'s have' if skipped > 1 else ' has'} another number of cells than the first: left out"
        print(f"{recording.file.name}: {told}", file=sys.stderr)
        yield Dropped("lines with another number of cells than the first", count=skipped)
    try:
        yield from row_samples(found, table, recording.id, recording.groups, recording.splits.__getitem__)
    except ValueError as error:
        raise ValueError(f"{recording.file.name}: {error}") from error


def read(file: SourceFile, types: dict[str, Any], table: Table) -> tuple[dict[str, Any], int]:
    """Columns of a file and the number of lines that were left out; ValueError naming the file and what to change."""
    layout = Layout(
        delimiter=table.delimiter or ("\t" if file.name.lower().endswith(".tsv") else ","),
        names=table.header,
        skip_rows=table.skip_rows,
        missing=table.missing,
        decimal=table.decimal,
    )
    try:
        with open_source(file) as stream:
            return read_columns(stream, types, layout, threads=False)
    except ValueError as error:
        hint = "say what its columns are called, or delimiter, header, skip_rows, missing, decimal, in the YAML"
        raise ValueError(f"{file.name}: {error}; {hint}") from error


def plan(source: Path, cache: Path, table: Table) -> list[Recording]:
    """The recordings of a source with their splits, in order of name."""
    endings = tuple({"." + pattern.rpartition(".")[2].lower() for pattern in table.files})
    found = [f for f in files(source, endings, cache) if any(fnmatch.fnmatch(f.name, p) for p in table.files)]
    if not found:
        raise ShardError(
            f"{source} holds no files such as {', '.join(table.files)}: correct --source, or files in the YAML"
        )
    groups = [_groups(file, table) for file in found]
    subjects = [_subjects(file, named, table) for file, named in zip(found, groups)]
    facts = {
        f"{i} {subject}": Facts(subject, named.get("session", ""), named.get("group", ""), named.get("split", ""))
        for i, (named, here) in enumerate(zip(groups, subjects))
        for subject in here
    }
    facts = assign(facts, subjects=table.splits)
    return [
        Recording(recording_name(file.name), file, named, {s: facts[f"{i} {s}"].split for s in here})
        for i, (file, named, here) in enumerate(zip(found, groups, subjects))
    ]


def _groups(file: SourceFile, table: Table) -> dict[str, str]:
    matched = re.search(table.name, file.name)
    if matched is None:
        raise ShardError(
            f"{file.name}: the pattern {table.name!r} is not found in it: correct name or files in the YAML"
        )
    return {name: value or "" for name, value in matched.groupdict().items()}


def _subjects(file: SourceFile, groups: dict[str, str], table: Table) -> list[str]:
    """Who is in a file; of a column, which is read for it."""
    if not table.subject_column:
        return [groups.get("subject", "")]
    try:
        found, _ = read(file, {table.subject_column: pa.string()}, table)
    except ValueError as error:
        raise ShardError(str(error)) from error
    return sorted(words(found[table.subject_column])[1])


def run(source: Path, out: Path, *, config: Path | Table, limit: int | None = None, **how) -> dict:
    """Converts a folder or archive of CSV files; `how` goes to `shards.common.convert`. Gives the manifest."""
    table = config if isinstance(config, Table) else read_table(config)
    with tempfile.TemporaryDirectory(prefix="csv_") as cache:
        recordings = plan(source, Path(cache), table)
        return convert(
            "csv",
            recordings[:limit],
            partial(samples_of, table=table),
            out,
            card=card(
                table,
                f"{len(recordings)} text files. Written by `shards/csv.py`",
                "by subject" if any(s for r in recordings for s in r.splits) else "by file: subjects are not known",
            ),
            arguments={"limit": limit, "table": table.model_dump(mode="json")},
            per_part=PER_PART,
            **how,
        )


def main() -> None:
    p = parser("csv", "Shards of a folder of CSV files.")
    p.add_argument("--config", type=Path, required=True, help="YAML file that says what the files hold")
    args = p.parse_args()
    if args.source is None:
        p.error("--source: give the folder with the files or archives of them")
    with exit_on_fault(p):
        run(args.source, args.out, config=args.config, limit=args.limit, **how_of(args))


if __name__ == "__main__":
    main()
