"""The card of shards of Ego-Exo4D."""

from __future__ import annotations

from collections.abc import Sequence

from shards.egoexo4d_takes import PAGE, SCENARIOS, SPLITS, Take, shared
from shards.egoexo4d_texts import COMMENT_S, Wanted

ABOUT = f"""# Ego-Exo4D

Skilled activities, each filmed from the wearer's Aria headset and from outside: the headset's IMUs, exo video, body poses,
texts. Written by `shards/egoexo4d.py` of aura.

Source: {PAGE}. Licence: the Ego-Exo4D licence agreement, to be signed before download; neither the data nor what is
derived from it may be handed on, these shards included.
K. Grauman et al., "Ego-Exo4D: Understanding Skilled Human Activity from First- and Third-Person Perspectives", CVPR 2024.

Labels: `scenario` (of {len(SCENARIOS)}: {", ".join(SCENARIOS.values())}), `task`, `university`, `proficiency`; `camera` and
`camera_choice`, the video's camera and whether it is the publisher's best_exo; `pose`, which annotation `mocap` and
`pose2d` hold; `imu_pose_offset_s` and `imu_pose_correlation`, by how many seconds the pose is late to the IMU, by
correlation of the head's acceleration over the take. Subject: the participant; session: the capture.

IMU: `right temple` and `left temple` of the glasses, raw (without the factory's correction), each in its own frame; full
scales are not published. mocap: manual annotation where the take has one, else automatic; where it has both, the automatic
one is `mocap_auto`, `pose2d_auto`. Joints missing for long are left out of a sample's skeleton, so it is given in place.
pose2d: pixels of the full undistorted image, confidence 1 or 0 (not annotated). Further cameras: `video_exo2`,
`pose2d_exo2` and so on. The lenses are fisheyes: intrinsics of a video are of OpenCV's fisheye model, without its
distortion.
"""


def card(takes: Sequence[Take], split: str, texts: Wanted) -> str:
    """The card's text: what is there, how texts and splits were made, and who is in several splits."""
    lines = [ABOUT]
    if texts.kinds:
        who = "the first annotator or expert of a take" if texts.first else "all annotators and experts"
        lines.append(
            f"Texts ({', '.join(texts.kinds)}) of {who}. Atomic descriptions, of what"
            f" {'anybody' if texts.others else 'the wearer'} does, hold at a point in time; comments"
            f" ({texts.commentary}) over the {COMMENT_S:g} s before the expert paused; steps from start to end, their name"
            f" as a label, their description as a description. The wearer is called {texts.wearer!r}."
        )
        if texts.commentary != "plain":
            lines.append("The prefix says what AURA-MFM's says, task and time; its very wording is not published.")
        lines.append("")
    if split == "official":
        lines.append("Splits: the publisher's. The test split has neither descriptions nor comments.")
    else:
        lines.append(
            "Splits: 80/10/10 of the takes at random (seed 42), as AURA-MFM makes them; its own lists are of another order."
            " Takes of one capture are in several splits: results tell less about new people and places."
        )
    for what in ("participant", "capture"):
        for (a, b), values in shared(takes, what).items():
            there = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")
            lines.append(f"In {a} and in {b}: {len(values)} {what}{'s' if len(values) > 1 else ''} ({there}).")
    if not any(shared(takes, what) for what in ("participant", "capture")):
        lines.append(f"No participant and no capture is in two of {', '.join(SPLITS)}.")
    return "\n".join(lines) + "\n"
