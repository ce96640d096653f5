"""What a model was trained on, in words and numbers: data sets with their licences, and what their signals look like.

A run keeps it, so that a model that is given away can say it, and can tell a recording that looks like none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aura.data.config import ImuInput, Input, SeriesInput, kind_of
from aura.data.fields import finite
from aura.data.index import BadSample, Record, Split

FILE = "training_facts.json"  # in a run directory
LOOKED_AT = 200  # samples whose signals are measured
SHARES = (0.01, 0.5, 0.99)


def describe(splits: Sequence[Split], inputs: Mapping[str, Input]) -> dict[str, Any]:
    """`datasets`: name, split, licences, samples, hours, subjects, streams, and labels of each split; `statistics`: of each
    stream of `inputs` what `LOOKED_AT` samples, spread evenly over all, show.

    Of IMU the 1st, 50th and 99th percentile of the median norms of a sample: `acc` (m/s^2), `gyro` (rad/s); `rate_hz`,
    `placements` with counts, `sensors`: the fewest and the most that are read of a sample. Of series the same percentiles of the medians of each of the recipe's `channels`. Of mocap `height` (m), what joints span along z; of all streams `seconds`.
    """
    total = max(1, sum(len(split) for split in splits))
    records = []
    for split in splits:
        count = min(len(split), max(1, round(LOOKED_AT * len(split) / total)))
        records += [(split, i) for i in np.unique(np.linspace(0, len(split) - 1, count).astype(int)).tolist()]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in inputs if kind_of(name) != "text"}
    for split, i in records:
        try:
            record = split.record(i)
            for name, rows in found.items():
                if name in record.head["streams"]:
                    rows.append(_measured(record, name, inputs[name]))
        except (BadSample, KeyError, TypeError, ValueError, IndexError, ArithmeticError):
            continue  # a bad sample, which training passes over, counts and names
    return {
        "datasets": [_dataset(split) for split in splits],
        "statistics": {name: _summary(rows) for name, rows in found.items() if rows},
    }


def _dataset(split: Split) -> dict[str, Any]:
    totals = split.totals
    return {
        "name": split.dataset or "unknown",
        "split": split.name,
        "licences": list(totals.get("licences", [])),
        "samples": len(split),
        "hours": round(totals.get("seconds", 0.0) / 3600, 3),
        "subjects": len(totals.get("subjects", [])),
        "streams": sorted(name for name in totals["streams"] if not name.endswith(".emb")),
        "labels": {name: sorted(values) for name, values in totals.get("labels", {}).items()},
    }


def _measured(record: Record, name: str, settings: Input) -> dict[str, Any]:
    about, kind = record.head["streams"][name], kind_of(name)
    out: dict[str, Any] = {"rate_hz": about["rate_hz"], "seconds": about["length"] / about["rate_hz"]}
    if kind == "imu":
        values = finite(record, name, record.array(name))
        worn = [(i, sensor) for i, sensor in enumerate(about["sensors"])]
        out["placements"] = [sensor["placement"] for _, sensor in worn]
        assert isinstance(settings, ImuInput)
        out["sensors"] = sensors_read(out["placements"], settings)
        for channel, columns in (("acc", slice(0, 3)), ("gyro", slice(3, 6))):
            rows = [i for i, sensor in worn if channel in sensor["channels"]]
            out[channel] = [float(np.median(np.linalg.norm(values[i, :, columns], axis=-1))) for i in rows]
    elif kind == "mocap":
        height = finite(record, name, record.array(name))[..., 2]
        out["height"] = [float(np.median(np.ptp(height, axis=1)))]
    elif isinstance(settings, SeriesInput):
        columns = zip(about["channels"], record.array(name).T)
        known = {channel: column[~np.isnan(column)] for channel, column in columns if channel in settings.channels}
        out["channels"] = {channel: float(np.median(column)) for channel, column in known.items() if len(column)}
    return out


def sensors_read(worn: Sequence[str], settings: ImuInput) -> int:
    """How many of the sensors at these places a row of training has."""
    return len(set(worn) & set(settings.placements)) if settings.placements else min(len(worn), settings.sensors)


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {"samples": len(rows)}
    for key in ("rate_hz", "seconds"):
        out[key] = _percentiles([row[key] for row in rows])
    for key in ("acc", "gyro", "height"):
        if values := [value for row in rows for value in row.get(key, [])]:
            out[key] = _percentiles(values)
    if "channels" in rows[0]:
        names = sorted({name for row in rows for name in row["channels"]})
        values = {name: [row["channels"][name] for row in rows if name in row["channels"]] for name in names}
        out["channels"] = {name: _percentiles(found) for name, found in values.items()}
    if "placements" in rows[0]:
        if counts := [row["sensors"] for row in rows if row["sensors"]]:
            out["sensors"] = [min(counts), max(counts)]
        out["placements"] = dict(sorted(Counter(name for row in rows for name in row["placements"]).items()))
    return out


def _percentiles(values: Sequence[float]) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(values, SHARES)]
