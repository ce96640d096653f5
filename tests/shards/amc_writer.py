"""ASF and AMC files written from the published format, and their pose worked out by scipy, apart from the library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

_SIDE = (
    ("hipjoint", "root", (0.09, -0.08, 0.0), ""),
    ("femur", "hipjoint", (0.05, -0.4, 0.0), "rx ry rz"),
    ("tibia", "femur", (0.05, -0.39, 0.0), "rx"),
    ("foot", "tibia", (0.01, -0.05, 0.12), "rx rz"),
    ("toes", "foot", (0.0, 0.0, 0.06), "rx"),
    ("clavicle", "thorax", (0.16, 0.05, 0.0), "ry rz"),
    ("humerus", "clavicle", (0.28, 0.0, 0.0), "rx ry rz"),
    ("radius", "humerus", (0.17, 0.0, 0.0), "rx"),
    ("wrist", "radius", (0.09, 0.0, 0.0), "ry"),
    ("hand", "wrist", (0.04, 0.0, 0.0), "rx rz"),
    ("fingers", "hand", (0.03, 0.0, 0.0), "rx"),
    ("thumb", "wrist", (0.04, 0.0, 0.04), "rx rz"),
)


@dataclass(frozen=True)
class Bone:
    """`end` metres from its begin, `axis` degrees of an order, `dof` words; parents come first."""

    name: str
    parent: str
    end: tuple[float, ...]
    axis: tuple[float, ...]
    order: str
    dof: tuple[str, ...]


def human(seed: int | None = 0) -> list[Bone]:
    """The bones of the CMU database's people, y up; axes are drawn, with None they are 0."""
    rows = [("root", "", (0.0, 0.0, 0.0), "tx ty tz rx ry rz")]
    rows += [
        ("lowerback", "root", (0.0, 0.12, 0.0), "rx ry rz"),
        ("upperback", "lowerback", (0.0, 0.12, 0.01), "rx ry rz"),
    ]
    rows += [
        ("thorax", "upperback", (0.0, 0.12, 0.0), "rx ry rz"),
        ("lowerneck", "thorax", (0.0, 0.09, 0.0), "rx ry rz"),
    ]
    rows += [
        ("upperneck", "lowerneck", (0.0, 0.09, 0.02), "rz ry rx"),
        ("head", "upperneck", (0.0, 0.1, 0.0), "rx ry rz"),
    ]
    for side, sign in (("l", 1), ("r", -1)):
        for name, parent, (x, y, z), dof in _SIDE:
            at = parent if parent in ("root", "thorax") else side + parent
            rows.append((side + name, at, (sign * x, y, z), dof))
    rng = np.random.default_rng(seed or 0)
    bones = []
    for i, (name, parent, end, dof) in enumerate(rows):
        drawn = tuple(np.round(rng.uniform(-90, 90, 3), 3).tolist())
        axis = (0.0, 0.0, 0.0) if seed is None or name == "root" else drawn
        bones.append(
            Bone(name, parent, end, axis, ("XYZ", "ZYX", "YXZ")[0 if seed is None else i % 3], tuple(dof.split()))
        )
    return bones


def motion(bones: list[Bone], frames: int, rate_hz: float, unit_m: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Slow swings of every bone that moves and a walk along z: (T, n) numbers of each, degrees and the file's unit."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / rate_hz
    values = {}
    for bone in bones:
        columns = []
        for word in bone.dof:
            swing = np.sin(2 * np.pi * (rng.uniform(0.2, 0.8) * t + rng.uniform()))
            moved = {"tx": 0.05 * swing, "ty": 0.95 + 0.02 * swing, "tz": 1.2 * t}
            columns.append(moved[word] / unit_m if word in moved else rng.uniform(5, 12) * swing)
        if columns:
            values[bone.name] = np.stack(columns, 1)
    return values


def write_asf(bones: list[Bone], unit_m: float, *, newline: str = "\n", radians: bool = False) -> bytes:
    turn = np.pi / 180 if radians else 1.0
    lines = ["# a comment", ":version 1.10", ":name VICON", ":units", "  mass 1.0", "  length 0.45"]
    lines += [f"  angle {'rad' if radians else 'deg'}", ":documentation", "   says begin and end", ":root"]
    lines += ["   order TX TY TZ RX RY RZ", "   axis XYZ", "   position 0 0 0  ", "   orientation 0 0 0 ", ":bonedata"]
    for number, bone in enumerate(bones[1:], 1):
        length = float(np.linalg.norm(bone.end))
        toward = " ".join(f"{x / length:.9g}" for x in bone.end)
        angles = " ".join(f"{turn * x:.9g}" for x in bone.axis)
        lines += ["  begin", f"     id {number} ", f"     name {bone.name}", f"     direction {toward} "]
        lines += [f"     length {length / unit_m:.9g}", f"     axis {angles}  {bone.order}"]
        if bone.dof:
            lines += [
                f"    dof {' '.join(bone.dof)}",
                "    limits (-160.0 20.0)",
                *["           (-70.0 70.0)"] * (len(bone.dof) - 1),
            ]
        lines.append("  end")
    lines += [":hierarchy", "  begin"]
    for bone in bones:
        children = [other.name for other in bones if other.parent == bone.name]
        if children:
            lines.append(f"    {bone.name} {' '.join(children)}")
    lines.append("  end")
    return (newline.join(lines) + newline).encode()


def write_amc(values: dict[str, np.ndarray], *, newline: str = "\n", radians: bool = False) -> bytes:
    lines = ["#!OML:ASF somebody.ASF", ":FULLY-SPECIFIED", ":RADIANS" if radians else ":DEGREES"]
    turn = np.pi / 180 if radians else 1.0
    for i in range(len(next(iter(values.values())))):
        lines.append(str(i + 1))
        for name, found in values.items():
            row = [x if name == "root" and c < 3 else turn * x for c, x in enumerate(found[i])]
            lines.append(f"{name} {' '.join(f'{x:.9g}' for x in row)}")
    return (newline.join(lines) + newline).encode()


def truth(bones: list[Bone], values: dict[str, np.ndarray], unit_m: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each bone where it begins (T, 3), in metres, and its frame (T, 3, 3), in the file's world: matrices, by scipy."""
    frames = len(values["root"])
    ends: dict[str, np.ndarray] = {}
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for bone in bones:
        local = np.tile(np.eye(3), (frames, 1, 1))
        for column, word in enumerate(bone.dof):
            if word.startswith("r"):
                turn = Rotation.from_euler(word[1], values[bone.name][:, [column]], degrees=True).as_matrix()
                local = turn @ local  # what is listed later acts later
        axis = np.eye(3)
        for letter, angle in zip(bone.order.lower(), bone.axis):
            axis = Rotation.from_euler(letter, angle, degrees=True).as_matrix() @ axis
        own = axis @ local @ axis.T
        if bone.parent:
            begin, turns = ends[bone.parent], found[bone.parent][1] @ own
        else:
            begin, turns = values["root"][:, :3] * unit_m, own
        found[bone.name] = begin, turns
        ends[bone.name] = begin + turns @ np.array(bone.end)
    return found
