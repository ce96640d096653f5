"""More of what the synthetic human can do: gaits and exercises. Written as in `synthetic_activities`."""

from __future__ import annotations

import numpy as np

from shards.synthetic_activities import gait
from shards.synthetic_everyday import HALF, strike
from shards.synthetic_motions import Motion, arms, bump, crouch, flight, hinge, ramp


# Gaits
def run(m: Motion) -> None:
    p = gait(m, 1.4, 34, 95, 38, 70)
    m.add(pitch=8, lift=flight(2 * p + 0.6, 0.6, 0.08 * m.amp))


def on_the_spot(m: Motion, hz: float, hip: float, knee: float, arm: float) -> np.ndarray:
    """Lifts one knee after the other, the arms against them; degrees. The phase (T,) of the steps."""
    p, a = m.strides(hz), m.size()
    for side, shift in (("d", 0.0), ("o", np.pi)):
        up = bump(p + shift, 0.0, 2.0)
        m.add(
            **{
                f"{side}_hip_flex": hip * a * up,
                f"{side}_knee": knee * a * up,
                f"{side}_shoulder_flex": -arm * a * (up - 0.4),
            }
        )
    return p


def walk_in_place(m: Motion) -> None:
    on_the_spot(m, 0.85, 32, 50, 14)


def jog_in_place(m: Motion) -> None:
    p = on_the_spot(m, 1.4, 35, 70, 28)
    m.add(b_elbow=65, lift=flight(2 * p, 0.5, 0.045 * m.amp))


def walk_backward(m: Motion) -> None:
    p, a = m.strides(0.75), m.size()
    for side, q in (("d", p), ("o", p + np.pi)):
        m.add(
            **{
                f"{side}_hip_flex": 14 * a * np.sin(q) + 4,
                f"{side}_knee": 32 * a * bump(q, 2.0, 2.0),
                f"{side}_shoulder_flex": -8 * np.sin(q),
            }
        )
    m.add(spine_side=3 * np.sin(p), pitch=5)


def stairs_up(m: Motion) -> None:
    p, a = m.strides(0.72), m.size()
    for side, q in (("d", p), ("o", p + np.pi)):
        up = bump(q, 0.0, 1.6)
        m.add(
            **{f"{side}_hip_flex": 52 * a * up, f"{side}_knee": 70 * a * up, f"{side}_shoulder_flex": -14 * np.sin(q)}
        )
    m.add(pitch=9, spine_bend=5, lift=0.05 * a * bump(2 * p, HALF, 1.0), spine_twist=-5 * np.sin(p))


def stairs_down(m: Motion) -> None:
    p, a = m.strides(0.9), m.size()
    for side, q in (("d", p), ("o", p + np.pi)):
        m.add(
            **{
                f"{side}_hip_flex": 20 * a * bump(q, 0, 1.5),
                f"{side}_knee": 55 * a * bump(q, 0.6, 2.5),
                f"{side}_shoulder_flex": -10 * np.sin(q),
            }
        )
    m.add(head_nod=15, lift=-0.05 * a * strike(2 * p), spine_side=4 * np.sin(p))


def walk_turn(m: Motion) -> None:
    gait(m, 0.9, 22, 52, 18, 0)
    sign = 1.0 if m.rng.random() < 0.5 else -1.0
    turned = ramp(m.t, m.draw(0.1, 0.5) * float(m.t[-1]), m.draw(1.2, 2.5) / m.tempo)
    m.add(yaw=sign * m.draw(80, 190) * turned, spine_side=sign * 8 * 4 * turned * (1 - turned))


def turn_walking(m: Motion) -> None:
    """Turns by about half a circle in steps, which is what a walk to and fro has at its ends."""
    p = gait(m, 0.9, 12, 38, 9, 0)
    sign = 1.0 if m.rng.random() < 0.5 else -1.0
    seconds = m.draw(1.2, 2.2) / m.tempo
    start = m.draw(0.0, 0.45) * float(m.t[-1])
    turned = ramp(m.t, start, seconds) + ramp(m.t, start + seconds + m.draw(0.0, 0.6), seconds)
    m.add(yaw=sign * m.draw(150, 200) * (turned + 0.06 * np.sin(2 * p) * 4 * (turned % 1) * (1 - turned % 1)))
    m.add(head_turn=sign * 20 * 4 * (turned % 1) * (1 - turned % 1))


def sneak(m: Motion) -> None:
    gait(m, 0.5, 30, 60, 5, 20)
    crouch(m, m.draw(20, 40) + m.wander(2))
    hinge(m, 12 * np.ones_like(m.t))


def crawl(m: Motion) -> None:
    p, a = m.phase(0.75), m.size()
    arms(m, "do")
    m.add(pitch=85, b_hip_flex=85, b_knee=85, b_shoulder_flex=85, head_nod=-30)
    for side, q in (("d", p), ("o", p + np.pi)):
        m.add(
            **{
                f"{side}_hip_flex": 14 * a * np.sin(q),
                f"{side}_shoulder_flex": -18 * a * np.sin(q),
                f"{side}_elbow": 15 * bump(q, 1, 3),
            }
        )


def climb(m: Motion) -> None:
    p, a = m.phase(0.55), m.size()
    arms(m, "do")
    for side, q in (("d", p), ("o", p + np.pi)):
        up = 0.5 + 0.5 * np.sin(q)
        m.add(
            **{
                f"{side}_shoulder_flex": 70 + 70 * a * up,
                f"{side}_elbow": 85 - 60 * up,
                f"{side}_hip_flex": 65 * a * (1 - up),
                f"{side}_knee": 80 * a * (1 - up),
            }
        )
    m.add(lift=0.06 * a * strike(2 * p))


# Exercises
def toe_touch(m: Motion) -> None:
    p, a = m.phase(0.3), m.size()
    arms(m, "do")
    down = 0.5 - 0.5 * np.cos(p + 0.4 * np.sin(p))
    hinge(m, 85 * np.minimum(a, 1.2) * down)
    m.add(spine_bend=25 * down, b_shoulder_flex=160 - 75 * down, b_elbow=8, b_knee=12 * down, head_nod=12 * down)


def side_bend(m: Motion) -> None:
    p, a = m.phase(0.4), m.size()
    m.add(
        spine_side=32 * a * np.sin(p),
        d_shoulder_abduct=60 * bump(p, -HALF, 1.5),
        o_shoulder_abduct=60 * bump(p, HALF, 1.5),
    )


def knee_raise(m: Motion) -> None:
    p, a = m.phase(0.6), m.size()
    up = bump(p, 0.0, 2.2)
    m.add(d_hip_flex=85 * a * up, d_knee=90 * a * up, o_knee=5 * up)


def leg_raise(m: Motion) -> None:
    p, a = m.phase(0.55), m.size()
    m.add(d_hip_abduct=38 * a * bump(p, 0, 1.5), spine_side=-8 * bump(p, 0, 1.5), b_shoulder_abduct=15)


def push_up(m: Motion) -> None:
    p, a = m.phase(0.55), m.size()
    arms(m, "do")
    down = 0.5 - 0.5 * np.cos(p)
    m.add(
        pitch=72 + 10 * down,
        b_shoulder_flex=78 - 30 * a * down,
        b_elbow=10 + 80 * a * down,
        b_shoulder_abduct=20 + 20 * down,
    )
    m.add(lift=-0.12 * a * down, head_nod=-25)


def sit_up(m: Motion) -> None:
    p, a = m.phase(0.4), m.size()
    up = bump(p, 0.0, 1.5)
    arms(m, "do")
    m.add(pitch=-86 + 65 * a * up, b_hip_flex=50 + 60 * a * up, b_knee=85, spine_bend=25 * up)
    m.add(b_shoulder_flex=60, b_elbow=120, b_shoulder_twist=30)


def raise_arm(m: Motion) -> None:
    p, a = m.phase(m.draw(0.2, 0.4)), m.size()
    arms(m)
    up = np.clip(1.4 * bump(p, 0.0, 1.2), 0, 1)
    if m.rng.random() < 0.5:
        m.add(d_shoulder_flex=5 + 150 * a * up, d_elbow=15 + 10 * up)
    else:
        m.add(d_shoulder_abduct=8 + 140 * a * up, d_elbow=12)


def raise_both(m: Motion) -> None:
    p, a = m.phase(m.draw(0.2, 0.4)), m.size()
    arms(m, "do")
    up = np.clip(1.4 * bump(p, 0.0, 1.2), 0, 1)
    if m.rng.random() < 0.5:
        m.add(b_shoulder_flex=5 + 150 * a * up, b_elbow=15 + 10 * up)
    else:
        m.add(b_shoulder_abduct=8 + 140 * a * up, b_elbow=12)


def lateral_raise(m: Motion) -> None:
    p, a = m.phase(0.45), m.size()
    arms(m, "do")
    m.add(b_shoulder_abduct=8 + 78 * a * (0.5 - 0.5 * np.cos(p)), b_elbow=12)


def arm_curl(m: Motion) -> None:
    p, a = m.phase(0.5), m.size()
    arms(m, "do")
    m.add(b_shoulder_abduct=8, b_shoulder_flex=5 + 8 * np.sin(p), b_elbow=12 + 115 * a * (0.5 - 0.5 * np.cos(p)))


def press(m: Motion) -> None:
    p, a = m.phase(0.45), m.size()
    arms(m, "do")
    up = 0.5 - 0.5 * np.cos(p)
    m.add(b_shoulder_abduct=70 + 90 * a * up, b_elbow=115 - 100 * a * up, b_shoulder_flex=20)


def push(m: Motion) -> None:
    p, a = m.phase(0.45), m.size()
    arms(m, "do")
    out = np.clip(1.3 * bump(p, 0, 2.0), 0, 1)
    m.add(b_shoulder_flex=25 + 60 * a * out, b_elbow=120 - 105 * a * out, b_shoulder_twist=20, spine_bend=8 * out)


def stretch(m: Motion) -> None:
    up = bump(m.phase(0.15), 0.0, 1.2)
    arms(m, "do")
    m.add(
        b_shoulder_flex=165 * m.amp * up,
        b_elbow=25 + m.wander(4),
        spine_bend=-12 * up,
        spine_side=m.wander(8),
        head_nod=-15 * up,
    )


def star_jump(m: Motion) -> None:
    p, a = m.phase(m.draw(0.75, 1.1)), m.size()
    arms(m, "do")
    out = 0.5 - 0.5 * np.cos(p)
    top = m.draw(75, 145)
    m.add(
        b_shoulder_abduct=m.draw(5, 20) + top * np.minimum(a, 1.1) * out,
        b_elbow=m.draw(5, 40),
        b_hip_abduct=m.draw(12, 28) * a * out,
    )
    crouch(m, m.draw(20, 50) * bump(2 * p, 0.0, 2.0))
    m.add(lift=flight(2 * p, m.draw(0.35, 0.6), m.draw(0.02, 0.1)))


def bounce(m: Motion) -> None:
    p, a = m.phase(m.draw(1.1, 2.3)), m.size()
    bend = m.draw(15, 45) * a * bump(p, 0.0, 2.0)
    crouch(m, bend)
    m.add(
        lift=flight(p, m.draw(0.35, 0.6), m.draw(0.04, 0.2)),
        b_shoulder_flex=m.draw(0, 25) * np.sin(p),
        b_elbow=m.draw(0, 50),
    )
