"""Names and descriptions of mRI's exercises."""

from __future__ import annotations

# Key of the release -> what is done. The ten exercises are named as in MARS by the same authors, which has them in this order.
POSES = {
    "t pose 2": "T pose",
    "pose 1": "left upper limb extension",
    "pose 2": "right upper limb extension",
    "pose 3": "both upper limb extension",
    "pose 4": "left front lunge",
    "pose 5": "right front lunge",
    "pose 6": "squat",
    "pose 7": "left side lunge",
    "pose 8": "right side lunge",
    "pose 9": "left limb extension",
    "pose 10": "right limb extension",
}

ACTIONS = {
    "t pose": ("a person stands still with both arms held out to the sides",),
    "left upper limb extension": ("a person raises the left arm out to the side and lowers it again",),
    "right upper limb extension": ("a person raises the right arm out to the side and lowers it again",),
    "both upper limb extension": ("a person raises both arms out to the sides and lowers them again",),
    "left front lunge": ("a person steps forward with the left leg, bends the knees and steps back",),
    "right front lunge": ("a person steps forward with the right leg, bends the knees and steps back",),
    "squat": ("a person bends both knees to squat and stands up again",),
    "left side lunge": ("a person steps to the left, bends the left knee and steps back",),
    "right side lunge": ("a person steps to the right, bends the right knee and steps back",),
    "left limb extension": (
        "a person stretches the left arm and the left leg out to the side and draws them in again",
    ),
    "right limb extension": (
        "a person stretches the right arm and the right leg out to the side and draws them in again",
    ),
    "free form": ("a person stretches and relaxes freely",),
    "walk": ("a person walks back and forth",),
}
