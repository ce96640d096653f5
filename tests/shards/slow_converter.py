"""A converter whose recordings take a while: `python -m tests.shards.slow_converter OUT ENGINE WORKERS LOG [--resume]`.

Each recording begun is a line of LOG: the process, and the recording.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.common import convert

RECORDINGS = [f"r{i:02d}" for i in range(12)]


def samples_of(recording: str, log: Path, seconds: float) -> Iterator[tuple[str, Sample] | Dropped]:
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {recording}\n")
    time.sleep(seconds)
    yield Dropped("made up", 0.5)
    imu = np.random.default_rng(int(recording[1:])).standard_normal((1, 500, 6)).astype(np.float32)
    yield (
        "val" if recording > "r08" else "train",
        Sample(
            id=recording,
            dataset="slow",
            recording=recording,
            subject=recording,
            duration_s=10.0,
            streams={
                "imu": {
                    "rate_hz": 50.0,
                    "start_s": 0.0,
                    "length": 500,
                    "sensors": [{"placement": "left wrist", "channels": ["acc", "gyro"]}],
                }
            },
            arrays={"imu": imu},
        ),
    )


def run(out: Path, engine: str, workers: int, log: Path, *, resume: bool = False, seconds: float = 0.0) -> dict:
    made = partial(samples_of, log=log, seconds=seconds)
    return convert(
        "slow", RECORDINGS, made, out, engine=engine, workers=workers, resume=resume, shard_bytes=30_000, card="# Slow"
    )


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), seconds=0.5)
