"""What joints are called in BVH and ASF files of different programs, and which joints of the library they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from aura.body.skeletons import SKELETONS, Skeleton

# What the body's height, the direction of its trunk and virtual IMUs need.
NEEDED = (
    *("pelvis", "neck", "head", "left_shoulder", "right_shoulder", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def _table(trunk: str, sides: str) -> dict[str, str]:
    """Joint of the library -> joint of the file, from words `ours=theirs`.

    In `sides` a word stands for both: * is Left and Right in theirs, + is l and r, # is L and R.
    """
    table = dict(word.split("=") for word in trunk.split())
    for side in ("left", "right"):
        for word in sides.split():
            ours, theirs = word.split("=")
            theirs = theirs.replace("*", side.title()).replace("+", side[0]).replace("#", side[0].upper())
            table[f"{side}_{ours}"] = theirs
    return table


_LEG_ARM = "collar=*Shoulder shoulder=*Arm elbow=*ForeArm wrist=*Hand hip=*UpLeg knee=*Leg ankle=*Foot"
# Skeleton of the library, and a table of names. A file is of the first table of which it has every name; names are
# compared without case, blanks and underscores, and without a prefix up to a colon, or up to an underscore where all names have it.
TABLES: tuple[tuple[str, dict[str, str]], ...] = (
    (  # the CMU database by cgspeed, for MotionBuilder
        "cmu21",
        _table(
            "pelvis=Hips spine1=Spine neck=Neck neck1=Neck1 head=Head",
            "hip=*UpLeg knee=*Leg ankle=*Foot foot=*ToeBase shoulder=*Arm elbow=*ForeArm wrist=*Hand hand=*HandIndex1",
        ),
    ),
    (  # the same for 3ds Max
        "cmu21",
        _table(
            "pelvis=Hips spine1=Chest neck=lowerneck neck1=Neck head=Head",
            "hip=*Hip knee=*Knee ankle=*Ankle foot=*Toe shoulder=*Shoulder elbow=*Elbow wrist=*Wrist hand=#Fingers",
        ),
    ),
    (  # the CMU database as it is in AMC/ASF: a joint is called like the bone that begins there
        "cmu22",
        _table(
            "pelvis=root spine1=upperback spine2=thorax neck=lowerneck neck1=upperneck head=head",
            "hip=+femur knee=+tibia ankle=+foot foot=+toes shoulder=+humerus elbow=+radius wrist=+wrist hand=+fingers",
        ),
    ),
    (
        "daz23",
        _table(
            "pelvis=hip abdomen=abdomen chest=chest neck=neck head=head",
            "collar=+Collar shoulder=+Shldr elbow=+ForeArm wrist=+Hand hand=+Mid1 hip=+Thigh knee=+Shin ankle=+Foot"
            " foot=+Foot_end",
        ),
    ),
    (
        "bandai21",
        _table(
            "pelvis=Hips spine1=Spine chest=Chest neck=Neck head=Head",
            "collar=Shoulder_# shoulder=UpperArm_# elbow=LowerArm_# wrist=Hand_# hip=UpperLeg_# knee=LowerLeg_#"
            " ankle=Foot_# foot=Toes_#",
        ),
    ),
    (
        "xsens23",
        _table(
            "pelvis=Hips l5=Chest l3=Chest2 t12=Chest3 t8=Chest4 neck=Neck head=Head",
            "collar=*Collar shoulder=*Shoulder elbow=*Elbow wrist=*Wrist hip=*Hip knee=*Knee ankle=*Ankle foot=*Toe",
        ),
    ),
    # Mixamo, MotionBuilder and others; LAFAN1.
    *(
        ("smpl22", _table("pelvis=Hips spine1=Spine spine2=Spine1 spine3=Spine2 neck=Neck head=Head", _LEG_ARM + toe))
        for toe in (" foot=*ToeBase", " foot=*Toe")
    ),
)


@dataclass(frozen=True)
class Matched:
    """`skeleton` as in a stream, its joints as indexes of the file's joints, and the file's joints that it leaves out."""

    skeleton: str | dict
    joints: tuple[int, ...]
    left_out: tuple[str, ...]


def match_joints(
    names: Sequence[str], paths: Sequence[str], parents: Sequence[int], table: Mapping[str, str] | None = None
) -> Matched:
    """The joints of a file that a skeleton of the library has; the skeleton is made in place where `table` is given.

    table   joint of the library -> name or path of the file's joint, in place of the tables that are known

    ValueError listing the names that are missing (from the table that comes nearest), or that several joints have.
    """
    if table is not None:
        needed = [name for name in NEEDED if name not in table]
        if needed:
            raise ValueError(f"the table of joints lacks {', '.join(needed)}")
        known = [("", table)]
    else:
        known = list(TABLES)
    keys = _plain(names)
    lacking = []
    for skeleton, ours in known:
        missing = [theirs for theirs in ours.values() if _plain_one(theirs) not in keys and theirs not in paths]
        lacking.append((len(missing), missing, skeleton))
        if not missing:
            found = _places(ours, keys, paths, parents)
            kept = set(found.values())
            left_out = tuple(n for i, n in enumerate(names) if i not in kept and not n.endswith(" end"))
            if skeleton:
                return Matched(skeleton, tuple(found[joint] for joint in SKELETONS[skeleton].joints), left_out)
            return Matched(_in_place(found, parents), tuple(found.values()), left_out)
    _, missing, skeleton = min(lacking, key=lambda item: item[0])
    nearest = f"the nearest known table, {skeleton}," if skeleton else "the table of joints"
    raise ValueError(
        f"its joints have other names than {nearest} asks for: it lacks {', '.join(missing)}. It has"
        f" {', '.join(n for n in names if not n.endswith(' end'))}. Name them in a table (--joints)"
    )


def _places(
    ours: Mapping[str, str], keys: Sequence[str], paths: Sequence[str], parents: Sequence[int]
) -> dict[str, int]:
    """Index of the file's joint for each of ours. Of joints with one name, the one that hangs on the most of ours."""
    candidates = {
        joint: [i for i, key in enumerate(keys) if key == _plain_one(theirs) or paths[i] == theirs]
        for joint, theirs in ours.items()
    }
    sure = {found[0] for found in candidates.values() if len(found) == 1}
    chosen = {}
    for joint, found in candidates.items():
        carried = [len(sure & _ancestors(i, parents)) for i in found]
        best = [i for i, count in zip(found, carried) if count == max(carried)]
        if len(best) > 1:
            raise ValueError(
                f"several joints may be {joint}: {', '.join(paths[i] for i in best)}; give paths (--joints)"
            )
        chosen[joint] = best[0]
    return chosen


def _ancestors(joint: int, parents: Sequence[int]) -> set[int]:
    found = set()
    while parents[joint] >= 0:
        joint = parents[joint]
        found.add(joint)
    return found


def _in_place(found: Mapping[str, int], parents: Sequence[int]) -> dict:
    """A skeleton of the joints found: each hangs on its nearest ancestor among them."""
    at = {index: place for place, index in enumerate(found.values())}
    tree = []
    for index in found.values():
        while index >= 0:
            index = parents[index]
            if index in at:
                break
        tree.append(at.get(index, -1))
    return {"joints": list(Skeleton("in place", tuple(found), tuple(tree)).joints), "parents": tree}


def _plain(names: Sequence[str]) -> list[str]:
    bare = [name.rsplit(":", 1)[-1] for name in names]
    prefixes = {name[: name.find("_") + 1] for name in bare}
    cut = len(prefixes.pop()) if len(prefixes) == 1 else 0
    return [_plain_one(name[cut:]) for name in bare]


@lru_cache(4096)
def _plain_one(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.rsplit(":", 1)[-1].lower())
