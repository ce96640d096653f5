"""The synthetic human's body: sizes, posing by joint angles, sensors, skeletons, drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter1d

from aura.body import kinematics as kin
from aura.body.cameras import Camera, project
from aura.body.skeletons import SKELETONS
from shards.synthetic_motions import Motion

Colour = tuple[int, int, int]

# Joint -> (parent, place in the parent's frame as shares of the body's height). Standing, x is forward, y left, z up;
# shares after Winter, Biomechanics and Motor Control of Human Movement. Left side; the right one is mirrored.
_TRUNK = {
    "pelvis": ("", (0, 0, 0)),
    "spine": ("pelvis", (0, 0, 0.07)),
    "neck": ("spine", (0, 0, 0.22)),
    "skull": ("neck", (0, 0, 0)),
    "head": ("skull", (0.01, 0, 0.1)),
    "nose": ("skull", (0.07, 0, 0.095)),
}
_SIDE = {
    "shoulder": ("neck", (0, 0.115, -0.01)),
    "elbow": ("shoulder", (0, 0, -0.186)),
    "wrist": ("elbow", (0, 0, -0.146)),
    "hand": ("wrist", (0, 0, -0.05)),
    "hip": ("pelvis", (0, 0.055, -0.01)),
    "knee": ("hip", (0, 0, -0.245)),
    "ankle": ("knee", (0, 0, -0.246)),
    "foot": ("ankle", (0.1, 0, -0.035)),
    "heel": ("ankle", (-0.03, 0, -0.039)),
    "eye": ("skull", (0.06, 0.018, 0.11)),
    "ear": ("skull", (0.0, 0.042, 0.1)),
}


def _tree() -> tuple[list[str], list[int], np.ndarray]:
    rows = dict(_TRUNK)
    for side, sign in (("left", 1), ("right", -1)):
        for name, (parent, (x, y, z)) in _SIDE.items():
            rows[f"{side}_{name}"] = (parent if parent in _TRUNK else f"{side}_{parent}", (x, sign * y, z))
    names = list(rows)
    parents = [names.index(parent) if parent else -1 for parent, _ in rows.values()]
    return names, parents, np.array([offset for _, offset in rows.values()], float)


NAMES, PARENTS, OFFSETS = _tree()
_AT = {name: index for index, name in enumerate(NAMES)}
_KINECT = [
    _AT["neck" if n == "shoulder_center" else "pelvis" if n == "hip_center" else n]
    for n in SKELETONS["kinect20"].joints
]
_COCO = [_AT[name] for name in SKELETONS["coco17"].joints]
_FEET = [_AT[f"{side}_{part}"] for side in ("left", "right") for part in ("foot", "heel")]
_ANKLES = [_AT["left_ankle"], _AT["right_ankle"]]

# Sensor axes in the segment's frame: x along the limb and y forward, or on trunk and head x up and y forward.
_LIMB = kin.from_matrix(np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float).T)
_UPRIGHT = kin.from_matrix(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float).T)

# Placement -> (segment, its place in the segment's frame as shares of the height).
Sensors = dict[str, tuple[str, tuple[float, float, float]]]
SENSORS: Sensors = {
    "head": ("skull", (0.06, 0.02, 0.11)),
    "chest": ("spine", (0.06, 0, 0.15)),
    "pelvis": ("pelvis", (-0.06, 0, 0.02)),
    "left wrist": ("left_elbow", (0, 0.018, -0.135)),
    "right wrist": ("right_elbow", (0, -0.018, -0.135)),
    "left thigh": ("left_hip", (0.045, 0, -0.11)),
    "right thigh": ("right_hip", (0.045, 0, -0.11)),
    "left ankle": ("left_knee", (0, 0.025, -0.225)),
    "right ankle": ("right_knee", (0, -0.025, -0.225)),
}
# More places where devices are worn.
WIDE_SENSORS = SENSORS | {
    "lower back": ("pelvis", (-0.065, 0, 0.06)),
    "left hip": ("pelvis", (0.01, 0.09, 0.0)),
    "right hip": ("pelvis", (0.01, -0.09, 0.0)),
    "left hip pocket": ("left_hip", (0.05, 0.02, -0.05)),
    "right hip pocket": ("right_hip", (0.05, -0.02, -0.05)),
    "left upper arm": ("left_shoulder", (0, 0.03, -0.09)),
    "right upper arm": ("right_shoulder", (0, -0.03, -0.09)),
    "left forearm": ("left_elbow", (0, 0.022, -0.06)),
    "right forearm": ("right_elbow", (0, -0.022, -0.06)),
    "left shank": ("left_knee", (0.035, 0, -0.11)),
    "right shank": ("right_knee", (0.035, 0, -0.11)),
    "left foot": ("left_ankle", (0.07, 0, -0.01)),
    "right foot": ("right_ankle", (0.07, 0, -0.01)),
}


def colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    """RGB drawn at random, each part in low..high-1."""
    red, green, blue = rng.integers(low, high, 3)
    return int(red), int(green), int(blue)


@dataclass(frozen=True)
class Subject:
    """A person: height in metres, lengths of bones relative to usual, habits, colours (RGB)."""

    name: str
    height: float
    bones: np.ndarray
    tempo: float
    amp: float
    right_handed: bool
    habit: dict[str, float]
    colours: dict[str, Colour]


# A suit whose limbs have colours of their own, as in motion capture: sides can be told apart in a small image.
_SUIT: dict[str, Colour] = {
    "shirt": (90, 90, 100),
    "left arm": (200, 50, 50),
    "right arm": (50, 80, 210),
    "left leg": (225, 140, 40),
    "right leg": (45, 150, 80),
}


def make_subject(name: str, rng: np.random.Generator) -> Subject:
    """A person drawn at random. Two of three are right-handed: fewer than in life, so that both are seen often."""
    bones = np.ones((len(NAMES), 1))
    for parts in (("elbow", "wrist"), ("knee", "ankle"), ("shoulder",), ("hip",), ("spine",), ("neck",)):
        scale = rng.uniform(0.92, 1.08)
        for part in parts:
            bones[[i for i, name in enumerate(NAMES) if name.endswith(part)]] = scale
    habit = {
        "b_elbow": 12,
        "b_shoulder_abduct": 6,
        "spine_bend": 6,
        "pitch": 4,
        "head_nod": 8,
        "b_knee": 5,
        "spine_side": 3,
    }
    worn = {part: tuple((np.array(base) + rng.integers(-15, 16, 3)).tolist()) for part, base in _SUIT.items()}
    skin = rng.uniform(0.45, 1)
    return Subject(
        name=name,
        height=float(rng.uniform(1.5, 1.95)),
        bones=bones,
        tempo=float(rng.uniform(0.85, 1.18)),
        amp=float(rng.uniform(0.8, 1.2)),
        right_handed=bool(rng.random() < 2 / 3),
        habit={key: float(rng.normal() * size / 2) for key, size in habit.items()},
        colours={**worn, "skin": (int(250 * skin), int(210 * skin), int(180 * skin))},
    )


@dataclass(frozen=True)
class Pose:
    """A clip of the articulated body in the world: positions (T, J, 3) and segment orientations (T, J, 4) of `NAMES`."""

    positions: np.ndarray
    orientations: np.ndarray
    height: float

    def kinect20(self) -> np.ndarray:
        return self.positions[:, _KINECT]

    def coco17(self) -> np.ndarray:
        return self.positions[:, _COCO]

    def sensors(self, worn: Sensors = SENSORS) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of the segments that bear sensors: place (T, S, 3), orientation (T, S, 4), axes (S, 4), lever (S, 3)."""
        index = [_AT[segment] for segment, _ in worn.values()]
        lever = self.height * np.array([place for _, place in worn.values()])
        axes = np.stack([_LIMB if " " in placement else _UPRIGHT for placement in worn])
        return self.positions[:, index], self.orientations[:, index], axes, lever


def pose(subject: Subject, motion: Motion, active: str, heading_deg: float, give_s: float = 0.0) -> Pose:
    """The body moved by the curves of `motion`; `active` is the side that `d_` stands for; the floor is z = 0.

    give_s    how slowly legs and soles give way (standard deviation of a smoothing of the body's height on its feet).
              Stiff legs, 0, give the pelvis of a walker six times the acceleration of a real one's, 2 to 3 m/s^2 rms
    """
    rate = 1.0 / (motion.t[1] - motion.t[0])
    # Muscles are no steps: 15 ms of smoothing keeps 10 Hz and rounds the corners.
    curves = {
        name: gaussian_filter1d(np.broadcast_to(c, motion.t.shape), 0.015 * rate) for name, c in motion.curves.items()
    }
    lift, surge, sway = (curves.pop(name, np.zeros_like(motion.t)) for name in ("lift", "surge", "sway"))
    angles = {name: np.radians(curve) for name, curve in curves.items()}
    still = np.zeros_like(motion.t)
    sign = 1.0 if active == "right" else -1.0

    def about(axis: int, *names: str, factor: float = 1.0) -> np.ndarray:
        half = 0.5 * factor * sum((angles.get(name, still) for name in names), still)
        q = np.zeros((len(half), 4))
        q[:, 0], q[:, 1 + axis] = np.cos(half), np.sin(half)
        return q

    def chain(*turns: np.ndarray) -> np.ndarray:
        q = turns[0]
        for turn in turns[1:]:
            q = kin.multiply(q, turn)
        return q

    rotations = np.tile(kin.IDENTITY, (len(motion.t), len(NAMES), 1))
    heading = kin.from_axis_angle([0, 0, 1], np.radians(heading_deg))
    rotations[:, _AT["pelvis"]] = chain(heading, about(2, "yaw", factor=sign), about(1, "pitch"))
    bend = about(0, "spine_side", factor=sign), about(1, "spine_bend")
    rotations[:, _AT["spine"]] = chain(about(2, "spine_twist", factor=sign), *bend)
    rotations[:, _AT["skull"]] = chain(about(2, "head_turn", factor=sign), about(1, "head_nod"))
    for side, mirror in (("left", 1.0), ("right", -1.0)):
        d = "d" if side == active else "o"
        rotations[:, _AT[f"{side}_shoulder"]] = chain(
            about(2, f"{d}_shoulder_swing", factor=-mirror),
            about(0, f"{d}_shoulder_abduct", factor=mirror),
            about(1, f"{d}_shoulder_flex", factor=-1),
            about(2, f"{d}_shoulder_twist", factor=-mirror),
        )
        rotations[:, _AT[f"{side}_elbow"]] = about(1, f"{d}_elbow", factor=-1)
        rotations[:, _AT[f"{side}_hip"]] = chain(
            about(0, f"{d}_hip_abduct", factor=mirror), about(1, f"{d}_hip_flex", factor=-1)
        )
        rotations[:, _AT[f"{side}_knee"]] = about(1, f"{d}_knee")
        rotations[:, _AT[f"{side}_ankle"]] = about(1, f"{d}_ankle", factor=-1)
    offsets = OFFSETS * subject.height * subject.bones
    positions, orientations = kin.forward_kinematics(PARENTS, offsets, rotations, np.zeros((len(motion.t), 3)))
    # The lowest foot is on the floor (a smooth minimum: feet change without a jolt), the feet stay about where they are.
    lowest = -np.log(np.exp(-60 * positions[:, _FEET, 2]).sum(1)) / 60
    root = -gaussian_filter1d(positions[:, _ANKLES].mean(1), 0.2 * rate, axis=0, mode="nearest")
    root[:, 2] = lift - (gaussian_filter1d(lowest, give_s * rate, mode="nearest") if give_s else lowest)
    root += kin.rotate(heading, np.stack([surge, -sign * sway, np.zeros_like(surge)], 1))
    return Pose(positions + root[:, None], orientations, subject.height)


# Bones drawn: from, to, width as a share of the height, colour.
_BONES = [
    ("pelvis", "spine", 0.13, "shirt"),
    ("spine", "neck", 0.15, "shirt"),
    ("neck", "head", 0.05, "skin"),
    *((f"{s}_{a}", f"{s}_{b}", w, f"{s} {c}") for s in ("left", "right") for a, b, w, c in (
        ("shoulder", "elbow", 0.055, "arm"),
        ("elbow", "wrist", 0.042, "arm"),
        ("wrist", "hand", 0.05, "arm"),
        ("hip", "knee", 0.075, "leg"),
        ("knee", "ankle", 0.055, "leg"),
        ("heel", "foot", 0.045, "leg"),
    )),
]  # fmt: skip


def wall_colour(rng: np.random.Generator) -> Colour:
    """A light wall, before which every part of the suit stands out."""
    return colour(rng, 215, 245)


def draw(body: Pose, subject: Subject, camera: Camera, background: Colour) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 RGB of the body before a wall and a floor, far parts first, lit by distance."""
    local = (body.positions - camera.position) @ camera.rotation.T
    u = camera.cx + camera.fx * local[..., 0] / local[..., 2]
    v = camera.cy + camera.fy * local[..., 1] / local[..., 2]
    scale = camera.fx * body.height / local[..., 2]
    feet = np.array([[body.positions[0, 0, 0], body.positions[0, 0, 1], 0.0]])
    horizon = float(project(feet, camera)[0, 1]) or camera.height * 0.9
    wall = np.empty((camera.height, camera.width, 3), np.uint8)
    wall[:] = background
    wall[int(horizon * 0.93) :] = np.array(background) * 0.6
    canvas = Image.fromarray(wall)
    ends = [(_AT[a], _AT[b]) for a, b, _, _ in _BONES]
    depth = np.stack([(local[:, a, 2] + local[:, b, 2]) / 2 for a, b in ends], axis=1)
    shade = np.clip(1 - 0.5 * (depth - local[:, :1, 2]) / body.height, 0.6, 1.4)
    paint = np.array([subject.colours[c] for _, _, _, c in _BONES]) * shade[..., None]
    fills = np.clip(paint, 0, 255).astype(int).tolist()
    widths = np.array([w for _, _, w, _ in _BONES]) * scale[:, [a for a, _ in ends]]
    radii = np.where([to == "head" for _, to, _, _ in _BONES], 0.062 * scale[:, [b for _, b in ends]], widths / 2)
    points = np.stack([u, v], axis=-1).tolist()
    strokes = np.maximum(1, np.rint(widths)).astype(int).tolist()
    frames = np.empty((len(u), camera.height, camera.width, 3), np.uint8)
    for t in range(len(u)):
        image = canvas.copy()
        pen = ImageDraw.Draw(image)
        for bone in np.argsort(-depth[t]).tolist():
            (xa, ya), (xb, yb) = (points[t][end] for end in ends[bone])
            fill, r = tuple(fills[t][bone]), float(radii[t, bone])
            pen.line([xa, ya, xb, yb], fill=fill, width=strokes[t][bone])
            pen.ellipse([xb - r, yb - r, xb + r, yb + r], fill=fill)
        frames[t] = np.asarray(image)
    return frames
