"""Body parts: what a worn sensor and some joints of a skeleton have in common.

A sensor on the left wrist and the left shoulder, elbow and wrist of a skeleton belong to the part `left arm` (MoBind, arXiv
2602.19004, pairs sensors and joints so). Any named skeleton and every placement of `aura.body.placements` has its part.
"""

from __future__ import annotations

import numpy as np

from aura.body.placements import PLACEMENTS
from aura.body.skeletons import Skeleton

PARTS: tuple[str, ...] = ("left arm", "right arm", "left leg", "right leg", "head", "trunk")
JOINTS = 3  # of a part

_LIMBS = {
    "arm": ("shoulder", "upper arm", "forearm", "wrist", "hand", "finger"),
    "leg": ("hip", "thigh", "shank", "ankle", "foot", "hip pocket"),
    "head": ("ear", "temple"),
    "trunk": ("chest pocket",),
}
_TRUNK = ("neck", "chest", "upper back", "lower back", "pelvis")

# Canonical joints of a part; of several rows the first is used of which a skeleton has the most.
_CHAINS: dict[str, tuple[tuple[str, ...], ...]] = {
    **{f"{side} arm": ((f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"),) for side in ("left", "right")},
    **{f"{side} leg": ((f"{side}_hip", f"{side}_knee", f"{side}_ankle"),) for side in ("left", "right")},
    "head": (("nose", "left_ear", "right_ear"), ("head", "neck", "neck1"), ("head", "neck")),
    "trunk": (
        *(("pelvis", middle, "neck") for middle in ("spine2", "spine", "chest", "spine1", "back2", "t12")),
        ("left_shoulder", "right_shoulder", "left_hip"),
    ),
}


def part_of(placement: str) -> int:
    """Index in `PARTS` of the part that a sensor at a placement is on; -1 for `unknown`."""
    side, _, place = placement.partition(" ")
    if side in ("left", "right"):
        part = next(part for part, places in _LIMBS.items() if place in places)
        return PARTS.index(f"{side} {part}" if part in ("arm", "leg") else part)
    if placement == "head":
        return PARTS.index("head")
    return PARTS.index("trunk") if placement in _TRUNK else -1


# Index in PARTS by index in PLACEMENTS, with room for names that are added later.
PART_OF = np.array([part_of(name) for name in PLACEMENTS])


def part_joints(skeleton: Skeleton) -> np.ndarray:
    """Joints (P, 3) of each part of `PARTS`, as indexes into the skeleton; -1 where it lacks one.

    Without a nose (mocap) the head is head and neck; the trunk of a skeleton without pelvis and neck (COCO) is the
    shoulders and the left hip.
    """
    names = skeleton.canonical
    found = np.full((len(PARTS), JOINTS), -1)
    for p, part in enumerate(PARTS):
        best = max(_CHAINS[part], key=lambda chain: sum(name in names for name in chain))
        for j, name in enumerate(best):
            if name in names:
                found[p, j] = names.index(name)
    return found
