"""Exo cameras of a take of Ego-Exo4D: which of them, their calibration, their video in pieces."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aura.data.writer import Dropped, ShardError
from shards.clips import Clip, clips, look
from shards.egoexo4d_takes import FPS, Take

LONG_SIDE = 3840  # pixels of a GoPro's image, upright ones included


@dataclass(frozen=True)
class Calibration:
    """A line of gopro_calibs.csv: size and intrinsics of the full image, whose lens is a fisheye (OpenCV's model)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    localised: bool


@dataclass(frozen=True)
class View:
    """A camera that is taken over. `choice`: best_exo, first localised, first, or asked for."""

    camera: str
    choice: str
    video: Path | None
    calibration: Calibration | None


def read_calibration(path: Path) -> dict[str, Calibration]:
    """Calibrations by camera; none where the file is not there. ValueError where it cannot be read."""
    if not path.is_file():
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows = list(table)
        if "quality" not in (table.fieldnames or ()):
            raise ValueError("its first line has no column quality")
        return {
            row["cam_uid"].strip(): Calibration(
                int(row["image_width"]),
                int(row["image_height"]),
                *(float(row[f"intrinsics_{i}"]) for i in range(4)),
                localised=float(row["quality"]) == 1,
            )
            for row in rows
        }
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise ValueError(f"gopro_calibs.csv is not as documented: {type(error).__name__} {error}") from error


def choose(take: Take, source: Path, wanted: Sequence[str]) -> tuple[list[View], list[Dropped]]:
    """The cameras to take over, in order, and what is missing.

    wanted   `best_exo`; `all`: that one first, then the others by name; `none`; or names of cameras

    Where the best one is not named, or its video is not there while another's is, it is the first camera with a
    calibration of quality 1, else the first, among those that have a video.
    """
    notes: list[Dropped] = []
    try:
        known = read_calibration(take.calibration(source))
    except ValueError as error:
        known = {}
        notes.append(Dropped(f"cameras: {error}"))
    names = [name for name, _ in take.exo]
    videos = {name: take.video(source, name) for name in names}
    if wanted == ("none",) or not names:
        return [], notes
    usable = [name for name in names if videos[name]] or names
    if take.best_exo in usable:
        best, choice = take.best_exo, "best_exo"
    else:
        sure = [name for name in usable if name in known and known[name].localised]
        best, choice = (sure[0], "first localised") if sure else (usable[0], "first")
        why = "its video is not there" if take.best_exo in names else "takes.json names none of its cameras"
        if wanted in (("best_exo",), ("all",)):
            notes.append(Dropped(f"best_exo: {why}, another camera is used: the {choice}"))
    if wanted == ("best_exo",):
        picked = {best: choice}
    elif wanted == ("all",):
        picked = {best: choice, **{name: "asked for" for name in names if name != best}}
    else:
        picked = {name: "asked for" for name in wanted if name in names}
        notes += [Dropped(f"{name}: not an exo camera of the take") for name in wanted if name not in names]
    notes += [Dropped(f"video: no file of {name if choice == 'asked for' else 'the camera'}", take.duration_s)
              for name, choice in picked.items() if videos[name] is None]  # fmt: skip
    return [View(name, how, videos[name], known.get(name)) for name, how in picked.items()], notes


def pinhole(take: Take, source: Path, view: View) -> dict | None:
    """The `camera` of 2D poses, which are pixels of the full image after its distortion was removed; None: size unknown.

    The intrinsics are those of the publisher's file camera_pose, where it is there.
    """
    if view.calibration is not None:
        width, height = view.calibration.width, view.calibration.height
    elif view.video is not None:
        try:
            file = look(view.video)
        except ValueError:
            return None
        short = round(LONG_SIDE * min(file.width, file.height) / max(file.width, file.height) / 2) * 2
        width, height = (LONG_SIDE, short) if file.width >= file.height else (short, LONG_SIDE)
    else:
        return None
    camera = {"width": width, "height": height}
    for split in ("train", "val", "test"):
        path = source / "annotations" / "ego_pose" / split / "camera_pose" / f"{take.uid}.json"
        if path.is_file():
            try:
                k = json.loads(path.read_bytes())[view.camera]["camera_intrinsics"]
                camera |= {"fx": float(k[0][0]), "fy": float(k[1][1]), "cx": float(k[0][2]), "cy": float(k[1][2])}
            except (KeyError, IndexError, TypeError, ValueError):
                pass  # a camera that the file lacks has no intrinsics
            break
    return camera


def lens(view: View, width: int, height: int) -> dict:
    """The `camera` of a video of some size: the calibration's intrinsics, scaled, where the picture has its form."""
    known = view.calibration
    camera: dict = {"width": width, "height": height}
    if known is not None and known.localised and abs(width / height - known.width / known.height) < 0.02:
        x, y = width / known.width, height / known.height
        # The first pixel's centre is 0, so pixel u of the full image is (u + 0.5) x - 0.5 here.
        camera |= {"fx": known.fx * x, "fy": known.fy * y}
        camera |= {"cx": (known.cx + 0.5) * x - 0.5, "cy": (known.cy + 0.5) * y - 0.5}
    return camera


def pieces(
    view: View, take: Take, spans: Sequence[tuple[float, float]], rate_hz: float, side: int
) -> Iterator[Clip | Dropped | None]:
    """For each span of take time the camera's clip, None where there is none; `Dropped` come before it, in between."""
    if view.video is None:
        yield from [None] * len(spans)
        return
    done = 0
    try:
        file = look(view.video)
        if abs(file.rate_hz / FPS - 1) > 5e-4:
            # Only at 30 frames/s the number of a frame says its instant.
            raise ValueError(f"{file.path.name} has {file.rate_hz:.3f} frames/s, not {FPS:g}")
        more = file.frames - round(take.duration_s * FPS)
        if more:
            size = f"{abs(more)} frame{'s' if abs(more) > 1 else ''} {'more' if more > 0 else 'fewer'}"
            size = size if abs(more) <= 1 else "by more than 1 frame more or fewer"
            yield Dropped(f"video: {size} than the take, used as it is", abs(more) / FPS)
        for clip in clips(file, spans, rate_hz=rate_hz, side=side):
            yield clip
            done += 1
    except ValueError as error:
        yield Dropped(f"video: {error}", sum(end - begin for begin, end in spans[done:]))
        yield from [None] * (len(spans) - done)


def asked(text: str) -> tuple[str, ...]:
    """The cameras that `--cameras` names. ShardError where the words are mixed."""
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if not names or (len(names) > 1 and {"best_exo", "all", "none"} & set(names)):
        raise ShardError(f"--cameras {text!r}: give best_exo, all, none, or names such as cam01,cam02")
    return names
