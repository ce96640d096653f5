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
        acc: {columns: [ax, ay, az], unit: g, range: 8}  # or m/s2; gravity included
        gyro: {columns: [gx, gy, gz], unit: deg/s}       # or rad/s
    splits: {val: [s3], test: [s4, s5]}                  # by subject; the others train

`shards/csv_config.py` lists all keys: labels and texts of columns, files without header, decimal commas, and so on.

- Rates: a file's time stamps say how many rows a second it has (a usual rate where within 1 %). Rows are put on an
  even grid of that rate by linear interpolation; stamps on the grid keep their values.
- Clocks that were set back, rows out of order, gaps: see `shards/signals.py`; the card counts them.
- Run with `-m` only: beside it, this file would hide the csv module of the standard library.
"""

from __future__ import annotations

import fnmatch
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import yaml

from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.columns import Layout, open_source, read_columns
from shards.common import convert, how_of, parser
from shards.csv_config import GROUPS, SECONDS, UNITS, Acc, Gyro, Table, read_table
from shards.mocap import recording_name
from shards.signals import Settings, Stretch, clocks, runs, samples
from shards.tables import Facts, assign

pc: Any = pyarrow.compute  # makes its functions when it is imported: type checkers do not see them
# A rate within 1 % of one that devices are sold with is that rate.
USUAL_HZ = (
    10,
    16,
    20,
    25,
    30,
    32,
    40,
    50,
    52,
    60,
    64,
    75,
    80,
    100,
    104,
    120,
    128,
    200,
    208,
    250,
    256,
    400,
    500,
    512,
    800,
    1000,
)
NEAR = 0.01
OFF = 0.2  # a rate this far from the one in the YAML is a mistake
COARSE = 0.2  # share of rows that may have the time of the row before
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
    label_columns = {name: label.column for name, label in table.labels.items() if label.column}
    people = {n: c for n, c in (("subject", table.subject_column), ("session", table.session_column)) if c}
    strings = [*people.values(), *label_columns.values(), *(text.column for text in table.texts)]
    types: dict[str, Any] = dict.fromkeys(strings, pa.string())
    for sensor in table.sensors:
        for signal in (sensor.acc, sensor.gyro):
            types.update(dict.fromkeys(signal.columns if signal else (), pa.float64()))
    if table.time is not None:
        types[table.time.column] = {"iso": pa.string(), "ns": pa.int64()}.get(table.time.unit, pa.float64())
    found, skipped = read(recording.file, types, table)
    if skipped:
        yield Dropped("lines with another number of cells than the first", count=skipped)
    try:
        times, rate_hz = clock(found, table)
        values = [_signals(found, sensor.acc, sensor.gyro) for sensor in table.sensors]
    except ValueError as error:
        raise ValueError(f"{recording.file.name}: {error}") from error
    words = {name: _words(found[name]) for name in dict.fromkeys(strings)}
    orders, notes = clocks(times)
    yield from notes
    for number, rows in enumerate(orders):
        keys = [words[column][0][rows] for column in (*people.values(), *label_columns.values())]
        for begin, end in runs(*keys, np.zeros(len(rows), int)):
            here = rows[begin:end]

            def value(column: str, row: int = int(here[0])) -> str:
                codes, names = words[column]
                return names[codes[row]]

            who = {name: recording.groups.get(name, "") for name in ("subject", "session", "group")}
            who |= {name: value(column) for name, column in people.items()}
            raw = {name: text for name, text in recording.groups.items() if name not in GROUPS}
            raw |= {name: value(column) for name, column in label_columns.items()}
            ignored = [n for n, v in raw.items() if n in table.labels and v in table.labels[n].ignore]
            if ignored:
                reason = f"rows with {ignored[0]} {raw[ignored[0]]!r}, to be left out"
                yield Dropped(reason, len(here) / rate_hz, len(here))
                continue
            labels = {n: table.labels[n].names.get(v, v) if n in table.labels else v for n, v in raw.items() if v}
            start = times[rows[0]]
            name = recording.id + (f"_{re.sub('[^A-Za-z0-9_-]+', '_', who['subject'])}" if table.subject_column else "")
            name += f"_clock{number + 1}" if number else ""
            stretch = Stretch(
                split=recording.splits[who["subject"]],
                times=times[here] - start,
                values=[signal[here] for signal in values],
                sensors=_sensors(table),
                about={
                    "dataset": table.dataset,
                    "recording": name,
                    "licence": table.licence,
                    "labels": labels,
                    **who,
                    "session": who["session"] or name,
                },
                texts=_texts(table, labels, words, here, times[here] - start, rate_hz),
            )
            yield from samples(stretch, rate_hz, Settings(gap_s=table.max_gap_s))


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


def clock(found: dict[str, Any], table: Table) -> tuple[np.ndarray, float]:
    """Seconds (n,) from the earliest stamp, NaN where there is none, and rows a second."""
    if table.time is None:
        assert table.rate_hz is not None  # the YAML has one of them
        return np.arange(len(next(iter(found.values())))) / table.rate_hz, table.rate_hz
    column: Any = found[table.time.column]
    unit = table.time.unit
    if unit == "iso":
        column = _instants(column, table.time.column)
    if isinstance(column, pa.Array):  # whole numbers with missing ones: the difference fits a float, they do not
        first = pc.min(column) if column.null_count < len(column) else pa.scalar(0, column.type)
        column = np.from_dlpack(pc.fill_null(pc.cast(pc.subtract(column, first), pa.float64()), float("nan")))
    elif column.dtype == np.int64 and len(column):
        column = (column - column.min()).astype(np.float64)
    else:
        column = column - np.nanmin(column) if np.isfinite(column).any() else column
    times = column * SECONDS[unit]
    step = np.diff(times[np.isfinite(times)])
    if not (step > 0).any():
        raise ValueError(f"time column {table.time.column!r} does not advance: it has no two times in order")
    same = float((step == 0).mean())
    if same > COARSE:
        raise ValueError(
            f"time column {table.time.column!r} counts too coarsely: {same:.0%} of the rows have the time of the row before;"
            " leave time out of the YAML and give rate_hz"
        )
    usual = float(np.median(step[step > 0]))
    measured = 1 / float(step[(step > 0) & (step < 2.5 * usual)].mean())
    if not 1 <= measured <= 10_000:
        raise ValueError(
            f"time column {table.time.column!r} in {unit} has {measured:.3g} rows a second: correct time.unit in the YAML"
        )
    if table.rate_hz is not None:
        if abs(measured / table.rate_hz - 1) > OFF:
            raise ValueError(
                f"time column {table.time.column!r} in {unit} has {measured:.4g} rows a second, rate_hz says"
                f" {table.rate_hz:g}: correct time.unit, or leave rate_hz out"
            )
        return times, table.rate_hz
    near = min(USUAL_HZ, key=lambda rate: abs(measured / rate - 1))
    return times, float(near if abs(measured / near - 1) < NEAR else f"{measured:.3g}")


def _instants(column: Any, name: str) -> pa.Array:
    """Nanoseconds of ISO times, with or without a zone."""
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        try:
            return pc.cast(pc.cast(column, kind), pa.int64())
        except pa.ArrowInvalid as error:
            fault = error
    raise ValueError(f"time column {name!r} holds no ISO times such as 2026-01-31T12:00:00.5: {fault}")


def _signals(found: dict[str, Any], acc: Acc | None, gyro: Gyro | None) -> np.ndarray:
    """(n, 6) float32 in m/s^2 and rad/s; 0 for a channel that the sensor lacks. ValueError where the unit cannot be right."""
    parts = []
    for signal in (acc, gyro):
        if signal is None:
            parts.append(np.zeros((len(next(iter(found.values()))), 3)))
            continue
        parts.append(np.stack([found[name] for name in signal.columns], 1) * UNITS[signal.unit])
    if acc is not None:
        norm = np.linalg.norm(parts[0], axis=1)
        usual = float(np.median(norm[np.isfinite(norm)])) / UNITS[acc.unit] if np.isfinite(norm).any() else 0.0
        other = {"m/s2": ("g", 0.8, 1.25), "g": ("m/s2", 8.0, 12.0)}[acc.unit]
        if other[1] < usual < other[2]:
            raise ValueError(
                f"columns {', '.join(acc.columns)}: their norm is {usual:.3g} {acc.unit} in the median, which is gravity in"
                f" {other[0]}: correct the unit of acc in the YAML"
            )
    return np.concatenate(parts, 1).astype(np.float32)


def _sensors(table: Table) -> list[dict]:
    return [
        {
            "placement": sensor.placement,
            "channels": [n for n, s in (("acc", sensor.acc), ("gyro", sensor.gyro)) if s is not None],
            "virtual": False,
            "range": [s.range * UNITS[s.unit] if s else 0.0 for s in (sensor.acc, sensor.gyro)],
        }
        for sensor in table.sensors
    ]


def _words(column: Any) -> tuple[np.ndarray, list[str]]:
    """Codes (n,) of a column of strings, and the string of each; a missing one is ""."""
    coded = pc.dictionary_encode(pc.utf8_trim_whitespace(pc.fill_null(column, "")))
    return np.from_dlpack(coded.indices), coded.dictionary.to_pylist()


def _texts(
    table: Table, labels: dict[str, str], words: dict, rows: np.ndarray, times: np.ndarray, rate_hz: float
) -> list[dict]:
    """Texts of some rows (k,) at `times` (k,): the activity's name, its descriptions, and those of columns."""
    whole = {"start_s": 0.0, "end_s": float("inf")}
    activity = labels.get("activity", "")
    texts = [{"text": activity.replace("_", " "), **whole, "kind": "label"}] if activity else []
    texts += [{"text": text, **whole, "kind": "description"} for text in table.descriptions.get(activity, ())]
    for text in table.texts:
        codes, names = words[text.column]
        for begin, end in runs(codes[rows]):
            says = names[codes[rows[begin]]]
            if says:
                until = float(times[end] if end < len(times) else times[-1] + 1 / rate_hz)
                texts.append({"text": says, "start_s": float(times[begin]), "end_s": until, "kind": text.kind})
    return texts


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
    return sorted(_words(found[table.subject_column])[1])


def card(table: Table, recordings: Sequence[Recording]) -> str:
    """The converter's part of the card."""
    by = "by subject" if any(s for r in recordings for s in r.splits) else "by file: subjects are not known"
    config = yaml.safe_dump(table.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
    lines = [
        f"# {table.dataset}",
        f"IMU signals of {len(recordings)} text files. Written by `shards/csv.py` of aura.",
        f"Source: {table.source or table.dataset}. Licence: {table.licence}.",
        table.citation,
        f"Splits: {by}.",
        f"What the files hold:\n\n```yaml\n{config}```",
    ]
    return "\n\n".join(line for line in lines if line)


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
            card=card(table, recordings),
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
    try:
        run(args.source, args.out, config=args.config, limit=args.limit, **how_of(args))
    except (ShardError, OSError) as error:
        p.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
