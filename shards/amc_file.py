"""Acclaim motion capture: a skeleton in an ASF file, and motions of it in AMC files.

    ASF   :units / :root / :bonedata (begin id name direction length axis dof limits end) / :hierarchy
    AMC   :FULLY-SPECIFIED / :DEGREES / frames: their number, then `bone number number ...` a bone

- Of a bone with the axis angles `axis` (a rotation C) the numbers of the AMC file, in the order of `dof`, are a rotation L.
  Its frame is turned by C L C^-1 in its parent's; angles that are not listed are 0 (Lander, Working with Motion Capture
  File Formats, Game Developer, January 1998). Angles act in the order of their list, those of `axis` in the order of the
  letters behind them: `rx ry rz` is Rz Ry Rx of column vectors.
- A bone goes from its begin to its end by `length` times `direction`, in the file's unit, and its children begin there. A
  joint is called like the bone that begins in it, so that its frame carries this bone.
- The number of frames a second is not in the files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aura.body import kinematics as kin

ANGLES = {"rx": "x", "ry": "y", "rz": "z"}
PLACES = {"tx": 0, "ty": 1, "tz": 2}


@dataclass(frozen=True, eq=False)
class Asf:
    """A skeleton: J bones, the root first, each after its parent.

    parents   index of the parent, -1 of the root
    ends      (J, 3) from a bone's begin to its end in the pose of all angles 0, in the file's unit; 0 of the root
    axes      (J, 4) rotations C
    dof       of each bone: what its numbers in an AMC file are, of rx ry rz and, of the root, tx ty tz
    place     (3,) of the root
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    ends: np.ndarray
    axes: np.ndarray
    dof: tuple[tuple[str, ...], ...]
    place: np.ndarray

    @property
    def paths(self) -> tuple[str, ...]:
        """Names from the root, joined by `/`."""
        paths: list[str] = []
        for name, parent in zip(self.names, self.parents):
            paths.append(f"{paths[parent]}/{name}" if parent >= 0 else name)
        return tuple(paths)


def read_asf(data: bytes) -> Asf:
    """The skeleton of an ASF file. ValueError, naming the bone, where it cannot be read."""
    sections = _sections(data.decode("utf-8", "replace"))
    for name in ("root", "bonedata", "hierarchy"):
        if name not in sections:
            raise ValueError(f"there is no section :{name}: not an ASF file, or cut off")
    units = {words[0].lower(): words[1:] for words in sections.get("units", []) if len(words) > 1}
    turn = np.pi / 180 if (units.get("angle") or ["deg"])[0].lower().startswith("deg") else 1.0
    root = {words[0].lower(): words[1:] for words in sections["root"]}
    bones = {
        "root": {"dof": root.get("order", []), "axis": [*root.get("orientation", "000"), *root.get("axis", ["XYZ"])]}
    }
    bone: dict[str, list[str]] = {}
    for words in sections["bonedata"]:
        key = words[0].lower()
        if key == "begin":
            bone = {}
        elif key == "end":
            name = " ".join(bone.get("name", []))
            if not name or name in bones:
                raise ValueError(f"bone {name!r} has no name of its own")
            bones[name] = bone
        else:
            bone[key] = words[1:]
    parent_of = {child: words[0] for words in sections["hierarchy"] for child in words[1:] if len(words) > 1}
    names = ["root"]
    for name in names:  # grows while it is walked
        names += [child for child, parent in parent_of.items() if parent == name]
    for name in names:
        if name not in bones:
            raise ValueError(f"the hierarchy has a bone {name!r} that :bonedata lacks")
    ends, axes, dofs = [np.zeros(3)], [], []
    for name in names:
        bone = bones[name]
        dof = tuple(word.lower() for word in bone.get("dof", []))
        known = (*ANGLES, *PLACES) if name == "root" else (*ANGLES,)
        if any(word not in known for word in dof):
            raise ValueError(f"bone {name!r}: dof {' '.join(dof)!r} has other words than {' '.join(known)}")
        axis = bone.get("axis", ["0", "0", "0", "XYZ"])
        order = axis[-1].lower()
        if len(axis) != 4 or sorted(order) != ["x", "y", "z"]:
            raise ValueError(f"bone {name!r}: axis {' '.join(axis)!r} is not three angles and their order, such as XYZ")
        angles = _reals(axis[:3], 3, f"axis of bone {name!r}") * turn
        axes.append(kin.from_euler(angles[::-1], order[::-1]))
        dofs.append(dof)
        if name != "root":
            toward = _reals(bone.get("direction", []), 3, f"direction of bone {name!r}")
            ends.append(toward * _reals(bone.get("length", []), 1, f"length of bone {name!r}"))
    parents = tuple(-1 if name == "root" else names.index(parent_of[name]) for name in names)
    place = _reals(root.get("position", ["0", "0", "0"]), 3, "position of the root")
    return Asf(tuple(names), parents, np.array(ends), np.array(axes), tuple(dofs), place)


def _sections(text: str) -> dict[str, list[list[str]]]:
    """Lines, as words, of each section that begins with `:name`; its first line is what follows the name."""
    found: dict[str, list[list[str]]] = {}
    here: list[list[str]] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and words[0].startswith(":"):
            here = found.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        if words:
            here.append(words)
    return found


def _reals(words: Sequence[str], count: int, where: str) -> np.ndarray:
    try:
        found = np.array([float(word) for word in words])
    except ValueError:
        found = np.empty(0)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{where}: {' '.join(words)!r} is not {count} number{'s' * (count > 1)}")
    return found


@dataclass(frozen=True, eq=False)
class Amc:
    """A motion: the numbers (T, n) of each bone that the file lists, radians in a unit of its angles, and what it says
    wrongly of itself."""

    values: dict[str, np.ndarray]
    turn: float
    warnings: tuple[str, ...]


def read_amc(data: bytes) -> Amc:
    """The numbers of an AMC file. ValueError, naming the frame, where frames are missing or differ in their bones."""
    first = re.search(rb"^[ \t]*\d+[ \t\r]*$", data, re.MULTILINE)
    if first is None:
        raise ValueError("it has no frames: no line with a frame's number alone")
    head = data[: first.start()].decode("utf-8", "replace").upper()
    turn = 1.0 if ":RADIANS" in head else np.pi / 180
    second = re.compile(rb"^[ \t]*\d+[ \t\r]*$", re.MULTILINE).search(data, first.end())
    lines = data[first.end() : second.start() if second else len(data)].decode("utf-8", "replace").splitlines()
    bones = [line.split() for line in lines if line.strip()]
    names = [words[0] for words in bones]
    if not names or len(set(names)) < len(names):
        raise ValueError("its first frame lists no bone, or one twice")
    width = 1 + sum(map(len, bones))
    tokens = data[first.start() :].split()
    count, over = divmod(len(tokens), width)
    warnings = ("its last frame is cut off",) if over and count else ()
    words = np.array(tokens[: count * width]).reshape(-1, width)
    starts = 1 + np.cumsum([0, *map(len, bones)])
    wrong = (words[:, starts[:-1]] != np.array([name.encode() for name in names])).any(1)
    try:
        numbers = words[:, 0].astype(int)
    except ValueError:
        numbers = np.full(len(words), -1)
    wrong |= numbers != numbers[0] + np.arange(len(numbers))
    if wrong.any() or not len(words):
        at = int(wrong.argmax()) if len(words) else 0
        raise ValueError(f"frame {at} (from 0) is missing, or lists other bones or numbers than the first")
    values = {}
    for name, start, listed in zip(names, starts, bones):
        try:
            values[name] = words[:, start + 1 : start + len(listed)].astype(float)
        except ValueError as error:
            raise ValueError(f"bone {name!r}: {error}") from error
    return Amc(values, turn, warnings)


def kinematics(asf: Asf, amc: Amc, joints: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, J, 3) in the file's unit and orientations (T, J, 4), in the file's world, of the joints asked for.

    ValueError where the motion belongs to another skeleton.
    """
    if "root" not in amc.values:
        raise ValueError("its frames do not move the root")
    frames = len(amc.values["root"])
    place = np.tile(asf.place, (frames, 1))
    rotations = np.tile(kin.IDENTITY, (frames, len(asf.names), 1))
    for name, values in amc.values.items():
        dof = asf.dof[asf.names.index(name)] if name in asf.names else ()
        if values.shape[1] != len(dof):
            raise ValueError(
                f"bone {name!r} has {values.shape[1]} numbers, {len(dof)} in the skeleton: give it its own .asf file"
            )
        bone = asf.names.index(name)
        for column, word in enumerate(dof):
            if word in PLACES:
                place[:, PLACES[word]] += values[:, column]
        turning = [(ANGLES[word], column) for column, word in enumerate(dof) if word in ANGLES][::-1]
        if turning:
            angles = values[:, [column for _, column in turning]] * amc.turn
            local = kin.from_euler(angles, "".join(axis for axis, _ in turning))
            rotations[:, bone] = kin.multiply(kin.multiply(asf.axes[bone], local), kin.conjugate(asf.axes[bone]))
    return _forward(asf, joints, rotations, place)


def rest(asf: Asf, joints: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The same (1, J, ...) with all angles 0."""
    return _forward(asf, joints, np.tile(kin.IDENTITY, (1, len(asf.names), 1)), asf.place[None])


def _forward(
    asf: Asf, joints: Sequence[int], rotations: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of local rotations (T, J, 4) and the root's place (T, 3). A joint lies at the end of its parent's bone."""
    offsets = np.array([asf.ends[parent] if parent >= 0 else np.zeros(3) for parent in asf.parents])
    # The end of a bone is in the frame of that bone, in which its children's frames are given as well.
    positions, orientations = kin.forward_kinematics(asf.parents, offsets, rotations, place)
    return positions[:, list(joints)], orientations[:, list(joints)]
