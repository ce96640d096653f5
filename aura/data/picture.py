"""A picture of a sample: frames of video, 2D poses over them, skeletons, signals and texts, one above another on one time axis.

What a wrong converter does to a sample shows here: a person who lies where they should stand, sides that are swapped, a
pose beside its person, gravity along another axis than the orientation says, texts at the wrong time.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aura.body.kinematics import conjugate, rotate
from aura.body.skeletons import Skeleton, skeleton
from aura.body.virtual_imu import GRAVITY
from aura.data.config import kind_of
from aura.data.sample import Sample, orientation_of
from aura.data.video import decode_frames

WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 15.0, 1.8, 0.25, 0.75, 0.55, 0.12  # inches
INSIDE = WIDTH - LEFT - RIGHT
IMAGES = 1.5  # height of rows of images; of bodies
BODIES = 2.0
MOST_MOMENTS = 12
MOST_TEXTS = 24
LANE = 0.21  # height of a text
TURN = np.radians(35)  # bodies are seen from the front, from somewhat to their left
SIDES = {"left": "#1f77b4", "right": "#d62728", "": "#444444"}
AXES = (("x", "#d62728"), ("y", "#2ca02c"), ("z", "#1f77b4"))
KINDS = {"label": "#9ecae1", "description": "#a1d99b", "commentary": "#fdd0a2", "paraphrase": "#dadaeb"}


@dataclass(frozen=True)
class Row:
    """A strip of the picture: its height in inches, and what draws into it given the seconds of an inch."""

    height: float
    draw: Callable[[Axes, float], None]


def picture(sample: Sample) -> Figure:
    """A figure of all streams of a sample but stored embeddings; `figure.savefig(path)` writes it.

    Rows from above: video and 2D pose (images), mocap (bodies seen from the front at the middle of the sample; up is the world's
    z, in metres), a row of acceleration and one of angular velocity for each sensor, texts. Dotted in the acceleration: what
    the sensor would show at rest by its orientation. A row for each channel of a series follows the sensors.
    ValueError where a video cannot be decoded.
    """
    rows = _image_rows(sample)
    rows += [_body_row(sample, name) for name in sample.streams if _kind(name) == "mocap"]
    rows += [row for name in sample.streams if _kind(name) == "imu" for row in _sensor_rows(sample, name)]
    rows += [row for name in sample.streams if _kind(name) == "series" for row in _series_rows(sample, name)]
    if sample.texts:
        rows.append(_text_row(sample))
    height = TOP + BOTTOM + sum(row.height + GAP for row in rows)
    figure = Figure(figsize=(WIDTH, height))
    first, last = _extent(sample)
    y = height - TOP
    for number, row in enumerate(rows):
        y -= row.height
        box = (LEFT / WIDTH, y / height, INSIDE / WIDTH, row.height / height)
        axes = figure.add_axes(box)
        axes.set_xlim(first, last)
        axes.tick_params(labelsize=7, labelbottom=number == len(rows) - 1)
        row.draw(axes, (last - first) / INSIDE)
        axes.set_xlim(first, last)  # images and bars change it
        y -= GAP
    if rows:
        figure.axes[-1].set_xlabel("seconds in the sample", fontsize=8)
    labels = ", ".join(f"{name}: {value}" for name, value in sample.labels.items())
    where = ", ".join(x for x in (sample.dataset, sample.subject and f"subject {sample.subject}", sample.session) if x)
    figure.text(LEFT / WIDTH, 1 - 0.28 / height, f"{sample.id}   ({where})", fontsize=11, weight="bold")
    facts = f"{sample.duration_s:.3g} s from {sample.start_s:.4g} s of {sample.recording}; {labels or 'no labels'}"
    figure.text(LEFT / WIDTH, 1 - 0.52 / height, textwrap.shorten(facts, 175, placeholder=" …"), fontsize=9)
    return figure


def _kind(name: str) -> str:
    return "emb" if name.endswith(".emb") else kind_of(name)


def _array(sample: Sample, name: str) -> np.ndarray:
    value = sample.arrays[name]
    assert isinstance(value, np.ndarray)
    return value


def _extent(sample: Sample) -> tuple[float, float]:
    """Seconds from the first to the last of the sample and all its streams."""
    timed = [entry for entry in sample.streams.values() if "rate_hz" in entry]
    first = min([0.0, *(entry["start_s"] for entry in timed)])
    return first, max([sample.duration_s, *(e["start_s"] + (e["length"] - 1) / e["rate_hz"] for e in timed)])


def _moments(entry: Mapping, sample: Sample, inches: float) -> np.ndarray:
    """Numbers of a stream's items to show, as many as fit where each takes `inches`: spread evenly, each in its middle."""
    first, last = _extent(sample)
    count = int(np.clip(INSIDE // inches, 1, MOST_MOMENTS))
    times = first + (np.arange(count) + 0.5) / count * (last - first)
    items = np.rint((times - entry["start_s"]) * entry["rate_hz"]).astype(int)
    inside = items[(items >= 0) & (items < entry["length"])]
    return inside if len(inside) else np.array([entry["length"] // 2])


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, fontsize=7, rotation=0, ha="right", va="center")


def _image_rows(sample: Sample) -> list[Row]:
    """Frames of each video, with the 2D pose of the same camera over them; 2D poses without a video on empty images."""
    videos = [name for name in sample.streams if _kind(name) == "video"]
    poses = [name for name in sample.streams if _kind(name) == "pose2d"]
    over = {pose: _video_of(sample, pose, videos) for pose in poses}
    rows = [_image_row(sample, name, [p for p in poses if over[p] == name]) for name in videos]
    return rows + [_image_row(sample, None, [pose]) for pose in poses if over[pose] is None]


def _video_of(sample: Sample, pose: str, videos: list[str]) -> str | None:
    """The video whose image a 2D pose is in: that of the same suffix, else the only one; both of one shape (not size)."""

    def shape(name: str) -> float:
        camera = sample.streams[name]["camera"]
        return camera["width"] / camera["height"]

    same = [video for video in videos if abs(shape(video) / shape(pose) - 1) < 0.02]
    named = pose.replace("pose2d", "video", 1)
    if named in same:
        return named
    return same[0] if len(videos) == len(same) == 1 else None


def _image_row(sample: Sample, video: str | None, poses: list[str]) -> Row:
    entry = sample.streams[video or poses[0]]
    camera = entry["camera"]
    inches = IMAGES * camera["width"] / camera["height"]
    chosen = _moments(entry, sample, inches * 1.03)
    frames = None
    if video is not None:
        data = sample.arrays[video]
        assert isinstance(data, bytes)
        frames = decode_frames(data, chosen / entry["rate_hz"])

    def draw(axes: Axes, second: float) -> None:
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        for number, item in enumerate(chosen):
            time = entry["start_s"] + item / entry["rate_hz"]
            begin, span = time - inches * second / 2, inches * second
            frame = Rectangle((begin, 0), span, 1, fill=frames is None, fc="#f4f4f4", ec="#888888", lw=0.5)
            axes.add_patch(frame)
            if frames is not None:
                axes.imshow(frames[number], extent=(begin, begin + span, 0, 1), aspect="auto")
            for pose in poses:
                points = _at(sample, pose, time)
                if points is None:
                    continue
                known = points[:, 2] > 0
                own = sample.streams[pose]["camera"]  # the same view, perhaps at another size
                x, y = begin + points[:, 0] / own["width"] * span, 1 - points[:, 1] / own["height"]
                tree = skeleton(sample.streams[pose]["skeleton"])
                bones(axes, tree, np.stack([x, y], 1), known, frame)
        size = f"{camera['width']} x {camera['height']}"
        names = [f"{name}\n{sample.streams[name]['rate_hz']:.4g} Hz" for name in [video, *poses] if name]
        _label(axes, "\n".join([*names, size]))

    return Row(IMAGES, draw)


def _at(sample: Sample, name: str, time: float) -> np.ndarray | None:
    """The item of a stream nearest to a time in the sample; None beyond the stream's ends."""
    entry = sample.streams[name]
    item = int(np.rint((time - entry["start_s"]) * entry["rate_hz"]))
    return _array(sample, name)[item] if 0 <= item < entry["length"] else None


def bones(axes: Axes, tree: Skeleton, points: np.ndarray, known: np.ndarray, clip: Rectangle | None = None) -> None:
    """Bones between known points (J, 2), the body's left blue and its right red."""
    sides = [name.partition("_")[0] for name in tree.canonical]
    edges = [(a, b) for a, b in tree.edges if known[a] and known[b]]
    colours = [SIDES.get(sides[b], SIDES[""]) for _, b in edges]
    lines = LineCollection([points[[a, b]] for a, b in edges], colors=colours, linewidths=1.3, zorder=3)
    axes.add_collection(lines, autolim=False)
    dots = axes.scatter(*points[known].T, s=3, c=[SIDES.get(s, SIDES[""]) for s, k in zip(sides, known) if k], zorder=4)
    if clip is not None:
        for artist in (lines, dots):
            artist.set_clip_path(clip)


def _body_row(sample: Sample, name: str) -> Row:
    entry, joints = sample.streams[name], _array(sample, name).astype(float)
    tree = skeleton(entry["skeleton"])
    right = across(joints[len(joints) // 2], tree)
    low, high = joints[..., 2].min(), joints[..., 2].max()
    tall = max(high - low, 0.1) * 1.06
    flat = joints[..., :2] @ right
    flat -= (flat.max(1, keepdims=True) + flat.min(1, keepdims=True)) / 2
    inches = np.ptp(flat, axis=1).max() / tall * BODIES  # of the widest pose, to the scale of the height
    chosen = _moments(entry, sample, max(inches, 0.3) * 1.05)

    def draw(axes: Axes, second: float) -> None:
        middle = (low + high) / 2
        axes.set_ylim(middle - tall / 2, middle + tall / 2)
        for item in chosen:
            x = entry["start_s"] + item / entry["rate_hz"] + flat[item] / tall * BODIES * second
            bones(axes, tree, np.stack([x, joints[item, :, 2]], 1), np.ones(len(x), bool))
        _label(axes, f"{name}\n{tree.name}\n{entry['rate_hz']:.4g} Hz\nz, m")
        axes.yaxis.set_label_coords(-0.037, 0.5)

    return Row(BODIES, draw)


def across(pose: np.ndarray, tree: Skeleton) -> np.ndarray:
    """The horizontal direction (2,) that is drawn to the right: about the body's left, as one who faces it sees it."""
    names = tree.canonical
    for part in ("hip", "shoulder"):
        if f"left_{part}" in names and f"right_{part}" in names:
            left = (pose[names.index(f"left_{part}")] - pose[names.index(f"right_{part}")])[:2]
            if np.linalg.norm(left) > 1e-3:
                left = left / np.linalg.norm(left)
                forward = np.array([left[1], -left[0]])  # left x up
                return np.cos(TURN) * left - np.sin(TURN) * forward
    return np.array([1.0, 0.0])


def _sensor_rows(sample: Sample, name: str) -> list[Row]:
    entry, values = sample.streams[name], _array(sample, name)
    times = entry["start_s"] + np.arange(entry["length"]) / entry["rate_hz"]
    height = 0.85 if values.shape[0] <= 4 else 0.5
    turned = sample.arrays.get(orientation_of(name))
    rest = None
    if isinstance(turned, np.ndarray):
        rest = rotate(conjugate(turned.astype(float)), np.array([0.0, 0.0, GRAVITY]))
    rows = []
    for i, sensor in enumerate(entry["sensors"]):
        place = sensor["placement"] + (" (virtual)" if sensor.get("virtual") else "")
        for channel, unit in (("acc", "m/s²"), ("gyro", "rad/s")):
            if channel not in sensor["channels"]:
                continue
            signal = values[i, :, :3] if channel == "acc" else values[i, :, 3:]
            dotted = rest[i] if channel == "acc" and rest is not None else None
            head = f"{name}, {entry['rate_hz']:.4g} Hz\n" if not rows else ""
            rows.append(
                Row(height, _signal(times, signal, dotted, f"{head}{place}\n{channel}, {unit}", legend=not rows))
            )
    return rows


def _series_rows(sample: Sample, name: str) -> list[Row]:
    entry, values = sample.streams[name], _array(sample, name)
    times = entry["start_s"] + np.arange(entry["length"]) / entry["rate_hz"]

    def row(channel: str, column: np.ndarray) -> Row:
        def draw(axes: Axes, second: float) -> None:
            axes.plot(
                times, column, color="#444444", lw=0.8, marker=".", ms=2
            )  # a value between two missing ones is a dot
            axes.grid(alpha=0.3)
            _label(axes, f"{name}, {entry['rate_hz']:.4g} Hz\n{', '.join(channel.split(' '))}")
            axes.yaxis.set_label_coords(-0.037, 0.5)

        return Row(0.5, draw)

    return [row(channel, column) for channel, column in zip(entry["channels"], values.T)]


def _signal(
    times: np.ndarray, signal: np.ndarray, dotted: np.ndarray | None, label: str, *, legend: bool
) -> Callable[[Axes, float], None]:
    def draw(axes: Axes, second: float) -> None:
        axes.plot(times, np.linalg.norm(signal, axis=1), color="#bbbbbb", lw=0.7, label="norm")
        for i, (axis, colour) in enumerate(AXES):
            axes.plot(times, signal[:, i], color=colour, lw=0.7, label=axis)
            if dotted is not None:
                axes.plot(times, dotted[:, i], color=colour, lw=0.8, ls=":")
        axes.grid(alpha=0.3)
        _label(axes, label)
        axes.yaxis.set_label_coords(-0.037, 0.5)
        if legend:
            axes.legend(loc="upper right", fontsize=6, ncol=4, framealpha=0.6, borderpad=0.2, handlelength=1)

    return draw


def _text_row(sample: Sample) -> Row:
    first, last = _extent(sample)
    letter = 0.066 * (last - first) / INSIDE  # seconds that a letter of this size takes
    texts = sorted(sample.texts, key=lambda t: (t["start_s"], -t["end_s"], list(KINDS).index(t["kind"])))
    shown = texts[:MOST_TEXTS]
    ends: list[float] = []  # of what lies in each lane
    lanes = []
    for text in shown:
        begin, end = max(text["start_s"], first), min(text["end_s"], last)
        if end - begin < 8 * letter:  # a moment: its words stand beside it
            end = min(begin + letter * (len(text["text"]) + 3), last)
        lane = next((i for i, until in enumerate(ends) if until <= begin + 1e-6), len(ends))
        ends[lane : lane + 1] = [end]
        lanes.append((lane, begin, end))

    def draw(axes: Axes, second: float) -> None:
        axes.set_ylim(max(len(ends), 3), 0)
        axes.set_yticks([])
        for text, (lane, begin, end) in zip(shown, lanes):
            until = min(max(text["end_s"], text["start_s"] + 2 * second / 72), last)
            colour = KINDS[text["kind"]]
            axes.add_patch(
                Rectangle((begin, lane + 0.08), max(until - begin, 0), 0.84, fc=colour, ec="#888888", lw=0.4)
            )
            room = max(int((end - begin) / letter) - 1, 3)
            words = re.sub(r"\s+", " ", text["text"])
            words = words if len(words) <= room else words[: room - 1] + "…"
            words = words.replace("$", r"\$")  # else mathematics
            axes.text(begin + 4 * second / 72, lane + 0.52, words, fontsize=7, va="center", clip_on=True)
        used = [kind for kind in KINDS if any(text["kind"] == kind for text in texts)]
        for number, kind in enumerate(used):
            y = 1 - (number + 0.5) / max(len(used), 3)
            box = {"fc": KINDS[kind], "ec": "none", "pad": 1.5}
            axes.text(-0.01, y, kind, fontsize=6, ha="right", va="center", transform=axes.transAxes, bbox=box)
        if len(texts) > len(shown):
            axes.set_title(f"{len(texts) - len(shown)} more texts are not shown", fontsize=7, loc="right", pad=1)

    return Row(max(len(ends), 3) * LANE, draw)
