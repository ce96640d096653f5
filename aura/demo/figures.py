"""Pictures of the page: a recording's signals and activities on one time axis, its moments, windows that were found."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from aura.body.skeletons import skeleton
from aura.data.config import kind_of
from aura.data.picture import AXES, across, bones
from aura.data.video import decode_frames
from aura.demo.readers import Loaded
from aura.inference.model import Classification

WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 11.0, 1.9, 0.85, 0.33, 0.55, 0.22  # inches
FONT, DPI = 11, 100
SIGNAL, SIGNALS, CLASS = 0.95, 0.66, 0.27  # height of a signal, of one among many, of a class
MOST_CLASSES, MOST_SENSORS, MOST_TURNS = 6, 6, 2
MOMENTS, COLUMNS, CELL = 48, 8, 2.2  # of a sheet of bodies; inches of a body
FILM_CELL = 220  # pixels of the height of a frame


@dataclass(frozen=True)
class Timeline:
    """A picture whose time axis goes from `left` to `right`, as shares of its width, and lies `foot` above its lower edge, as a
    share of its height."""

    image: bytes
    left: float
    right: float
    foot: float
    first_s: float
    last_s: float


@dataclass(frozen=True)
class Sheet:
    """Moments of a stream in one image, row by row: moment i is at start_s + i step_s."""

    image: bytes
    name: str
    kind: str
    columns: int
    rows: int
    count: int
    start_s: float
    step_s: float
    ratio: float  # width to height of a moment


def as_png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()


def data_url(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def timeline(loaded: Loaded, found: Classification, start_s: float, span_s: float) -> Timeline:
    """Activities by window over the signals. start_s: of the stream that was classified; span_s: of a window."""
    names = sorted(found.probabilities, key=lambda name: -found.probabilities[name])[:MOST_CLASSES]
    rows = _signals(loaded)
    heights = [len(names) * CLASS, *(height for height, _ in rows)]
    total = TOP + BOTTOM + sum(heights) + GAP * len(rows)
    figure = Figure(figsize=(WIDTH, total))
    first, last = loaded.extent_s
    inside, y = WIDTH - LEFT - RIGHT, total - TOP
    for number, height in enumerate(heights):
        y -= height
        axes = figure.add_axes((LEFT / WIDTH, y / total, inside / WIDTH, height / total))
        axes.set_xlim(first, last)
        axes.tick_params(labelsize=FONT, labelbottom=number == len(heights) - 1)
        if number:
            rows[number - 1][1](axes)
        else:
            columns = [list(found.probabilities).index(name) for name in names]
            edges = _edges(found.start_s.numpy() + start_s + span_s / 2, first, last)
            shares = found.by_window[:, columns].T.numpy()
            mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), shares, vmin=0, vmax=1, cmap="Blues")
            axes.set_ylim(len(names), 0)
            axes.set_yticks(np.arange(len(names)) + 0.5, [_short(name) for name in names])
            axes.set_title(f"activity in the {span_s:.3g} s around each moment", fontsize=FONT, loc="left", pad=4)
            box = ((WIDTH - RIGHT + 0.1) / WIDTH, y / total, 0.12 / WIDTH, height / total)
            bar = figure.colorbar(mesh, cax=figure.add_axes(box))
            bar.ax.tick_params(labelsize=FONT - 1)
            bar.ax.set_ylabel("probability", fontsize=FONT - 1)
        axes.set_xlim(first, last)
        y -= GAP
    figure.axes[-1 if rows else 0].set_xlabel("seconds", fontsize=FONT)
    return Timeline(as_png(figure), LEFT / WIDTH, 1 - RIGHT / WIDTH, BOTTOM / total, first, last)


def _edges(centres: np.ndarray, first: float, last: float) -> np.ndarray:
    """Between the middles of windows (N,) ascending; the first and the last reach to the ends."""
    return np.concatenate([[first], (centres[1:] + centres[:-1]) / 2, [last]])


def _short(name: str, most: int = 22) -> str:
    name = name.replace("_", " ")
    return plain(name if len(name) <= most else name[: most - 1] + "…")


def plain(text: str) -> str:
    """A text as Matplotlib writes it letter by letter, without mathematics."""
    return text.replace("$", r"\$")


def _signals(loaded: Loaded) -> list[tuple[float, Any]]:
    """Height and drawing of each signal: accelerations of all sensors, angular velocities where there are few."""
    rows: list[tuple[float, Any]] = []
    for name in [name for name in loaded.given if kind_of(name) == "imu"]:
        about, values = loaded.streams[name], loaded.arrays[name]
        times = about["start_s"] + np.arange(about["length"]) / about["rate_hz"]
        few = len(values) <= MOST_TURNS
        for sensor, of_sensor in list(zip(about["sensors"], values))[:MOST_SENSORS]:
            place = "" if sensor["placement"] == "unknown" else f"{sensor['placement']}\n"
            parts = [("acc", "acceleration\nm/s²", of_sensor[:, :3])]
            if few:
                parts.append(("gyro", "turning\nrad/s", of_sensor[:, 3:]))
            for channel, unit, signal in parts:
                if channel in sensor["channels"]:
                    label = f"{place}{unit}" if few else f"{place}m/s²"
                    rows.append((SIGNAL if few else SIGNALS, _signal(times, signal, label, not rows)))
    return rows


def _signal(times: np.ndarray, signal: np.ndarray, label: str, legend: bool) -> Any:
    def draw(axes: Any) -> None:
        for i, (axis, colour) in enumerate(AXES):
            axes.plot(times, signal[:, i], color=colour, lw=0.9, label=axis)
        axes.grid(alpha=0.3)
        axes.set_ylabel(label, fontsize=FONT, rotation=0, ha="right", va="center")
        axes.yaxis.set_label_coords(-0.055, 0.5)
        if legend:
            axes.legend(loc="upper right", fontsize=FONT - 1, ncol=3, framealpha=0.7, borderpad=0.2, handlelength=1)

    return draw


def sheets(loaded: Loaded) -> list[Sheet]:
    """Frames of each video, bodies of the first mocap, or else of the first 2D pose."""
    kinds = {
        name: kind_of(name)
        for name in loaded.streams
        if not name.endswith(".emb") and "rate_hz" in loaded.streams[name]
    }
    found = [_film(loaded, name) for name, kind in kinds.items() if kind == "video"]
    for kind in ("mocap", "pose2d"):
        bodies = [name for name in kinds if kinds[name] == kind and name in loaded.arrays]
        if bodies:
            return [*found, _bodies(loaded.streams[bodies[0]], loaded.arrays[bodies[0]], bodies[0])]
    return found


def _moments(about: Mapping[str, Any]) -> np.ndarray:
    """Numbers of items spread evenly over a stream."""
    count = min(MOMENTS, about["length"])
    return ((np.arange(count) + 0.5) * about["length"] / count).astype(int)


def _sheet(image: bytes, name: str, about: Mapping[str, Any], count: int, ratio: float) -> Sheet:
    step = about["length"] / about["rate_hz"] / count
    rows = -(-count // COLUMNS)
    return Sheet(image, name, kind_of(name), COLUMNS, rows, count, about["start_s"] + step / 2, step, ratio)


def _film(loaded: Loaded, name: str) -> Sheet:
    about, values = loaded.streams[name], loaded.arrays[name]
    chosen = _moments(about)
    if isinstance(values, bytes):
        cells = decode_frames(values, chosen / about["rate_hz"], _cell)
    else:
        cells = np.stack([_cell(values[i]) for i in chosen])
    height, width = cells.shape[1:3]
    sheet = Image.new("RGB", (width * COLUMNS, height * -(-len(cells) // COLUMNS)))
    for i, cell in enumerate(cells):
        sheet.paste(Image.fromarray(cell), (i % COLUMNS * width, i // COLUMNS * height))
    out = io.BytesIO()
    sheet.save(out, format="JPEG", quality=80)
    return _sheet(out.getvalue(), name, about, len(cells), width / height)


def _cell(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.asarray(Image.fromarray(frame).resize((max(1, round(FILM_CELL * width / height)), FILM_CELL)))


def flat_bodies(about: Mapping[str, Any], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (T, J, 2) as seen from the front, x from the body's middle and y up, within -0.5 to 0.5; and which are known."""
    values = values.astype(float)
    known = np.ones(values.shape[:2], bool)
    if "camera" in about:
        known = values[..., 2] > 0
        flat = values[..., :2] * [1, -1]
        shown = flat[known] if known.any() else np.zeros((1, 2))
        middle, size = (shown.max(0) + shown.min(0)) / 2, max(float(np.ptp(shown, axis=0).max()), 1.0)
        return (flat - middle) / (1.06 * size), known
    right = across(values[len(values) // 2], skeleton(about["skeleton"]))
    x, z = values[..., :2] @ right, values[..., 2]
    x = x - (x.max(1, keepdims=True) + x.min(1, keepdims=True)) / 2
    size = max(float(np.ptp(z)), float(np.ptp(x, axis=1).max()), 0.1) * 1.06
    return np.stack([x, z - (z.max() + z.min()) / 2], -1) / size, known


def _bodies(about: Mapping[str, Any], values: np.ndarray, name: str) -> Sheet:
    flat, known = flat_bodies(about, values)
    chosen = _moments(about)
    rows = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * CELL, rows * CELL))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    axes.axis("off")
    for i, item in enumerate(chosen):
        at = np.array([i % COLUMNS + 0.5, i // COLUMNS + 0.5])
        bones(axes, skeleton(about["skeleton"]), at + flat[item] * [1, -1], known[item])
    return _sheet(as_png(figure), name, about, len(chosen), 1.0)


def hit_figure(loaded: Loaded, start_s: float, span_s: float) -> bytes:
    """Three moments of a window, and the acceleration of the sensor that moves the most."""
    moments = start_s + span_s * (np.arange(3) + 0.5) / 3
    images = [name for name in loaded.streams if not name.endswith(".emb")]
    figure = Figure(figsize=(3.6, 2.7))
    for i, time in enumerate(moments):
        axes = figure.add_axes((0.02 + 0.33 * i, 0.42, 0.3, 0.56))
        axes.axis("off")
        _draw_moment(axes, loaded, images, time)
    sensors = [name for name in loaded.given if kind_of(name) == "imu"]
    if sensors:
        about, values = loaded.streams[sensors[0]], loaded.arrays[sensors[0]]
        times = about["start_s"] + np.arange(about["length"]) / about["rate_hz"]
        inside = (times >= start_s) & (times <= start_s + span_s)
        axes = figure.add_axes((0.12, 0.19, 0.83, 0.2))
        busiest = int(values[:, inside, :3].std(1).sum(-1).argmax())
        for i, (_, colour) in enumerate(AXES):
            axes.plot(times[inside], values[busiest, inside, i], color=colour, lw=0.8)
        axes.set_xlim(start_s, start_s + span_s)
        axes.tick_params(labelsize=8)
        place = about["sensors"][busiest]["placement"]
        axes.set_xlabel(f"seconds; acceleration, {place}, m/s²", fontsize=8, labelpad=1)
    return as_png(figure)


def _draw_moment(axes: Any, loaded: Loaded, names: list[str], time: float) -> None:
    for kind in ("mocap", "video", "pose2d"):
        for name in names:
            if kind_of(name) != kind or name not in loaded.arrays:
                continue
            about, values = loaded.streams[name], loaded.arrays[name]
            item = int(np.clip(round((time - about["start_s"]) * about["rate_hz"]), 0, about["length"] - 1))
            if kind == "video":
                many = isinstance(values, bytes)
                axes.imshow(decode_frames(values, [item / about["rate_hz"]])[0] if many else values[item])
            else:
                flat, known = flat_bodies(about, values)
                bones(axes, skeleton(about["skeleton"]), flat[item], known[item])
                axes.set(xlim=(-0.5, 0.5), ylim=(-0.5, 0.5))
                axes.set_aspect("equal")
            return
