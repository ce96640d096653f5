"""Placements and skeletons: names, trees, matching."""

import numpy as np
import pytest

from aura.body.placements import PLACEMENTS, placement_id
from aura.body.skeletons import SKELETONS, match, skeleton


def test_placements_keep_their_index() -> None:
    """Indexes are in trained models: the first ones never move."""
    assert PLACEMENTS[0] == "unknown"
    assert len(set(PLACEMENTS)) == len(PLACEMENTS)
    assert (placement_id("head"), placement_id("pelvis"), placement_id("right wrist"), placement_id("left thigh")) == (
        1,
        6,
        14,
        19,
    )
    assert PLACEMENTS[34] == "right finger"
    assert PLACEMENTS[-1] == PLACEMENTS[36] == "right temple"


def test_unknown_placement_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'Left_Wrst'.*'left wrist'"):
        placement_id("Left_Wrst")


def test_skeletons_are_trees_with_one_root() -> None:
    for s in SKELETONS.values():
        assert len(s.edges) == len(s.joints) - 1
    assert {name: len(s.joints) for name, s in SKELETONS.items()} == {
        "kinect20": 20,
        "coco17": 17,
        "smpl24": 24,
        "smpl22": 22,
        "cmu21": 21,
        "cmu22": 22,
        "daz23": 23,
        "bandai21": 21,
        "vicon21": 21,
        "xsens23": 23,
    }
    kinect = SKELETONS["kinect20"]
    assert kinect.joints[10] == "right_wrist"
    assert kinect.joints[kinect.parents[10]] == "right_elbow"
    assert kinect.up == ((3,), (1,))
    assert SKELETONS["coco17"].up == ((11, 12), (5, 6))


def test_smpl22_is_the_start_of_smpl24_with_its_published_parents() -> None:
    short, long = SKELETONS["smpl22"], SKELETONS["smpl24"]
    assert short.joints == long.joints[:22]
    assert short.parents == (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
    assert short.parents == long.parents[:22]


def test_match_goes_by_canonical_name_and_derives_nothing() -> None:
    kinect, coco, smpl = (SKELETONS[name] for name in ("kinect20", "coco17", "smpl24"))
    index = match(kinect, coco)
    assert index[coco.joints.index("left_wrist")] == kinect.joints.index("left_wrist")
    assert [coco.joints[i] for i in np.flatnonzero(index < 0)] == [
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
    ]
    index = match(kinect, smpl)
    assert index[smpl.joints.index("neck")] == kinect.joints.index("shoulder_center")
    assert index[smpl.joints.index("pelvis")] == kinect.joints.index("hip_center")
    assert index[smpl.joints.index("spine2")] == -1
    assert (match(smpl, smpl) == np.arange(24)).all()


def test_skeleton_in_place_and_its_errors() -> None:
    s = skeleton({"joints": ["pelvis", "neck"], "parents": [-1, 0]})
    assert s.edges == [(0, 1)]
    with pytest.raises(ValueError, match=r"'kinect25'.*'kinect20'"):
        skeleton("kinect25")
    with pytest.raises(ValueError, match="circle"):
        skeleton({"joints": ["a", "b"], "parents": [1, 0]})
    with pytest.raises(ValueError, match="lacks"):
        skeleton({"joints": ["a"]})
    with pytest.raises(ValueError, match="2 joints but 1 parents"):
        skeleton({"joints": ["a", "b"], "parents": [-1]})
