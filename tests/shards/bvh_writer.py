"""BVH files written from the published format, and their pose worked out by scipy, apart from the library."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

# A person standing with arms held out, metres: x to the left, y up, z forward; from the parent, parents first.
HUMAN = {
    "Hips": ("", (0, 0.95, 0)),
    "Spine": ("Hips", (0, 0.11, 0)), "Spine1": ("Spine", (0, 0.13, 0)), "Spine2": ("Spine1", (0, 0.06, 0)),
    "Neck": ("Spine2", (0, 0.2, 0)), "Head": ("Neck", (0, 0.09, 0.02)),
    **{
        f"{side}{part}": (f"{side}{parent}" if parent not in ("Hips", "Spine2") else parent, (sign * x, y, z))
        for side, sign in (("Left", 1), ("Right", -1))
        for part, parent, (x, y, z) in (
            ("Shoulder", "Spine2", (0.07, 0.13, 0)), ("Arm", "Shoulder", (0.11, 0, 0)), ("ForeArm", "Arm", (0.28, 0, 0)),
            ("Hand", "ForeArm", (0.25, 0, 0)), ("UpLeg", "Hips", (0.08, -0.07, 0)), ("Leg", "UpLeg", (0, -0.4, 0.01)),
            ("Foot", "Leg", (0, -0.41, -0.02)), ("ToeBase", "Foot", (0, -0.06, 0.13)),
        )
    },
}  # fmt: skip
ORDERS = ("ZXY", "XYZ", "ZYX", "YXZ", "XZY", "YZX")


@dataclass
class Joint:
    """name, parent's place, offset, and channels such as "xyzZXY" (small: positions, capitals: rotations)."""

    name: str
    parent: int
    offset: tuple[float, ...]
    channels: str
    children: list[int] = field(default_factory=list)


def human(scale: float = 1.0, order: str = "", six: bool = False, prefix: str = "") -> list[Joint]:
    """The person in units of 1 / `scale` metres; every joint with another order unless one is given."""
    names = list(HUMAN)
    joints = []
    for i, (name, (parent, offset)) in enumerate(HUMAN.items()):
        rotations = order or ORDERS[i % 6]
        at = names.index(parent) if parent else -1
        place = tuple(scale * x for x in offset) if parent else (0.0, 0.0, 0.0)
        joints.append(Joint(prefix + name, at, place, ("xyz" if six or not parent else "") + rotations))
    return joints


def depth_first(joints: list[Joint]) -> list[int]:
    """The order of joints in the file."""
    out = []

    def visit(i: int) -> None:
        out.append(i)
        for j, joint in enumerate(joints):
            if joint.parent == i:
                visit(j)

    for i, joint in enumerate(joints):
        if joint.parent < 0:
            visit(i)
    return out


def write(
    joints: list[Joint],
    values: list[np.ndarray],
    *,
    frame_time: str = "0.0083333",
    frames: str = "",
    number: str = "{:.6f}",
    separator: str = " ",
    newline: str = "\n",
    tail: str = "",
) -> bytes:
    """A file; `values` are (T, channels) of each joint, in the order of `joints`."""
    lines = ["HIERARCHY"]

    def visit(i: int, depth: int) -> None:
        pad, joint = "\t" * depth, joints[i]
        kinds = [f"{c.upper()}{'position' if c.islower() else 'rotation'}" for c in joint.channels]
        lines.append(f"{pad}{'ROOT' if joint.parent < 0 else 'JOINT'} {joint.name}")
        lines.extend([pad + "{", f"{pad}\tOFFSET {separator.join(number.format(x) for x in joint.offset)}"])
        lines.append(f"{pad}\tCHANNELS {len(kinds)} {' '.join(kinds)}")
        children = [j for j, other in enumerate(joints) if other.parent == i]
        for child in children:
            visit(child, depth + 1)
        if not children:
            zeros = separator.join([number.format(0.0)] * 3)
            lines.extend([pad + "\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {zeros}", pad + "\t}"])
        lines.append(pad + "}")

    for i, joint in enumerate(joints):
        if joint.parent < 0:
            visit(i, 0)
    table = np.concatenate([values[i] for i in depth_first(joints)], axis=1)
    lines += ["MOTION", f"Frames: {frames or len(table)}", f"Frame Time: {frame_time}"]
    lines += [separator.join(number.format(x) for x in row) for row in table]
    return (newline.join(lines) + newline + tail).encode()


def truth(joints: list[Joint], values: list[np.ndarray], adds: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, J, 3) and rotation matrices (T, J, 3, 3) in the file's world: one joint after the other, by scipy."""
    frames = len(values[0])
    places, turns = np.zeros((frames, len(joints), 3)), np.zeros((frames, len(joints), 3, 3))
    for i, joint in enumerate(joints):
        offset = np.tile(np.array(joint.offset, float), (frames, 1))
        for column, kind in enumerate(joint.channels):
            if kind.islower():
                base = joint.offset["xyz".index(kind)] if adds and joint.parent >= 0 else 0.0
                offset[:, "xyz".index(kind)] = values[i][:, column] + base
        columns = [c for c, kind in enumerate(joint.channels) if kind.isupper()]
        order = "".join(joint.channels[c] for c in columns)
        own = np.tile(np.eye(3), (frames, 1, 1))
        if order:
            own = Rotation.from_euler(order, values[i][:, columns], degrees=True).as_matrix()
        if joint.parent < 0:
            places[:, i], turns[:, i] = offset, own
        else:
            places[:, i] = places[:, joint.parent] + np.einsum("tij,tj->ti", turns[:, joint.parent], offset)
            turns[:, i] = turns[:, joint.parent] @ own
    return places, turns


def motion(joints: list[Joint], frames: int, rate_hz: float, scale: float = 1.0, seed: int = 0) -> list[np.ndarray]:
    """Slow swings of every joint and a walk along z: values of each joint's channels."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / rate_hz
    values = []
    for joint in joints:
        columns = []
        for kind in joint.channels:
            swing = np.sin(2 * np.pi * (rng.uniform(0.2, 0.8) * t + rng.uniform()))
            if kind.isupper():
                columns.append(rng.uniform(5, 12) * swing)
            elif joint.parent < 0:
                columns.append(scale * {"x": 0.05 * swing, "y": 0.95 + 0.02 * swing, "z": 1.2 * t}[kind])
            else:
                columns.append(np.full(frames, joint.offset["xyz".index(kind)]))
        values.append(np.stack(columns, axis=1) if columns else np.zeros((frames, 0)))
    return values
