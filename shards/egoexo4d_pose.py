"""Body poses of Ego-Exo4D: annotated frames to runs on even grids, and which part of a run is whole."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aura.body.skeletons import SKELETONS, Skeleton
from aura.data.writer import Dropped
from shards.egoexo4d_takes import FPS
from shards.signals import on_grid

COCO = SKELETONS["coco17"]
GAP_S = 0.35  # 3D: longest time over which a joint is interpolated. Between runs of frames a longer one is a cut
AXES3, AXES2 = ("x", "y", "z"), ("x", "y")


@dataclass(frozen=True, eq=False)
class Run:
    """Frames without a long gap, on an even grid: item i is at start_s + i / rate_hz of take time.

    points   (T, 17, 3) metres, z up; NaN where a joint is not known
    images   camera -> (T, 17, 3) x, y in pixels, confidence
    """

    start_s: float
    rate_hz: float
    points: np.ndarray
    images: dict[str, np.ndarray]

    @property
    def length(self) -> int:
        return len(self.points)


def read_poses(path: Path, min_views: int, cameras: Sequence[str]) -> tuple[list[Run], list[Dropped]]:
    """The runs of a file of body poses, in order of time, and what was left out. ValueError where it cannot be read.

    The frames' spacing is measured: the most frequent step from one annotated frame to the next gives the rate. Joints
    that fewer than `min_views` cameras saw are left out of the 3D pose.
    """
    try:
        content = json.loads(path.read_bytes())
        records = {int(number): found[0] for number, found in content.items() if found}
        frames = np.array(sorted(records), np.int64)
        ordered = [records[frame] for frame in frames.tolist()]
        points, few = _points(ordered, min_views)
        images = {camera: _images(ordered, camera) for camera in cameras}
    except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"cannot be read, download it again: {type(error).__name__} {error}") from error
    notes = []
    empty = len(content) - len(records)
    several = sum(len(found) > 1 for found in content.values() if found)
    if empty:
        notes.append(Dropped("frames without a pose", count=empty))
    if several:
        notes.append(Dropped("frames with several poses: the first is used", count=several))
    if not records:
        return [], notes
    spacing, counts = np.unique(np.diff(frames), return_counts=True)
    step = int(spacing[counts.argmax()]) if len(spacing) else 1
    if few:
        notes.append(Dropped(f"joints that fewer than {min_views} cameras saw", count=few))
    cuts = np.flatnonzero(np.diff(frames) > max(GAP_S * FPS, step)) + 1
    runs, bridged = [], 0
    for begin, end in itertools.pairwise([0, *cuts.tolist(), len(frames)]):
        here = slice(begin, end)
        times = frames[here] / FPS
        grid = times[0] + np.arange((frames[end - 1] - frames[begin]) // step + 1) * step / FPS
        joints = [_laid(times, points[here, j], grid, FPS / step, GAP_S) for j in range(17)]
        laid = np.stack([values for values, _ in joints], 1)
        bridged += sum(filled for _, filled in joints)
        flat = {camera: _flat(times, values[here], grid, FPS / step) for camera, values in images.items()}
        runs.append(Run(float(times[0]), FPS / step, laid, flat))
    if bridged:
        notes.append(Dropped(f"joints of a frame interpolated over up to {GAP_S:g} s", count=bridged))
    cut_s = float((np.diff(frames)[cuts - 1] / FPS).sum())
    if len(cuts):
        notes.append(Dropped(f"gaps between frames longer than {GAP_S:g} s: cut there", cut_s, len(cuts)))
    return runs, notes


def _points(records: Sequence[Mapping], min_views: int) -> tuple[np.ndarray, int]:
    """(n, 17, 3) with NaN, and how many joints had too few views."""
    out, few = np.full((len(records), 17, 3), np.nan, np.float32), 0
    for i, record in enumerate(records):
        for j, point in _joints(record.get("annotation3D")):
            views = point.get("num_views_for_3d")
            if views is not None and views < min_views:
                few += 1
            else:
                out[i, j] = [float(point[axis]) for axis in AXES3]
    return out, few


def _images(records: Sequence[Mapping], camera: str) -> np.ndarray:
    """(n, 17, 2) with NaN, of one camera."""
    out = np.full((len(records), 17, 2), np.nan, np.float32)
    for i, record in enumerate(records):
        for j, point in _joints((record.get("annotation2D") or {}).get(camera)):
            out[i, j] = [float(point[axis]) for axis in AXES2]
    return out


def _joints(found: Mapping | None) -> list[tuple[int, Mapping]]:
    """(index, point) of the joints of a record, whose names are spelt with hyphens or underscores."""
    named = [(name.replace("-", "_"), point) for name, point in (found or {}).items() if point]
    return [(COCO.joints.index(name), point) for name, point in named if name in COCO.joints]


def _laid(
    times: np.ndarray, values: np.ndarray, grid: np.ndarray, rate_hz: float, longest_s: float
) -> tuple[np.ndarray, int]:
    """Values (n, C) on a grid, NaN where nothing holds, and how many items were filled."""
    out, live, filled = on_grid(times, values, grid, rate_hz, longest_s + 1e-6)
    return np.where(live[:, None], out, np.nan), int((live & filled).sum())


def _flat(times: np.ndarray, values: np.ndarray, grid: np.ndarray, rate_hz: float) -> np.ndarray:
    """Image points (T, 17, 3) with confidence: 1 where a joint is annotated, else all 0; nothing is interpolated but
    from one frame to the next, where annotated frames lie off the grid."""
    laid = np.stack([_laid(times, values[:, j], grid, rate_hz, 1.1 / rate_hz)[0] for j in range(17)], 1)
    known = np.isfinite(laid).all(-1, keepdims=True)
    return np.concatenate([np.where(known, laid, 0), known], -1).astype(np.float32)


def whole(points: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The largest part, in joints x frames, of (T, J, 3) in which nothing is missing: begin, end, joints kept (K,).

    Joints are given up in the order in which they are missing most; (0, 0, none) where there is nothing.
    """
    there = np.asarray(np.isfinite(points).all(-1))
    order = np.argsort(there.sum(0), kind="stable")
    best = (0, 0, np.zeros(0, np.int64))
    size = 0
    for given_up in range(len(order)):
        kept = np.sort(order[given_up:])
        good = np.concatenate([[False], there[:, kept].all(1), [False]])
        edges = np.flatnonzero(good[1:] != good[:-1]).reshape(-1, 2)
        if len(edges):
            begin, end = edges[np.diff(edges, axis=1)[:, 0].argmax()].tolist()
            if (end - begin) * len(kept) > size:
                size, best = (end - begin) * len(kept), (begin, end, kept)
    return best


def skeleton_of(joints: np.ndarray) -> dict:
    """The skeleton of some joints of COCO's 17, in place: a joint hangs on its nearest ancestor that is there.

    In place for all 17 too: a field must have one type in all samples.
    """
    names, parents = [], []
    for joint in joints.tolist():
        parent = COCO.parents[joint]
        while parent >= 0 and parent not in joints:
            parent = COCO.parents[parent]
        names.append(COCO.joints[joint])
        parents.append(int(np.flatnonzero(joints == parent)[0]) if parent >= 0 else -1)
    made = Skeleton("coco17", tuple(names), tuple(parents))
    return {"name": made.name, "joints": list(made.joints), "parents": list(made.parents)}
