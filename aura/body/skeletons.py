"""Named skeletons: the order of joints in a mocap or pose stream, and their tree.

Joints are called as in their source, or by the canonical name where the source has another word for it. Two skeletons
are matched by canonical names: `shoulder_center` of Kinect and `neck` of SMPL are the same canonical joint. A joint without a counterpart is absent, never guessed from its neighbours.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Names of sources -> canonical names; all other names are canonical as they are.
ALIASES = {"shoulder_center": "neck", "hip_center": "pelvis"}


@dataclass(frozen=True)
class Skeleton:
    """Joints in the order of a stream's array, and the index of each joint's parent (-1: no parent)."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        where = f"skeleton {self.name!r}"
        if len(set(self.joints)) != len(self.joints) or not self.joints:
            raise ValueError(f"{where}: joint names must be given and differ, got {list(self.joints)}")
        if len(self.parents) != len(self.joints):
            raise ValueError(f"{where}: {len(self.joints)} joints but {len(self.parents)} parents")
        for joint in range(len(self.joints)):
            seen, at = {joint}, self.parents[joint]
            while at != -1:
                if not 0 <= at < len(self.joints) or at in seen:
                    raise ValueError(
                        f"{where}: parent {at} of joint {self.joints[joint]!r}, or of an ancestor of it, is out of"
                        " range or makes a circle; parents are indexes of joints, -1 for a joint without one"
                    )
                seen.add(at)
                at = self.parents[at]

    @property
    def canonical(self) -> tuple[str, ...]:
        """Canonical name of each joint."""
        return tuple(ALIASES.get(name, name) for name in self.joints)

    @property
    def up(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Lower and upper end of the trunk as joint indexes (each end: the mean of its joints); None if there is none.

        Pelvis to neck where the skeleton has both, else hips to shoulders.
        """
        ends = (("pelvis",), ("neck",)), (("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"))
        names = self.canonical
        for lower, upper in ends:
            if all(name in names for name in lower + upper):
                return tuple(names.index(n) for n in lower), tuple(names.index(n) for n in upper)
        return None

    @property
    def edges(self) -> list[tuple[int, int]]:
        """(parent, joint) of every bone."""
        return [(parent, joint) for joint, parent in enumerate(self.parents) if parent >= 0]


def _tree(name: str, joints: str) -> Skeleton:
    """A skeleton from words `joint:parent` (a root has no parent)."""
    pairs = [word.partition(":") for word in joints.split()]
    names = tuple(pair[0] for pair in pairs)
    return Skeleton(name, names, tuple(names.index(parent) if parent else -1 for _, _, parent in pairs))


def _sides(root: str, parts: str) -> str:
    """Words of `_tree` for the same chain of parts on both sides, hung on one joint."""
    chain = [root, *parts.split()]
    return " ".join(
        f"{side}_{part}:{parent if parent == root else f'{side}_{parent}'}"
        for side in ("left", "right")
        for parent, part in itertools.pairwise(chain)
    )


_SMPL22 = (
    "pelvis left_hip:pelvis right_hip:pelvis spine1:pelvis left_knee:left_hip right_knee:right_hip spine2:spine1 "
    "left_ankle:left_knee right_ankle:right_knee spine3:spine2 left_foot:left_ankle right_foot:right_ankle neck:spine3 "
    "left_collar:spine3 right_collar:spine3 head:neck left_shoulder:left_collar right_shoulder:right_collar "
    "left_elbow:left_shoulder right_elbow:right_shoulder left_wrist:left_elbow right_wrist:right_elbow"
)

SKELETONS: dict[str, Skeleton] = {
    s.name: s
    for s in (
        # Kinect v1 in the order of UTD-MHAD's files (not the order of the Kinect SDK).
        _tree(
            "kinect20",
            "head:shoulder_center shoulder_center:spine spine:hip_center hip_center "
            "left_shoulder:shoulder_center left_elbow:left_shoulder left_wrist:left_elbow left_hand:left_wrist "
            "right_shoulder:shoulder_center right_elbow:right_shoulder right_wrist:right_elbow right_hand:right_wrist "
            "left_hip:hip_center left_knee:left_hip left_ankle:left_knee left_foot:left_ankle "
            "right_hip:hip_center right_knee:right_hip right_ankle:right_knee right_foot:right_ankle",
        ),
        # COCO keypoints (Lin et al. 2014). The set has no neck: shoulders hang on the nose, hips on the shoulders.
        _tree(
            "coco17",
            "nose left_eye:nose right_eye:nose left_ear:left_eye right_ear:right_eye left_shoulder:nose "
            "right_shoulder:nose left_elbow:left_shoulder right_elbow:right_shoulder left_wrist:left_elbow "
            "right_wrist:right_elbow left_hip:left_shoulder right_hip:right_shoulder left_knee:left_hip "
            "right_knee:right_hip left_ankle:left_knee right_ankle:right_knee",
        ),
        # SMPL (Loper et al. 2015), body joints; the first 22 are those of SMPL+H, SMPL-X and HumanML3D too.
        _tree("smpl24", _SMPL22 + " left_hand:left_wrist right_hand:right_wrist"),
        _tree("smpl22", _SMPL22),
        # BVH conversions of the CMU database (cgspeed), without the joints that coincide with another one. They lack the
        # thorax: neck and shoulders are 12 cm lower than they were.
        _tree(
            "cmu21",
            "pelvis spine1:pelvis neck:spine1 neck1:neck head:neck1 "
            + _sides("neck", "shoulder elbow wrist hand")
            + " "
            + _sides("pelvis", "hip knee ankle foot"),
        ),
        # The CMU database as recorded (AMC/ASF), the thorax in it; without the joints that coincide with another one.
        _tree(
            "cmu22",
            "pelvis spine1:pelvis spine2:spine1 neck:spine2 neck1:neck head:neck1 "
            + _sides("neck", "shoulder elbow wrist hand")
            + " "
            + _sides("pelvis", "hip knee ankle foot"),
        ),
        # The body of DAZ's BVH conversions; feet are the ends of the feet, hands the middle knuckles.
        _tree(
            "daz23",
            "pelvis abdomen:pelvis chest:abdomen neck:chest head:neck "
            + _sides("chest", "collar shoulder elbow wrist hand")
            + " "
            + _sides("pelvis", "hip knee ankle foot"),
        ),
        # Bandai Namco Research Motion dataset.
        _tree(
            "bandai21",
            "pelvis spine1:pelvis chest:spine1 neck:chest head:neck "
            + _sides("chest", "collar shoulder elbow wrist")
            + " "
            + _sides("pelvis", "hip knee ankle foot"),
        ),
        # TotalCapture's joints by Vicon, in the order of its files. Four joints of the back, none of them at the height of
        # another set's: they keep names of their own.
        _tree(
            "vicon21",
            "pelvis back1:pelvis back2:back1 back3:back2 back4:back3 neck:back4 head:neck "
            + " ".join(
                f"{side}_collar:back4 {side}_shoulder:{side}_collar {side}_elbow:{side}_shoulder {side}_wrist:{side}_elbow"
                for side in ("right", "left")
            )
            + " "
            + " ".join(
                f"{side}_hip:pelvis {side}_knee:{side}_hip {side}_ankle:{side}_knee" for side in ("right", "left")
            ),
        ),
        # Xsens MVN.
        _tree(
            "xsens23",
            "pelvis l5:pelvis l3:l5 t12:l3 t8:t12 neck:t8 head:neck "
            + _sides("t8", "collar shoulder elbow wrist")
            + " "
            + _sides("pelvis", "hip knee ankle foot"),
        ),
    )
}


def skeleton(meta: str | Mapping[str, Any]) -> Skeleton:
    """The skeleton that a stream's `skeleton` field describes: a known name, or `{"joints": [...], "parents": [...]}`.

    ValueError for a name that is unknown (naming the nearest) and for a tree that is none.
    """
    if isinstance(meta, str):
        if meta not in SKELETONS:
            near = difflib.get_close_matches(meta, SKELETONS, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"unknown skeleton {meta!r}; the nearest known one is {near!r}; another one is given in place as"
                " {'joints': [names], 'parents': [indexes]}"
            )
        return SKELETONS[meta]
    missing = [key for key in ("joints", "parents") if key not in meta]
    if missing:
        raise ValueError(f"a skeleton given in place lacks {missing}; it has {sorted(meta)}")
    return Skeleton(
        str(meta.get("name", "in place")), tuple(map(str, meta["joints"])), tuple(int(p) for p in meta["parents"])
    )


def match(source: Skeleton, target: Skeleton) -> np.ndarray:
    """For each joint of `target` the index of the same canonical joint in `source`, -1 where absent: (J,) int64."""
    at = {name: index for index, name in enumerate(source.canonical)}
    return np.array([at.get(name, -1) for name in target.canonical], dtype=np.int64)
