"""Every skeleton and every placement has its body part."""

import pytest

from aura.body.parts import JOINTS, PARTS, part_joints, part_of
from aura.body.placements import PLACEMENTS
from aura.body.skeletons import SKELETONS


@pytest.mark.parametrize(
    ("placement", "part"),
    [
        ("left wrist", "left arm"),
        ("right upper arm", "right arm"),
        ("left ankle", "left leg"),
        ("right hip pocket", "right leg"),
        ("left ear", "head"),
        ("chest", "trunk"),
    ],
)
def test_placements(placement, part):
    assert PARTS[part_of(placement)] == part


def test_every_placement_but_the_unknown_is_on_a_part():
    assert [name for name in PLACEMENTS if part_of(name) < 0] == ["unknown"]


@pytest.mark.parametrize("name", list(SKELETONS))
def test_parts_of_skeletons(name):
    skeleton = SKELETONS[name]
    found = part_joints(skeleton)
    assert found.shape == (len(PARTS), JOINTS)
    joints = skeleton.canonical
    for part, chain in zip(PARTS, found):
        words = [joints[j] for j in chain if j >= 0]
        side, _, limb = part.partition(" ")
        if limb:
            ends = ("shoulder", "elbow", "wrist") if limb == "arm" else ("hip", "knee", "ankle")
            assert words == [f"{side}_{end}" for end in ends]
        elif part == "head":
            assert words[0] in ("nose", "head")
        assert len(words) >= 2, f"{name} has no {part}"
