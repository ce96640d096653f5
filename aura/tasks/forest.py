"""A baseline without a network: a random forest on statistics of each window."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from aura.data.batch import Stream

TREES = 300
BANDS = 5  # of the spectrum


def by_placement(stream: Stream, worn: Sequence[int]) -> Stream:
    """An IMU stream (B, S, T, 6) with a slot for each placement of `worn` (ids): a sensor that is missing from a window
    moves no other. Windows with two sensors at one place, or with more than `worn`, stay as they are."""
    mask, placement = stream.sensor_mask, stream.placement
    if mask is None or placement is None:
        return stream
    pairs = [(b, s, int(placement[b, s])) for b, s in mask.nonzero().tolist()]
    if len({(b, place) for b, _, place in pairs}) < len(pairs) or not {place for _, _, place in pairs} <= set(worn):
        return stream
    slot = {place: i for i, place in enumerate(worn)}
    values = stream.values.new_zeros((len(mask), len(worn), *stream.values.shape[2:]))
    valid = stream.valid.new_zeros((len(mask), len(worn), stream.valid.shape[2]))
    there = mask.new_zeros((len(mask), len(worn)))
    for b, s, place in pairs:
        values[b, slot[place]], valid[b, slot[place]], there[b, slot[place]] = (
            stream.values[b, s],
            stream.valid[b, s],
            True,
        )
    return replace(stream, values=values, valid=valid, sensor_mask=there)


def window_statistics(stream: Stream, kind: str) -> np.ndarray:
    """(B, F) of the windows of a stream of sensors (`imu`) or of a skeleton (`mocap`, `pose2d`).

    Of each channel over the window's valid items: mean, deviation, smallest, largest, quartiles, mean step from item to item, and
    shares of the spectrum in five bands. Channels of a sensor: its six axes and the sizes of force and rate; of a joint: its
    place relative to the middle of the body in sizes of the body, and its speed. What is missing counts as 0.
    """
    values = stream.values.double().numpy()
    if kind == "imu":
        known = stream.valid.numpy()
        if stream.sensor_mask is not None:
            known = known & stream.sensor_mask.numpy()[:, :, None]
        values = np.where(known[..., None], values, np.nan)
        sizes = [np.linalg.norm(values[..., part], axis=-1, keepdims=True) for part in (slice(0, 3), slice(3, 6))]
        channels = np.concatenate([values, *sizes], -1).transpose(0, 2, 1, 3)  # (B, T, S, 8)
    else:
        known = np.broadcast_to(stream.valid.numpy()[..., None], values.shape[:3])
        if stream.joint_mask is not None:
            known = known & stream.joint_mask.numpy()[:, None]
        if kind == "pose2d":
            known, values = known & (values[..., 2] > 0), values[..., :2]
        values = np.where(known[..., None], values, np.nan)
        with _quiet():
            body = values - np.nanmean(values, 2, keepdims=True)
            size = np.nanstd(body, axis=(1, 2, 3), keepdims=True)
            body = body / np.where(size > 0, size, 1)
            step = np.diff(body, axis=1, prepend=body[:, :1])
        channels = np.concatenate([body, np.linalg.norm(step, axis=-1, keepdims=True)], -1)
    return _statistics(channels.reshape(*channels.shape[:2], -1))


def _statistics(x: np.ndarray) -> np.ndarray:
    """(B, F) of channels (B, T, C), NaN where unknown."""
    with _quiet():
        found = [np.nanmean(x, 1), np.nanstd(x, 1), np.nanmin(x, 1), np.nanmax(x, 1)]
        found += list(np.nanquantile(x, [0.25, 0.5, 0.75], axis=1))
        found.append(np.nanmean(np.abs(np.diff(x, axis=1)), 1))
        power = np.abs(np.fft.rfft(np.nan_to_num(x - found[0][:, None]), axis=1))[:, 1:] ** 2
    total = power.sum(1)
    found += [part.sum(1) / np.where(total > 0, total, 1) for part in np.array_split(power, BANDS, axis=1)]
    return np.nan_to_num(np.concatenate(found, 1))


@contextmanager
def _quiet() -> Iterator[None]:
    """numpy warns where all of a channel is unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def forest(
    train: np.ndarray, labels: Sequence[str], test: np.ndarray, seed: int = 0
) -> tuple[list[str], np.ndarray, list[str]]:
    """Answers for the test windows (n, F), their probabilities (n, C), and the classes (C): a random forest of 300 trees
    (Breiman 2001; scikit-learn's defaults) on the training windows (N, F)."""
    model = RandomForestClassifier(TREES, random_state=seed, n_jobs=-1).fit(train, list(labels))
    probabilities = np.asarray(model.predict_proba(test))
    classes = [str(name) for name in model.classes_]
    return [classes[i] for i in probabilities.argmax(1)], probabilities, classes
