"""Windows as small pictures: signals, bodies, frames, words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from aura.body.skeletons import Skeleton, skeleton
from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput, Pose2dInput, SeriesInput
from aura.data.reader import EvalReader
from aura.tasks.evaluate import Embedded

MOMENTS = 5  # bodies and frames of a window
RIGHT, WRONG = "#2ca02c", "#cccccc"


def examples_figure(
    reader: EvalReader, windows: Embedded, query: str, chosen: Tensor, gallery: str, best: Tensor
) -> Figure:
    """A row for each query (n,): its window of one stream, then the windows of the other that it finds (n, k), by their
    places among the embedded windows."""
    figure = Figure(figsize=(3.4 * (1 + best.shape[1]), 2.0 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), 1 + best.shape[1], squeeze=False)
    for row, (place, found) in enumerate(zip(chosen.tolist(), best.tolist())):
        draw(grid[row][0], reader, windows, query, place, "query")
        for column, answer in enumerate(found):
            axes = grid[row][1 + column]
            draw(axes, reader, windows, gallery, answer, f"{column + 1}.")
            for spine in axes.spines.values():
                spine.set(
                    visible=True, color=RIGHT if answer == place else WRONG, linewidth=3 if answer == place else 1
                )
    return figure


def draw(axes: Axes, reader: EvalReader, windows: Embedded, stream: str, place: int, head: str) -> None:
    batch = reader.read([int(windows.numbers[place])])
    settings = reader.cutter.inputs[stream]
    words = windows.texts[place] or ", ".join(windows.labels[place].values())
    title = f"{head} {windows.recordings[place]} at {windows.start_s[place]:.1f} s\n{words}"
    axes.set_title("\n".join(textwrap.shorten(line, 60, placeholder=" …") for line in title.split("\n")), fontsize=7)
    axes.set(xticks=[], yticks=[])
    PAINTERS.get(settings.kind, _words)(axes, batch.streams[stream], settings)


def _imu(axes: Axes, stream: Stream, settings: ImuInput) -> None:
    values, valid = stream.values[0].numpy(), stream.valid[0].numpy()
    time = np.arange(values.shape[1]) / settings.rate_hz
    for s in range(len(values)):
        if valid[s].any():
            norm = np.where(valid[s], np.linalg.norm(values[s, :, :3], axis=-1), np.nan)
            axes.plot(time, norm, lw=0.8)
    axes.set_ylabel("|acc|, m/s²", fontsize=6)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=6)


def _series(axes: Axes, stream: Stream, settings: SeriesInput) -> None:
    """Channels as the tower reads them, their units apart: by `mean` and `std`."""
    values, valid = stream.values[0].numpy(), stream.valid[0].numpy()
    time = np.arange(len(values)) / settings.rate_hz
    level = (np.where(valid, values, np.nan) - np.array(settings.mean)) / np.array(settings.std)
    for column, channel in zip(level.T, settings.channels):
        axes.plot(time, column, ".-", ms=2, lw=0.8, label=channel.partition(" ")[0])
    axes.set_ylabel("standard deviations", fontsize=6)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=5, frameon=False)


def _bodies(axes: Axes, flat: np.ndarray, known: np.ndarray, tree: Skeleton) -> None:
    """Bodies (M, J, 2) beside each other, y up."""
    if not known.any():
        return
    edges = np.array(tree.edges)
    height = float(np.ptp(flat[known][:, 1])) or 1.0
    for i, (body, there) in enumerate(zip(flat, known)):
        if not there.any():
            continue
        here = (body - body[there].mean(0)) / height + [0.9 * i, 0]
        seen = edges[there[edges].all(1)]
        axes.add_collection(LineCollection(list(here[seen]), colors="#1f77b4", linewidths=1.2))
    axes.set(xlim=(-0.8, 0.9 * (len(flat) - 1) + 0.8), ylim=(-0.75, 0.75), aspect="equal")


def _moments(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(MOMENTS, count)).round().astype(int)


def _mocap(axes: Axes, stream: Stream, settings: MocapInput) -> None:
    at = _moments(stream.values.shape[1])
    joints = stream.values[0].numpy()[at]
    mask = stream.joint_mask[0].numpy() if stream.joint_mask is not None else np.ones(joints.shape[1], bool)
    known = stream.valid[0].numpy()[at, None] & mask
    _bodies(axes, joints[..., [0, 2]], known, skeleton(settings.skeleton))


def _pose2d(axes: Axes, stream: Stream, settings: Pose2dInput) -> None:
    at = _moments(stream.values.shape[1])
    joints = stream.values[0].numpy()[at]
    known = (joints[..., 2] > 0) & stream.valid[0].numpy()[at, None]
    _bodies(axes, joints[..., :2] * [1, -1], known, skeleton(settings.skeleton))


def _video(axes: Axes, stream: Stream, settings: object) -> None:
    values = stream.values[0]
    if values.dim() != 4:  # stored embeddings show nothing
        axes.text(0.5, 0.5, "stored embeddings", ha="center", va="center", transform=axes.transAxes, fontsize=7)
        return
    at = _moments(len(values))
    axes.imshow(np.concatenate([values[i].permute(1, 2, 0).numpy() for i in at], 1))


def _words(axes: Axes, stream: Stream, settings: object) -> None:
    """The title has them; it is all of a kind that nobody draws, too."""


PAINTERS: dict[str, Callable[..., None]] = {
    "imu": _imu,
    "mocap": _mocap,
    "pose2d": _pose2d,
    "series": _series,
    "video": _video,
    "text": _words,
}
