"""Files of strangers, and samples of shards, as recordings that a model takes and the page draws.

Nothing is read before its size and kind are known, and whatever cannot be used is refused with a ValueError that says why.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from aura.data.config import ImuInput, kind_of
from aura.data.film import Measures, measure, open_film, pixel_aspect, upright
from aura.data.sample import Sample, orientation_of
from aura.inference.model import Aura
from aura.inference.recordings import imu_record, video_record

TABLES, FILMS = (".csv",), (".mp4", ".mov")
MB = 1 << 20
MOST_ROWS, MOST_COLUMNS = 200_000, 64
HEAD_BYTES = 64 << 10  # in which the first line must end
LONGEST_S, LONGEST_FILM_S = 600.0, 60.0
MOST_VALUE = 1e6
FILM_HZ, FILM_PIXELS = 10.0, 456 * 256  # of what is kept: 210 MB of 60 s
MOST_SIZE, MOST_FRAMES = (4096, 2304), 14_400  # of a film: 4K, 60 s at 240 Hz
FILM_THREADS = 4  # each holds a frame more
GAP_S = 1.0
LINE = re.compile(r"[,;\t]")
TIME = re.compile(r"(time|timestamp|t|seconds|secs?|seconds_elapsed)([_ ]?[(\[]?(s|ms|us|µs|ns)[)\]]?)?", re.I)
AXIS = re.compile(r"(|a|acc|accel|acceleration|accelerometer|g|gyr|gyro|gyroscope|w|omega)[ _.\-]?([xyz])\b.*", re.I)
# A column whose name says no more than its place.
PLAIN = re.compile(r"[xyz]\d?|(channel|value|column|c|v)?[ _]?\d+", re.I)
UNITS_S = (1.0, 1e-3, 1e-6, 1e-9)  # in which times may be written
STEPS_S = (5e-4, 0.2)  # of sensors: 5 to 2000 Hz, so that no two units fit the same times


@dataclass(frozen=True)
class Loaded:
    """A recording. streams and arrays: as in `aura.data.sample.Sample`, for drawing; given: by model stream what
    `Aura.embed` takes; notes: what was changed in reading it."""

    title: str
    streams: Mapping[str, Mapping]
    arrays: Mapping[str, Any]
    given: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()

    @property
    def extent_s(self) -> tuple[float, float]:
        timed = [about for about in self.streams.values() if "rate_hz" in about]
        return (
            min(about["start_s"] for about in timed),
            max(about["start_s"] + about["length"] / about["rate_hz"] for about in timed),
        )


def check_file(path: str | Path, max_mb: float) -> Path:
    """A file by name and size alone. ValueError for another kind, an empty file, one that is too large."""
    path = Path(path)
    if path.suffix.lower() not in TABLES + FILMS:
        raise ValueError(f"{path.name} is of the kind {path.suffix or '(none)'}: give one of .csv, .mp4, .mov")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    if not size:
        raise ValueError(f"{path.name} is empty")
    if size > max_mb * MB:
        raise ValueError(f"{path.name} has {size / MB:,.1f} MB, the limit is {max_mb:g} MB: cut the recording")
    return path


def read_file(
    path: str | Path,
    model: Aura,
    max_mb: float,
    rate_hz: float | None = None,
    units: str = "m/s^2",
    gyro_units: str = "rad/s",
    placement: str = "unknown",
) -> Loaded:
    """A CSV as `read_table` takes it, or a film. ValueError for what cannot be used, or that the model does not read."""
    path = check_file(path, max_mb)
    kind = "imu" if path.suffix.lower() in TABLES else "video"
    stream = next((name for name in model.module.towers if kind_of(name) == kind), None)
    if stream is None:
        raise ValueError(f"{path.name}: the model {model.config.name} reads no {kind}")
    if kind == "video":
        frames, rate = read_film(path)
        record = video_record(frames, rate, stream)
        given = {"rate_hz": rate, stream: frames}
        return Loaded(path.name, record.head["streams"], record.arrays, {stream: given})
    values, rate, notes = read_table(path, rate_hz)
    given = {"rate_hz": rate, "units": units, "gyro_units": gyro_units, "placements": [placement]}
    record = imu_record(values, **given, stream=stream)
    return Loaded(path.name, record.head["streams"], record.arrays, {stream: {**given, stream: values}}, tuple(notes))


def read_table(path: Path, rate_hz: float | None) -> tuple[np.ndarray, float, list[str]]:
    """Values (T, 3 or 6), their rate, and notes, of a CSV with or without a head: acceleration x y z, then angular velocity,
    by the names acc_x ... gyro_z (or x y z) or else in this order. A column named time gives the rate; else it is `rate_hz`."""
    import pandas as pd

    separator, named = _first_line(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = pd.read_csv(file, sep=separator, header=0 if named else None, nrows=MOST_ROWS + 1, low_memory=False)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not text in UTF-8: save it as CSV") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        raise ValueError(f"{path.name} is no table: {str(error).strip()}") from error
    if len(table) > MOST_ROWS:
        raise ValueError(f"{path.name} has more than {MOST_ROWS:,} rows: cut the recording")
    if len(table) < 2:
        raise ValueError(f"{path.name} has {len(table)} row{'' if len(table) == 1 else 's'} of numbers: two at least")
    table.columns = [str(name).strip() if named else str(name + 1) for name in table.columns]
    times = [name for name in table.columns if TIME.fullmatch(name)] if named else []
    if not named and table.shape[1] in (4, 7):
        times = [table.columns[0]]
    columns = _axes(path.name, [name for name in table.columns if name not in times], named)
    values = np.stack([_numbers(path.name, table, name, named) for name in columns], 1)
    if np.abs(values).max() > MOST_VALUE:
        raise ValueError(f"{path.name} holds {np.abs(values).max():g}: no sensor measures so much")
    if times:
        values, rate, notes = _on_a_grid(path.name, _seconds(path.name, table, times[0], named), values)
    elif rate_hz is None or not np.isfinite(rate_hz) or rate_hz <= 0:
        raise ValueError(f"{path.name} has no column named time: give its rate, in rows a second")
    else:
        rate, notes = float(rate_hz), []
    if len(values) / rate > LONGEST_S:
        raise ValueError(f"{path.name} lasts {len(values) / rate:,.0f} s at {rate:g} Hz: at most {LONGEST_S:g} s")
    return values, rate, notes


def _first_line(path: Path) -> tuple[str, bool]:
    """What separates the columns, and whether the first line names them."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if b"\0" in head:
        raise ValueError(f"{path.name} is not text: save it as CSV in UTF-8")
    line = re.split(rb"[\r\n]", head.removeprefix(b"\xef\xbb\xbf").lstrip())[0].decode("utf-8", "replace")
    found = LINE.findall(line)
    if len(found) >= MOST_COLUMNS:
        raise ValueError(f"{path.name} has more than {MOST_COLUMNS} columns: it needs acceleration x y z alone")
    if len(found) < 2:
        raise ValueError(
            f"{path.name} has {len(found) + 1} column(s), separated by commas: it needs acceleration x y z"
        )
    separator = max(set(found), key=found.count)
    try:
        [float(cell) for cell in line.split(separator)]
    except ValueError:
        # Names, or a row of numbers of which one is a text: names have no number among them.
        return separator, not any(_is_number(cell) for cell in line.split(separator))
    return separator, False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _axes(file: str, names: list[str], named: bool) -> list[str]:
    """The columns acc x y z (gyro x y z): by their names, or where there are just 3 or 6 whose names say nothing, in the order of the file."""
    if named:
        by_name: dict[str, list[str]] = {}
        for name in names:
            found = AXIS.fullmatch(name)
            if found:
                sensor = "gyro" if found[1].lower().startswith(("g", "w", "o")) else "acc"
                by_name.setdefault(f"{sensor} {found[2].lower()}", []).append(name)
        wanted = [f"{sensor} {axis}" for sensor in ("acc", "gyro") for axis in "xyz"]
        for count in (6, 3):
            if all(len(by_name.get(key, [])) == 1 for key in wanted[:count]):
                return [by_name[key][0] for key in wanted[:count]]
    if len(names) in (3, 6) and not (named and any(not PLAIN.fullmatch(name) for name in names)):
        return names
    there = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "") if named else f"{len(names)} without names"
    raise ValueError(
        f"{file} has the columns {there}: it needs 3 (acceleration x y z) or 6 (then angular velocity x y z) beside the time,"
        " or columns named acc_x, acc_y, acc_z, gyro_x, gyro_y, gyro_z"
    )


def _numbers(file: str, table: Any, name: str, named: bool) -> np.ndarray:
    import pandas as pd

    column = table[name]
    if column.dtype == bool:
        raise ValueError(f"{file}: the column {name} holds {column.iloc[0]}, not numbers")
    found = np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        row, value = int(wrong[0]), column.iloc[int(wrong[0])]
        told = "nothing" if pd.isna(value) else repr(str(value)[:40])
        raise ValueError(
            f"{file}: {len(wrong):,} of {len(found):,} values of the column {name} are no numbers, the first, {told}, in line"
            f" {row + 1 + named}: fill short gaps in, cut the recording at long ones"
        )
    return found


def _seconds(file: str, table: Any, name: str, named: bool) -> np.ndarray:
    """The time column in seconds from its first: numbers of any usual unit, or dates."""
    import pandas as pd

    column = table[name]
    if not pd.api.types.is_numeric_dtype(column):
        stamps = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        if stamps.notna().all():
            return (stamps - stamps.iloc[0]).dt.total_seconds().to_numpy(np.float64)
    times = _numbers(file, table, name, named)
    times = times - times[0]
    step = float(np.median(np.diff(times)))
    for unit in UNITS_S:
        if STEPS_S[0] <= step * unit <= STEPS_S[1]:
            return times * unit
    raise ValueError(
        f"{file}: the column {name} goes on by {step:g} from row to row, which is 5 to 2000 Hz in no unit of time: leave it out"
        " and give the rate"
    )


def _on_a_grid(file: str, times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float, list[str]]:
    """Values at even times of the median rate, interpolated."""
    steps = np.diff(times)
    if steps.min() <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        raise ValueError(f"{file}: the time goes back or stands still at row {row + 1} of numbers: sort it, drop twins")
    step = float(np.median(steps))
    if not STEPS_S[0] <= step <= STEPS_S[1]:
        raise ValueError(f"{file}: its rows are {step:g} s apart, sensors' are {STEPS_S[0]:g} to {STEPS_S[1]:g} s")
    if steps.max() > GAP_S:
        at = int(np.argmax(steps))
        raise ValueError(f"{file} has a gap of {steps.max():.3g} s at second {times[at]:.3g}: cut the recording there")
    if times[-1] > LONGEST_S:
        raise ValueError(f"{file} lasts {times[-1]:,.0f} s: at most {LONGEST_S:g} s")
    rate = 1 / step
    nearest = round(rate)
    rate = nearest if abs(rate - nearest) < 0.005 * rate else rate  # steps are rounded in files
    drift = np.abs(times - np.arange(len(times)) / rate).max()
    if drift <= 0.5 / rate:
        return values, float(rate), []
    grid = np.arange(int(times[-1] * rate + 1e-6) + 1) / rate
    even = np.stack([np.interp(grid, times, column) for column in values.T], 1)
    return even, float(rate), [f"{file}: uneven times were interpolated to {rate:.4g} Hz"]


def read_film(source: Path | bytes) -> tuple[np.ndarray, float]:
    """Frames (T, H, W, 3) uint8, upright, small, at most 10 a second, and their rate. ValueError for a film that is damaged,
    too long, or too large."""
    name = "the video" if isinstance(source, bytes) else source.name
    try:
        film = measure(source, MOST_SIZE)
        if film.seconds > 1.01 * LONGEST_FILM_S:  # cameras end no film to the frame
            raise ValueError(f"it lasts {film.seconds:,.0f} s: at most {LONGEST_FILM_S:g} s, cut it")
        if film.frames > MOST_FRAMES:
            raise ValueError(f"it has {film.frames:,} frames: at most {MOST_FRAMES:,}, cut it")
        with open_film(source, MOST_SIZE) as (container, stream):
            return _frames(film, container, stream)
    except av.FFmpegError as error:
        raise ValueError(f"{name} is no film that can be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _frames(film: Measures, container: InputContainer, stream: VideoStream) -> tuple[np.ndarray, float]:
    """What `read_film` keeps: into one array, whose memory is taken as it is filled."""
    own = film.frames / film.seconds
    rate = min(own, FILM_HZ)
    share = min(1.0, (FILM_PIXELS / (film.width * film.height)) ** 0.5)
    width, height = (max(1, round(side * share)) for side in (film.width, film.height))
    stream.codec_context.thread_type, stream.codec_context.thread_count = "FRAME", FILM_THREADS
    frames = np.empty((int(film.seconds * rate) + 2, height, width, 3), np.uint8)
    aspect, to_rgb = pixel_aspect(stream), VideoReformatter()
    count, first, at = 0, None, 0.0
    for frame in container.decode(stream):
        if frame.time is None:
            continue
        first = frame.time if first is None else first
        at = frame.time - first
        due = min(int(at * rate + 0.5) + 1, len(frames))  # a frame stands in for those that are missing before it
        if due > count:
            frames[count:due] = upright(frame, aspect, to_rgb, (width, height))
            count = due
    if not count:
        raise ValueError("it holds no frame")
    return frames[: min(count, max(1, round((at + 1 / own) * rate)))], rate


def from_sample(sample: Sample, model: Aura) -> Loaded:
    """The streams of a sample that the model reads, of several sensors those that it was trained on."""
    given: dict[str, dict[str, Any]] = {}
    streams, arrays = dict(sample.streams), dict(sample.arrays)
    for name in model.module.towers:
        about, values = streams.get(name), arrays.get(name)
        if about is None or values is None:
            continue
        kind = kind_of(name)
        settings = model.config.inputs[name]
        if isinstance(settings, ImuInput) and isinstance(values, np.ndarray):
            worn = [sensor["placement"] for sensor in about["sensors"]]
            rows = [i for i, place in enumerate(worn) if place in settings.placements] or list(range(len(worn)))
            if not getattr(model.module.towers[name], "any_sensors", False):
                rows = rows[: settings.sensors]
            about, values = {**about, "sensors": [about["sensors"][i] for i in rows]}, values[rows]
            streams[name], arrays[name] = about, values
            turns = all("gyro" in sensor["channels"] for sensor in about["sensors"])
            more: dict[str, Any] = {"placements": [worn[i] for i in rows], name: values if turns else values[..., :3]}
            turned = sample.arrays.get(orientation_of(name))
            if settings.orientation and isinstance(turned, np.ndarray):
                more["orientation"] = turned[rows]
        elif kind == "mocap":
            more = {"skeleton": about["skeleton"], name: values}
        elif kind == "pose2d":
            size = about["camera"]["width"], about["camera"]["height"]
            more = {"skeleton": about["skeleton"], "image_size": size, name: values}
        elif kind == "video":
            given[name] = {name: values}
            continue
        else:
            continue
        given[name] = {"rate_hz": about["rate_hz"], **more}
    return Loaded(sample.id, streams, arrays, given)


def without_start(loaded: Loaded, stream: str, seconds: float) -> Loaded:
    """A recording of which one stream begins later by some seconds. ValueError where nothing is left."""
    given = dict(loaded.given[stream])
    if isinstance(given[stream], bytes):
        given[stream], given["rate_hz"] = read_film(given[stream])
    count = round(seconds * given["rate_hz"])
    values = given[stream]
    length = values.shape[1] if kind_of(stream) == "imu" and values.ndim == 3 else len(values)
    if count < 0 or count > length - 2:
        raise ValueError(
            f"{seconds:g} s cannot be left out of {loaded.title}, which lasts {length / given['rate_hz']:.3g} s"
        )
    given[stream] = values[:, count:] if kind_of(stream) == "imu" and values.ndim == 3 else values[count:]
    return replace(loaded, given={**loaded.given, stream: given})
