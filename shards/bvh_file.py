"""BVH files: the hierarchy, the numbers, and the pose of every joint in every frame.

    HIERARCHY / ROOT name { OFFSET x y z / CHANNELS n Xposition ... / JOINT name { ... } / End Site { OFFSET x y z } }
    MOTION / Frames: N / Frame Time: seconds / one line of numbers a frame

The format has no specification but its use: keywords in any case, tabs or spaces, CRLF, blank lines, exponents, decimal
commas, names with spaces, the same name twice, several ROOTs. It says neither units nor which axis is up.

- A joint's rotation is the product of its channels as they are listed: `Zrotation Xrotation Yrotation` is Rz Rx Ry, of
  column vectors, in degrees. The order is each joint's own.
- Position channels of a ROOT are absolute. Of another joint they replace its OFFSET in files of most exporters and are
  added to it in some: whichever the first frame shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from aura.body import kinematics as kin

RATES = (24, 25, 30, 50, 60, 100, 120, 240)
# A frame time of six decimals is off by 0.006 % at 120 frames/s. Half of this would be enough; more than this would take
# 59.94 frames/s (off by 0.0999 %) for 60.
SNAP = 9e-4
CHANNEL = re.compile(r"([XYZ])(position|rotation)", re.IGNORECASE)
_WHITE = bytes.maketrans(b" \t\r", b"\n\n\n")


@dataclass(frozen=True, eq=False)
class Bvh:
    """A file's content: J joints in the order of the file, End Sites among them, and T frames.

    names     of the joints; an End Site is called like its joint with ` end` behind it
    paths     names from the root, joined by `/`: these tell apart joints of one name
    parents   index of the parent, -1 for a ROOT
    offsets   (J, 3) in the file's unit
    channels  of each joint: (axis 0 to 2, is it a rotation), in the order of the numbers
    frames    (T, C) numbers: positions in the file's unit, rotations in degrees
    rate_hz   frames a second, a common rate where the frame time is that rate rounded
    warnings  what the file says wrongly about itself
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[tuple[int, bool], ...], ...]
    frames: np.ndarray
    rate_hz: float
    warnings: tuple[str, ...]


def read_bvh(data: bytes, *, rate_hz: float | None = None) -> Bvh:
    """The content of a BVH file. ValueError, naming line and remedy, where it cannot be read.

    rate_hz   frames a second, in place of the file's own frame time
    """
    found = re.search(rb"^[ \t]*MOTION[ \t\r]*$", data, re.IGNORECASE | re.MULTILINE)
    if found is None:
        raise ValueError("there is no line MOTION: not a BVH file, or cut off inside its hierarchy")
    names, paths, parents, offsets, channels = _hierarchy(data[: found.start()].decode("utf-8", "replace"))
    at, head = found.end(), {}
    for keyword in ("frames", "frame time"):
        line = re.compile(rb"\s*" + keyword.replace(" ", r"\s+").encode() + rb"\s*:([^\n]*)(\n|$)", re.IGNORECASE)
        stated = line.match(data, at)
        if stated is None:
            raise ValueError(f"MOTION is not followed by lines 'Frames:' and 'Frame Time:' (no {keyword!r})")
        head[keyword], at = stated.group(1).decode("utf-8", "replace").strip(), stated.end()
    count = sum(map(len, channels))
    numbers, warnings = _numbers(data[at:], count, first_line=data.count(b"\n", 0, at) + 1)
    if head["frames"] != str(len(numbers)):
        warnings = (*warnings, "the number of frames it states is not that of its lines")
    rate = rate_hz or _rate(head["frame time"])
    return Bvh(names, paths, parents, offsets, channels, numbers, rate, warnings)


def _rate(stated: str) -> float:
    """Frames a second of a frame time; ValueError where that is no time."""
    try:
        seconds = float(stated.replace(",", "."))
    except ValueError:
        seconds = 0.0
    if not 1e-4 < seconds < 10:
        raise ValueError(f"Frame Time {stated!r} is no time between frames: give the true rate (--fps)")
    nearest = min(RATES, key=lambda rate: abs(rate * seconds - 1))
    return float(nearest) if abs(nearest * seconds - 1) < SNAP else 1 / seconds


def _hierarchy(text: str) -> tuple[tuple, tuple, tuple, np.ndarray, tuple]:
    names: list[str] = []
    paths: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[tuple[int, bool], ...]] = []
    stack: list[int] = []
    begun = False  # a joint is named, its brace not yet open
    for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines():
        words = line.split()
        keyword = words[0].upper() if words else ""
        if keyword in ("ROOT", "JOINT", "END"):
            parent = stack[-1] if stack else -1
            if keyword == "END" and parent < 0:
                raise ValueError("the hierarchy has an End Site outside of a joint")
            name = f"{names[parent]} end" if keyword == "END" else line.strip()[len(keyword) :].strip()
            paths.append(f"{paths[parent]}/{name}" if parent >= 0 else name)
            names.append(name)
            parents.append(parent)
            offsets.append([])
            channels.append(())
            begun = True
        elif keyword == "{":
            if not begun:
                raise ValueError("the hierarchy has a brace that belongs to no ROOT, JOINT or End Site")
            stack.append(len(names) - 1)
            begun = False
        elif keyword == "}":
            if not stack:
                raise ValueError("the hierarchy closes more braces than it opens")
            stack.pop()
        elif keyword == "OFFSET" and stack:
            offsets[stack[-1]] = [_real(word, f"OFFSET of {paths[stack[-1]]}") for word in words[1:]]
        elif keyword == "CHANNELS" and stack:
            kinds = [CHANNEL.fullmatch(word) for word in words[2:]]
            if None in kinds or words[1:2] != [str(len(kinds))]:
                raise ValueError(
                    f"{paths[stack[-1]]}: {line.strip()!r} is not a number of channels and as many of"
                    " Xposition, Yposition, Zposition, Xrotation, Yrotation, Zrotation"
                )
            channels[stack[-1]] = tuple(
                ("XYZ".index(kind.group(1).upper()), kind.group(2).lower() == "rotation") for kind in kinds if kind
            )
        elif keyword not in ("", "HIERARCHY"):
            raise ValueError(f"the hierarchy has a line that means nothing: {line.strip()[:60]!r}")
    if stack or not names:
        raise ValueError(
            "the hierarchy has no joint" if not names else f"{paths[stack[-1]]}: its brace is never closed"
        )
    for path, offset in zip(paths, offsets):
        if len(offset) != 3:
            raise ValueError(f"{path}: has no OFFSET of three numbers")
    return tuple(names), tuple(paths), tuple(parents), np.array(offsets), tuple(channels)


def _real(word: str, where: str) -> float:
    try:
        return float(word.replace(",", "."))
    except ValueError:
        raise ValueError(f"{where}: {word!r} is no number") from None


def _numbers(body: bytes, count: int, first_line: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """(T, count) of the lines after `Frame Time:`, and what is wrong with them.

    One column of numbers for pyarrow's reader, which is several times faster than float() or numpy on text.
    """
    warnings: tuple[str, ...] = ()
    if b"," in body:
        if b"." in body:
            raise ValueError("numbers have both points and commas: which of them is the decimal sign is not known")
        body, warnings = body.replace(b",", b"."), ("its numbers have decimal commas",)
    rows = body.split(b"\n")
    # Lines of exactly count - 1 single spaces need no closer look.
    per_line = np.array([count if row.strip().count(b" ") == count - 1 else len(row.split()) for row in rows])
    if b"  " in body or b"\t" in body:
        per_line = np.array([len(row.split()) for row in rows])
    wrong = np.flatnonzero((per_line != count) & (per_line > 0))
    lines = np.flatnonzero(per_line)
    if len(wrong) == 1 and wrong[0] == lines[-1] and per_line[wrong[0]] < count and len(lines) > 1:
        body, warnings = b"\n".join(rows[: wrong[0]]), (*warnings, "its last line is cut off")
    elif len(wrong):
        at = int(wrong[0])
        raise ValueError(f"line {first_line + at} has {per_line[at]} numbers, its joints have {count} channels")
    if not len(lines):
        raise ValueError("it has no frames")
    options = {
        "read_options": pa_csv.ReadOptions(use_threads=False, column_names=["x"], block_size=1 << 22),
        "convert_options": pa_csv.ConvertOptions(column_types={"x": pa.float64()}, null_values=[]),
    }
    try:
        column = pa_csv.read_csv(pa.py_buffer(body.translate(_WHITE)), **options)["x"].to_numpy()
    except pa.ArrowInvalid as error:
        for number, line in enumerate(body.split(b"\n"), first_line):
            for word in line.split():
                _real(word.decode("utf-8", "replace"), f"line {number}")
        raise ValueError(f"its numbers cannot be read: {error}") from error
    return column.reshape(-1, count), warnings


def pose(bvh: Bvh) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (T, J, 3), each joint's place in its parent's frame, and rotations (T, J, 4), its frame in its parent's.

    In the file's unit. Frames whose numbers are not finite give values that are not finite.
    """
    frames, joints = len(bvh.frames), len(bvh.names)
    offsets = np.tile(bvh.offsets, (frames, 1, 1))
    rotations = np.tile(kin.IDENTITY, (frames, joints, 1))
    columns = np.cumsum([0, *map(len, bvh.channels)])
    added = _adds_to_offset(bvh, columns)
    turning: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    for joint, channels in enumerate(bvh.channels):
        own = range(columns[joint], columns[joint + 1])
        placed = [(axis, column) for (axis, turns), column in zip(channels, own) if not turns]
        for axis, column in placed:
            base = bvh.offsets[joint, axis] if added and bvh.parents[joint] >= 0 else 0.0
            offsets[:, joint, axis] = bvh.frames[:, column] + base
        turned = [(axis, column) for (axis, turns), column in zip(channels, own) if turns]
        if turned:
            order = "".join("xyz"[axis] for axis, _ in turned)
            joints_of, angles = turning.setdefault(order, ([], []))
            joints_of.append(joint)
            angles.append(bvh.frames[:, [column for _, column in turned]])
    for order, (joints_of, angles) in turning.items():
        rotations[:, joints_of] = kin.from_euler(np.radians(np.stack(angles, axis=1)), order)
    return offsets, rotations


def _adds_to_offset(bvh: Bvh, columns: Sequence[int] | np.ndarray) -> bool:
    """Whether positions of joints other than ROOTs are added to the OFFSET: in the first frame most are nearer to 0."""
    votes = 0
    for joint, channels in enumerate(bvh.channels):
        own = {axis: columns[joint] + i for i, (axis, turns) in enumerate(channels) if not turns}
        if bvh.parents[joint] >= 0 and len(own) == 3:
            first, offset = bvh.frames[0, [own[axis] for axis in range(3)]], bvh.offsets[joint]
            votes += int(np.sign(np.linalg.norm(first - offset) - np.linalg.norm(first)))
    return votes > 0


def kinematics(bvh: Bvh, joints: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, J, 3) in the file's unit and orientations (T, J, 4), in the file's world, of the joints asked for."""
    offsets, rotations = pose(bvh)
    return _forward(bvh, joints, offsets, rotations)


def rest(bvh: Bvh, joints: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The same (1, J, ...) with all angles 0 and all joints at their OFFSET."""
    return _forward(bvh, joints, bvh.offsets[None], np.tile(kin.IDENTITY, (1, len(bvh.names), 1)))


def _forward(
    bvh: Bvh, joints: Sequence[int], offsets: np.ndarray, rotations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    needed = set()
    for joint in joints:
        while joint >= 0:
            needed.add(joint)
            joint = bvh.parents[joint]
    kept = sorted(needed)
    # ROOTs move on their own: they hang on a joint before all others that stays where it is.
    place = {-1: 0, **{joint: i for i, joint in enumerate(kept, 1)}}
    parents = [-1, *(place[bvh.parents[joint]] for joint in kept)]
    frames = len(offsets)
    offsets = np.concatenate([np.zeros((frames, 1, 3)), offsets[:, kept]], axis=1)
    rotations = np.concatenate([np.tile(kin.IDENTITY, (frames, 1, 1)), rotations[:, kept]], axis=1)
    positions, orientations = kin.forward_kinematics(parents, offsets, rotations, np.zeros((frames, 3)))
    chosen = [place[joint] for joint in joints]
    return positions[:, chosen], orientations[:, chosen]
