"""Signals over time that are no motion: heart rate, muscles, pressure, breath. See `aura.data.streams`."""

from __future__ import annotations

import numpy as np

from aura.data.config import SeriesInput
from aura.data.cut import Cut, items
from aura.data.fields import Fields, Options, generator
from aura.data.index import BadSample, Record, ShardError
from aura.data.motion import find_span
from aura.data.resample import resample_at


def read_series(
    record: Record, cut: Cut, options: Options, key: int | None = None, out: Fields | None = None
) -> Fields | None:
    """values (T, C) in the units of the recipe's channels, valid (T, C).

    A missing value (NaN) has no part in any other, and what has one for a neighbour in time is missing too. The stream covers
    a moment where any of its channels is known. ShardError for a channel in another unit than the recipe's, and where
    the stream has none of the recipe's channels.
    """
    config: SeriesInput = options.config
    name = options.name
    stream = record.head["streams"].get(name)
    if stream is None:
        return None
    there, found = _matched(record, name, tuple(stream["channels"]), config.channels)
    span = find_span(cut, config.rate_hz, stream["rate_hz"], stream["start_s"], stream["length"])
    if span is None:
        return None
    source = record.items(name, span.begin, span.end)[:, found]
    if np.isinf(source).any():
        raise BadSample(f"{record.where}.{name}.npy: holds infinite values")
    values, valid = resample_at(source, ~np.isnan(source), span.at)
    if np.count_nonzero(valid.any(1)) < max(options.min_cover * len(valid) - 1e-6, 1):
        return None
    out = blank_series(cut.seconds, options) if out is None else out
    out["values"][...], out["valid"][...] = 0, False
    out["values"][:, there], out["valid"][:, there] = values, valid
    if key is not None and options.augmented:
        _augment(out, config, generator(key, name))
    return out


def blank_series(seconds: float, options: Options) -> Fields:
    config: SeriesInput = options.config
    shape = items(seconds, config.rate_hz), len(config.channels)
    return {"values": np.zeros(shape, np.float32), "valid": np.zeros(shape, bool)}


def _augment(out: Fields, config: SeriesInput, rng: np.random.Generator) -> None:
    values, valid, augment = out["values"], out["valid"], config.augment
    if augment.drop_channel:
        chance, known = rng.random(valid.shape[1]), valid.any(0)
        drop = (chance < augment.drop_channel) & known
        if drop[known].all():
            drop[int(np.argmax(np.where(known, chance, -1)))] = False  # one always stays
        valid[:, drop] = False
        values[:, drop] = 0
    if augment.noise:
        size = augment.noise * np.array(config.std, np.float32)
        values += np.where(valid, size * rng.standard_normal(values.shape, dtype=np.float32), 0)


def _matched(
    record: Record, name: str, source: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[list[int], list[int]]:
    """Numbers of the recipe's channels that the stream has, and their numbers there."""
    place = {channel.partition(" ")[0]: i for i, channel in enumerate(source)}
    there = [i for i, channel in enumerate(wanted) if channel.partition(" ")[0] in place]
    found = [place[wanted[i].partition(" ")[0]] for i in there]
    if not there:
        raise ShardError(
            f"{record.where}: {name} has the channels {', '.join(source)}, none of inputs.{name}.channels:"
            f" {', '.join(wanted)}"
        )
    for i, j in zip(there, found):
        if wanted[i] != source[j]:
            raise ShardError(f"{record.where}: {name} has {source[j]!r}, inputs.{name}.channels asks for {wanted[i]!r}")
    return there, found
