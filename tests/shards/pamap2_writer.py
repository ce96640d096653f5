"""Files in the layout of PAMAP2, written from its published description: 54 numbers a line as C++ prints them, one space."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HAND, CHEST, ANKLE = (
    3,
    20,
    37,
)  # first column of a sensor: temperature, then 3 acc16, 3 acc6, 3 gyro, 3 mag, 4 orientation


def table(rows: list[tuple[int, int]], *, start: float = 8.38, seed: int = 0, quaternions: bool = True) -> np.ndarray:
    """Numbers (n, 54) of a file: `rows` are (activity, lines) in order. Heart rate on every 11th line."""
    rng = np.random.default_rng(seed)
    activity = np.repeat([a for a, _ in rows], [n for _, n in rows]).astype(float)
    n = len(activity)
    x = np.full((n, 54), np.nan)
    x[:, 0] = start + np.arange(n) / 100
    x[:, 1] = activity
    x[::11, 2] = rng.integers(60, 180, len(x[::11]))
    for first in (HAND, CHEST, ANKLE):
        x[:, first] = np.round(rng.uniform(30, 34) * 16) / 16
        acc = rng.normal([1.5, 9.5, -1.0], 0.6, (n, 3))
        x[:, first + 1 : first + 4] = acc
        x[:, first + 4 : first + 7] = acc + rng.normal(0, 0.1, (n, 3))
        x[:, first + 7 : first + 10] = rng.normal(0, 0.05, (n, 3))
        x[:, first + 10 : first + 13] = rng.normal(0, 40, (n, 3))
        x[:, first + 13 : first + 17] = rng.normal(0, 0.5, (n, 4)) if quaternions else [1, 0, 0, 0]
    return x


def lose(x: np.ndarray, first: int, begin: int, end: int) -> None:
    """Lost packets: a sensor's whole block is missing in these lines."""
    x[begin:end, first : first + 17] = np.nan


def lines(x: np.ndarray, end: str = "\n") -> list[str]:
    """Lines as published: at most 6 significant digits, NaN for what is missing."""
    return [" ".join("NaN" if np.isnan(v) else f"{v:g}" for v in row) + end for row in x]


def write(path: Path, x: np.ndarray, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(lines(x, end)).encode())
    return path


def printed(x: np.ndarray, first: int) -> np.ndarray:
    """What the file says of a sensor's +-16 g acceleration and angular velocity, (n, 6) float32."""
    chosen = x[:, [first + c for c in (1, 2, 3, 7, 8, 9)]]
    return np.array([[np.float32(f"{v:g}") for v in row] for row in chosen])
