"""The variants of every case of `tools/bench.py`, from the file of its area.

A variant is a function of the settings that prepares its inputs and gives the work to measure: a function that does it
once and returns how many units (samples, windows, steps, clips) it did.
"""

from __future__ import annotations

from collections.abc import Callable

import bench_convert
import bench_losses
import bench_read
import bench_sync
import bench_towers
import bench_video
from bench_data import Work

VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    **bench_read.VARIANTS,
    **bench_losses.VARIANTS,
    **bench_towers.VARIANTS,
    **bench_video.VARIANTS,
    **bench_sync.VARIANTS,
    **bench_convert.VARIANTS,
}
