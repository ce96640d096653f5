"""Activities of PAMAP2 with a description of each, and the files as published."""

from __future__ import annotations

from typing import NamedTuple


class Activity(NamedTuple):
    """`name` as in the data set's readme; `subset12`: of the protocol that all subjects followed, UniMTS' 12 classes."""

    name: str
    description: str
    subset12: bool


TRANSIENT = 0  # between activities, no label
ACTIVITIES = {
    1: Activity("lying", "The person lies down and rests quietly, only now and then shifting position.", True),
    2: Activity("sitting", "The person sits on a chair in any comfortable posture and may change how they sit.", True),
    3: Activity(
        "standing", "The person stays on their feet in one spot, still or chatting with some hand gestures.", True
    ),
    4: Activity(
        "walking",
        "The person walks outdoors on level ground at a moderate to brisk pace of roughly four to six kilometres per hour.",
        True,
    ),
    5: Activity("running", "The person jogs outdoors at a speed they find comfortable.", True),
    6: Activity("cycling", "The person rides a real bicycle outdoors at an easy to moderate commuting pace.", True),
    7: Activity(
        "Nordic walking",
        "The person walks outdoors on asphalt while planting a pair of padded walking poles, without much practice at it.",
        True,
    ),
    9: Activity("watching TV", "The person watches television at home, seated or reclining as they like.", False),
    10: Activity("computer work", "The person does ordinary desk work at an office computer.", False),
    11: Activity("car driving", "The person drives a car between the office and home.", False),
    12: Activity("ascending stairs", "The person climbs the stairs of a building over about five floors.", True),
    13: Activity("descending stairs", "The person walks down the stairs of a building over about five floors.", True),
    16: Activity(
        "vacuum cleaning",
        "The person vacuums one or two office rooms and moves light furniture such as chairs out of the way.",
        True,
    ),
    17: Activity("ironing", "The person stands at a board and irons one or two shirts.", True),
    18: Activity("folding laundry", "The person folds clean shirts, T-shirts or bed linen.", False),
    19: Activity(
        "house cleaning", "The person dusts shelves, taking books and other objects off and putting them back.", False
    ),
    20: Activity(
        "playing soccer",
        "The person plays football with one or two others, running with the ball, dribbling, passing and shooting.",
        False,
    ),
    24: Activity(
        "rope jumping",
        "The person skips with a rope, mostly hopping with both feet together or alternating feet.",
        True,
    ),
}

# Name: bytes, and the first 12 hex digits of the SHA-256.
FILES = {
    "Protocol/subject101.dat": (141_698_539, "80b3fffd089c"),
    "Protocol/subject102.dat": (207_349_310, "468f3c6ba3e6"),
    "Protocol/subject103.dat": (117_863_364, "5be64631d085"),
    "Protocol/subject104.dat": (153_227_482, "7eb272213cbf"),
    "Protocol/subject105.dat": (173_773_599, "7837cfede57f"),
    "Protocol/subject106.dat": (168_263_273, "0da1dda3fa56"),
    "Protocol/subject107.dat": (145_823_268, "a02195e9599e"),
    "Protocol/subject108.dat": (190_019_653, "81ce6b21b9c1"),
    "Protocol/subject109.dat": (3_891_140, "5109d5cd8334"),
    "Optional/subject101.dat": (121_246_257, "a8b713714060"),
    "Optional/subject105.dat": (72_521_536, "a7c4ccd8d7e8"),
    "Optional/subject106.dat": (60_905_306, "50882fc519f0"),
    "Optional/subject108.dat": (85_403_002, "e871b2e56928"),
    "Optional/subject109.dat": (90_594_049, "a6a8f7521d63"),
}
