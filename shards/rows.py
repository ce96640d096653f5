"""From columns of a table with a row per time to samples, as `shards/csv_config.py` says what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import yaml

from aura.data.sample import Sample
from aura.data.units import ACC, G
from aura.data.writer import Dropped
from shards.csv_config import GROUPS, SECONDS, UNITS, Acc, Gyro, Table
from shards.signals import Series, Settings, Stretch, clocks, runs, samples

pc: Any = pyarrow.compute  # makes its functions when it is imported: type checkers do not see them
# A rate within 1 % of one that devices are sold with is that rate.
USUAL_HZ = (
    10, 16, 20, 25, 30, 32, 40, 50, 52, 60, 64, 75, 80, 100, 104, 120, 128, 200, 208, 250, 256, 400, 500, 512, 800, 1000,
)  # fmt: skip
NEAR = 0.01
OFF = 0.2  # a rate this far from the one in the YAML is a mistake
BRIDGED = 1.5  # values of a slower signal that are up to so many of its steps apart have no gap between them
COARSE = 0.2  # share of rows that may have the time of the row before


def column_types(table: Table) -> dict[str, Any]:
    """Name -> type of the columns that `row_samples` wants."""
    strings = [*_people(table).values(), *_labels(table).values(), *(text.column for text in table.texts)]
    types: dict[str, Any] = dict.fromkeys(strings, pa.string())
    for sensor in table.sensors:
        for signal in (sensor.acc, sensor.gyro):
            types.update(dict.fromkeys(signal.columns if signal else (), pa.float64()))
    for signals in table.series.values():
        types.update(dict.fromkeys(signals.columns.values(), pa.float64()))
    if table.time is not None:
        types[table.time.column] = {"iso": pa.string(), "ns": pa.int64()}.get(table.time.unit, pa.float64())
    return types


def _people(table: Table) -> dict[str, str]:
    """Who -> column."""
    return {n: c for n, c in (("subject", table.subject_column), ("session", table.session_column)) if c}


def _labels(table: Table) -> dict[str, str]:
    """Label -> column, of the labels that have one."""
    return {name: label.column for name, label in table.labels.items() if label.column}


def row_samples(
    found: Mapping[str, Any], table: Table, name: str, groups: Mapping[str, str], split_of: Callable[[str], str]
) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of rows that were recorded one after another, and what was filled, cut or left out.

    found    columns (n,) of `column_types`: arrays of numbers, `pyarrow.Array` of strings and of whole numbers with gaps
    name     of the recording, `[A-Za-z0-9_-]`: keys of samples begin with it
    groups   subject, session, group and labels of all rows, where no column has them
    split_of the split of a subject

    ValueError, naming the column, where it does not hold what `table` says.
    """
    times, rate_hz = clock(found, table)
    values = [_signals(found, sensor.acc, sensor.gyro) for sensor in table.sensors]
    series = _series(found, table, times, rate_hz)
    people, label_columns = _people(table), _labels(table)
    coded = {n: words(found[n]) for n, kind in column_types(table).items() if kind == pa.string()}
    orders, notes = clocks(times)
    yield from notes
    for number, rows in enumerate(orders):
        keys = [coded[column][0][rows] for column in (*people.values(), *label_columns.values())]
        for begin, end in runs(*keys, np.zeros(len(rows), int)):
            here = rows[begin:end]

            def value(column: str, row: int = int(here[0])) -> str:
                codes, names = coded[column]
                return names[codes[row]]

            who = {name: groups.get(name, "") for name in ("subject", "session", "group")}
            who |= {name: value(column) for name, column in people.items()}
            raw = {name: text for name, text in groups.items() if name not in GROUPS}
            raw |= {name: value(column) for name, column in label_columns.items()}
            ignored = [n for n, v in raw.items() if n in table.labels and v in table.labels[n].ignore]
            if ignored:
                reason = f"rows with {ignored[0]} {raw[ignored[0]]!r}, to be left out"
                yield Dropped(reason, len(here) / rate_hz, len(here))
                continue
            labels = {n: table.labels[n].names.get(v, v) if n in table.labels else v for n, v in raw.items() if v}
            start = times[rows[0]]
            key = name + (f"_{re.sub('[^A-Za-z0-9_-]+', '_', who['subject'])}" if table.subject_column else "")
            key += f"_clock{number + 1}" if number else ""
            stretch = Stretch(
                split=split_of(who["subject"]),
                times=times[here] - start,
                values=[signal[here] for signal in values],
                sensors=_sensors(table),
                about={
                    "dataset": table.dataset,
                    "recording": key,
                    "licence": table.licence,
                    "labels": labels,
                    **who,
                    "session": who["session"] or key,
                },
                texts=_texts(table, labels, coded, here, times[here] - start, rate_hz),
                series={name: replace(signal, values=signal.values[here]) for name, signal in series.items()},
            )
            yield from samples(stretch, rate_hz, Settings(gap_s=table.max_gap_s))


def clock(found: Mapping[str, Any], table: Table) -> tuple[np.ndarray, float]:
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


def _signals(found: Mapping[str, Any], acc: Acc | None, gyro: Gyro | None) -> np.ndarray:
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
        other = next((u for u, factor in ACC.items() if u != acc.unit and 0.8 < usual * factor / G < 1.25), None)
        if other is not None:
            raise ValueError(
                f"columns {', '.join(acc.columns)}: their norm is {usual:.3g} {acc.unit} in the median, which is gravity in"
                f" {other}: correct the unit of acc in the YAML"
            )
    return np.concatenate(parts, 1).astype(np.float32)


def _series(found: Mapping[str, Any], table: Table, times: np.ndarray, rate_hz: float) -> dict[str, Series]:
    """The other signals of all rows. ValueError where a column has another rate than `table` says."""
    made = {}
    for name, signals in table.series.items():
        rate = signals.rate_hz or rate_hz
        values = np.stack([found[column] for column in signals.columns.values()], 1)
        for column in signals.columns.values():
            step = np.diff(np.sort(times[np.isfinite(found[column]) & np.isfinite(times)]))
            step = step[step > 0]
            if len(step) and abs((measured := 1 / float(np.median(step))) / rate - 1) > OFF:
                raise ValueError(
                    f"column {column!r} has {measured:.3g} values a second, series.{name} says {rate:g}: correct its rate_hz,"
                    " or make it a series of its own"
                )
        made[f"series_{name}"] = Series(values, tuple(signals.columns), rate, BRIDGED / rate)
    return made


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


def words(column: Any) -> tuple[np.ndarray, list[str]]:
    """Codes (n,) of a column of strings, and the string of each; a missing one is ""."""
    coded = pc.dictionary_encode(pc.utf8_trim_whitespace(pc.fill_null(column, "")))
    return np.from_dlpack(coded.indices), coded.dictionary.to_pylist()


def _texts(
    table: Table, labels: dict[str, str], coded: Mapping[str, Any], rows: np.ndarray, times: np.ndarray, rate_hz: float
) -> list[dict]:
    """Texts of some rows (k,) at `times` (k,): the activity's name, its descriptions, and those of columns."""
    whole = {"start_s": 0.0, "end_s": float("inf")}
    activity = labels.get("activity", "")
    texts = [{"text": activity.replace("_", " "), **whole, "kind": "label"}] if activity else []
    texts += [{"text": text, **whole, "kind": "description"} for text in table.descriptions.get(activity, ())]
    for text in table.texts:
        codes, names = coded[text.column]
        for begin, end in runs(codes[rows]):
            says = names[codes[rows[begin]]]
            if says:
                until = float(times[end] if end < len(times) else times[-1] + 1 / rate_hz)
                texts.append({"text": says, "start_s": float(times[begin]), "end_s": until, "kind": text.kind})
    return texts


def card(table: Table, what: str, splits: str) -> str:
    """A converter's part of the card: `what` was read, and how `splits` were made."""
    config = yaml.safe_dump(table.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
    lines = [
        f"# {table.dataset}",
        f"IMU signals of {what} of aura.",
        f"Source: {table.source or table.dataset}. Licence: {table.licence}.",
        table.citation,
        f"Splits: {splits}.",
        f"What they hold:\n\n```yaml\n{config}```",
    ]
    return "\n\n".join(line for line in lines if line)
