"""The synthetic human's activities: each writes its joint-angle curves into a `Motion`, on top of `idle`.

Activities of one family share their posture and differ in dynamics, so that means over a window tell little.
"""

from __future__ import annotations

import numpy as np

from shards.synthetic_motions import Motion, arms, bump, crouch, flight, hinge, ramp, reach


# Gait: on the spot, as on a treadmill.
def gait(m: Motion, hz: float, hip: float, knee: float, arm: float, elbow: float, *, limp: float = 0.0) -> np.ndarray:
    p, a = m.strides(hz), m.size()
    for side, shift, weak in (("d", 0.0, 1 - limp), ("o", np.pi, 1.0)):
        q = p + shift
        m.add(
            **{
                f"{side}_hip_flex": hip * a * weak * (np.sin(q) + 0.35),
                f"{side}_knee": knee * a * weak * bump(q, -0.8, 2.2) + 0.15 * hip * bump(q, 1.9, 3.0),
                f"{side}_ankle": -0.5 * hip * bump(q, -1.9, 4.0) + 0.2 * hip * bump(q, 0.5, 3.0),
                f"{side}_shoulder_flex": -arm * a * np.sin(q),
                f"{side}_elbow": 0.4 * arm * a * (1 - np.sin(q)),
            }
        )
    m.add(b_elbow=elbow, spine_twist=-0.25 * hip * np.sin(p), spine_side=(2 + 14 * limp) * np.sin(p + 1.2))
    # The pelvis goes to the standing leg by 2 to 3 cm, and is braked and pushed on at each step.
    m.add(
        sway=m.draw(0.015, 0.03) * np.cos(p + 0.4),
        surge=hip / 24 * m.draw(0.01, 0.022) * np.sin(2 * p + m.draw(-0.6, 0.6)),
    )
    return p


def walk(m: Motion) -> None:
    gait(m, 0.95, 24, 55, 20, 0)


def jog(m: Motion) -> None:
    p = gait(m, 1.35, 28, 85, 30, 45)
    m.add(pitch=4, lift=flight(2 * p + 0.6, 0.5, 0.05 * m.amp))


def march(m: Motion) -> None:
    p, a = m.strides(0.85), m.size()
    for side, shift in (("d", 0.0), ("o", np.pi)):
        up = bump(p + shift, 0.0, 2.5)
        m.add(
            **{
                f"{side}_hip_flex": 80 * a * up,
                f"{side}_knee": 85 * a * up,
                f"{side}_shoulder_flex": -25 * a * (up - 0.3),
            }
        )


def limp(m: Motion) -> None:
    p = gait(m, 0.75, 20, 48, 10, 10, limp=0.65)
    m.add(spine_bend=6 * bump(p, 2.5, 3.0), spine_side=9 * bump(p, 2.5, 3.0))


def side_step(m: Motion) -> None:
    p, a = m.strides(0.8), m.size()
    out = bump(p, 0.0, 1.5) + 0.1
    m.add(
        b_hip_abduct=16 * a * out,
        spine_side=4 * np.sin(p),
        b_knee=20 * a * bump(p, 1.6, 3.0),
        b_hip_flex=12 * bump(p, 1.6, 3.0),
    )
    m.add(d_knee=30 * a * bump(p, -0.9, 4.0), o_knee=30 * a * bump(p, 0.9, 4.0), yaw=3 * np.sin(p))


def skip(m: Motion) -> None:
    p = gait(m, 0.85, 30, 60, 38, 20)
    m.add(d_hip_flex=38 * bump(p, 1.2, 4.0), o_hip_flex=38 * bump(p + np.pi, 1.2, 4.0))
    m.add(
        d_knee=45 * bump(p, 1.2, 4.0),
        o_knee=45 * bump(p + np.pi, 1.2, 4.0),
        lift=flight(2 * p + 2.4, 0.45, 0.11 * m.amp),
    )


# Jumps and exercises
def jump(m: Motion) -> None:
    p, a = m.phase(0.7), m.size()
    crouch(m, 55 * a * (bump(p, 1.7, 5.0) + 0.7 * bump(p, 4.6, 7.0)))
    m.add(lift=flight(p, 0.36, 0.22 * a), b_shoulder_flex=45 * a * (bump(p, 2.9, 3.0) - bump(p, 1.5, 3.0)))


def jumping_jack(m: Motion) -> None:
    p, a = m.phase(1.0), m.size()
    arms(m, "do")
    out = 0.5 - 0.5 * np.cos(p)
    m.add(b_shoulder_abduct=12 + 140 * a * out, b_elbow=15, b_hip_abduct=22 * a * out, lift=flight(2 * p, 0.5, 0.06))
    crouch(m, m.draw(22, 45) * bump(2 * p, 0.0, 2.0))


def hop(m: Motion) -> None:
    p, a = m.phase(1.7), m.size()
    m.add(
        d_knee=75,
        d_hip_flex=15 + 5 * np.sin(p),
        o_knee=28 * a * bump(p, 0.0, 2.0),
        o_hip_flex=24 * a * bump(p, 0.0, 2.0),
    )
    m.add(lift=flight(p, 0.55, 0.08 * a), b_shoulder_abduct=12 + 8 * np.cos(p), o_ankle=10 * bump(p, 0.0, 2.0))


def squat(m: Motion) -> None:
    p, a = m.phase(0.42), m.size()
    down = 0.5 - 0.5 * np.cos(p)
    crouch(m, 85 * a * down)
    m.add(b_shoulder_flex=60 * a * down)


def lunge(m: Motion) -> None:
    p, a = m.phase(0.42), m.size()
    down = bump(p, 0.0, 1.3)
    m.add(
        d_hip_flex=75 * a * down,
        d_knee=80 * a * down,
        o_hip_flex=-18 * a * down,
        o_knee=75 * a * down,
        o_ankle=20 * down,
    )


def kick(m: Motion) -> None:
    p, a = m.phase(0.6), m.size()
    m.add(d_hip_flex=70 * a * bump(p, 0.0, 9.0) - 30 * a * bump(p, -1.0, 5.0), d_knee=80 * a * bump(p, -0.8, 6.0))
    m.add(
        pitch=-10 * bump(p, 0.1, 6.0),
        o_shoulder_flex=35 * a * bump(p, 0.0, 5.0),
        o_knee=12,
        spine_twist=-12 * bump(p, 0, 5.0),
    )


def jump_rope(m: Motion) -> None:
    p, a = m.phase(2.1), m.size()
    arms(m, "do")
    m.add(b_shoulder_abduct=22 + 5 * np.cos(p), b_shoulder_flex=5 * np.sin(p), b_elbow=65 + 14 * a * np.sin(p))
    m.add(b_shoulder_twist=-30 + 14 * a * np.cos(p), lift=flight(p, 0.6, 0.045 * a), b_knee=18 * bump(p, 0, 2.0))


def torso_twist(m: Motion) -> None:
    p, a = m.phase(0.55), m.size()
    m.add(spine_twist=45 * a * np.sin(p), head_turn=10 * np.sin(p), yaw=8 * a * np.sin(p - 0.3))
    m.add(b_shoulder_abduct=15 + 6 * np.sin(p - 0.5))


def row(m: Motion) -> None:
    p, a = m.phase(0.55), m.size()
    arms(m, "do")
    pull = 0.5 + 0.5 * np.sin(p + 0.4 * np.sin(p))
    m.add(b_shoulder_flex=70 - 80 * a * pull, b_elbow=10 + 95 * a * pull, b_shoulder_abduct=15, b_shoulder_twist=15)
    hinge(m, 22 - 25 * a * pull)
    crouch(m, 22 - 15 * pull)


# Sports: strokes with a rest between them
def boxing(m: Motion) -> None:
    p, a, sharp = m.phase(m.draw(0.7, 1.1)), m.size(), m.draw(1.5, 6.0)
    arms(m, "do")
    for side, shift, sign in (("d", 0.0, 1), ("o", np.pi, -1)):
        hit = bump(p + shift, 0.0, sharp)
        m.add(
            **{
                f"{side}_shoulder_flex": 40 + 50 * a * hit,
                f"{side}_elbow": 115 - 100 * a * hit,
                f"{side}_shoulder_twist": 25,
            }
        )
        m.add(spine_twist=sign * 16 * a * hit, yaw=sign * 4 * a * hit, d_knee=6, o_knee=8)


def throw(m: Motion) -> None:
    p, a = m.phase(0.5), m.size()
    arms(m)
    cock, go = bump(p, -0.9, 3.5), bump(p, 0.25, m.draw(3.0, 9.0))
    m.add(d_shoulder_abduct=12 + 75 * a * (cock + 0.8 * go), d_shoulder_twist=-75 * a * cock + 20 * go)
    m.add(d_elbow=25 + 75 * a * cock, d_shoulder_swing=-25 * cock + 70 * a * go, spine_bend=18 * go)
    m.add(
        spine_twist=-28 * a * cock + 32 * a * go, o_hip_flex=25 * a * bump(p, -0.2, 4.0), o_knee=25 * bump(p, -0.5, 4.0)
    )


def tennis_swing(m: Motion) -> None:
    p, a = m.phase(0.55), m.size()
    arms(m)
    back, hit = bump(p, -1.3, 2.5), bump(p, 0.3, 5.0)
    m.add(d_shoulder_flex=25 + 25 * hit, d_shoulder_abduct=25 + 30 * a * back, d_elbow=35 + 35 * hit)
    m.add(
        d_shoulder_swing=-50 * a * back + 75 * a * hit,
        spine_twist=-38 * a * back + 40 * a * hit,
        yaw=8 * hit - 8 * back,
    )
    crouch(m, 14 * bump(p, -0.6, 2.0))


def basketball_shot(m: Motion) -> None:
    p, a = m.phase(0.5), m.size()
    arms(m, "do")
    dip, shoot = bump(p, -1.0, 4.0), bump(p, 0.2, 4.0)
    crouch(m, 42 * a * dip)
    m.add(b_shoulder_flex=30 + 105 * a * shoot, b_elbow=65 + 35 * dip - 60 * a * shoot, b_shoulder_twist=20, o_elbow=12)
    m.add(lift=flight(p + np.pi - 0.25, 0.16, 0.1 * a), o_shoulder_flex=-25 * bump(p, 0.7, 6.0))


def bowling(m: Motion) -> None:
    p, a = m.phase(0.42), m.size()
    arms(m)
    swing = -1.0 * bump(p, -1.3, 2.5) + 1.1 * bump(p, 0.2, 4.0)
    m.add(d_shoulder_flex=8 + 60 * a * swing, d_elbow=8, d_shoulder_abduct=8)
    stoop = bump(p, -0.2, 1.6)
    hinge(m, 38 * a * stoop)
    m.add(o_knee=55 * a * stoop, o_hip_flex=45 * a * stoop, d_hip_flex=-12 * stoop, d_knee=45 * a * stoop)


# Gestures of one arm or both, before the body
def wave(m: Motion) -> None:
    p, a = m.phase(m.draw(0.8, 1.9)), m.size()
    arms(m)
    m.add(d_shoulder_abduct=m.draw(15, 85), d_shoulder_flex=m.draw(0, 30), d_elbow=m.draw(80, 125) + 8 * np.cos(p))
    m.add(d_shoulder_twist=m.draw(-95, -50) + m.draw(20, 50) * a * np.sin(p), spine_side=1.5 * np.sin(p))


def clap(m: Motion) -> None:
    p, a = m.phase(m.draw(1.6, 2.4)), m.size()
    reach(m, "do")
    meet = bump(p, 0.0, m.draw(1.0, 3.0))
    m.add(b_shoulder_twist=-14 + m.draw(14, 28) * a * meet, b_shoulder_swing=9 * a * meet)


def knock(m: Motion) -> None:
    p, a = m.phase(0.62), m.size()
    reach(m)
    taps = sum(bump(p, at, 90.0) for at in (-1.0, 0.0, 1.0))
    m.add(d_elbow=-24 * a * taps, d_shoulder_flex=6 * a * taps)


def hammer(m: Motion) -> None:
    p, a = m.phase(1.25), m.size()
    reach(m)
    lift = bump(p + 0.7 * np.sin(p), 0.0, 1.2)  # slow up, fast down
    m.add(d_elbow=40 * a * lift, d_shoulder_flex=25 * a * lift, spine_bend=4 * (1 - lift))


def wipe(m: Motion) -> None:
    p, a = m.phase(0.75), m.size()
    reach(m)
    m.add(d_shoulder_swing=32 * a * np.sin(p), d_elbow=12 * np.cos(2 * p), spine_twist=6 * a * np.sin(p))


def stir(m: Motion) -> None:
    p, a = m.phase(1.15), m.size()
    reach(m)
    m.add(d_shoulder_flex=9 * a * np.sin(p), d_shoulder_swing=12 * a * np.cos(p), d_elbow=9 * a * np.sin(p))


def shake(m: Motion) -> None:
    p, a = m.phase(3.8), m.size()
    reach(m)
    m.add(d_elbow=13 * a * np.sin(p), d_shoulder_flex=4 * a * np.sin(p))


def saw(m: Motion) -> None:
    p, a = m.phase(1.5), m.size()
    reach(m)
    m.add(d_shoulder_flex=26 * a * np.sin(p), d_elbow=-38 * a * np.sin(p), spine_twist=7 * np.sin(p), spine_bend=12)


def drink(m: Motion) -> None:
    p, a = m.phase(0.3), m.size()
    arms(m)
    up = bump(p, 0.0, 1.6)
    m.add(d_shoulder_flex=18 + 40 * up, d_shoulder_abduct=10 + 12 * up, d_shoulder_twist=20 + 18 * up)
    m.add(d_elbow=50 + 80 * up * min(m.amp, 1.1), head_nod=-22 * a * bump(p, 0.15, 3.0))


def arm_circles(m: Motion) -> None:
    p, a = m.phase(0.85), m.size()
    arms(m, "do")
    m.add(b_shoulder_flex=35 * a * np.cos(p), b_shoulder_abduct=70 + 35 * a * np.sin(p), b_elbow=8)


# Transitions and turns: once in a clip, or slowly repeated
def _at(m: Motion) -> float:
    return float(m.rng.uniform(0.25, 0.5)) * float(m.t[-1])


def sit_down(m: Motion) -> None:
    seconds = 1.5 / m.tempo
    seated = ramp(m.t, _at(m), seconds)
    m.add(b_hip_flex=84 * seated, b_knee=84 * seated)
    middle = seated * (1 - seated) * 4
    hinge(m, 34 * m.amp * middle)
    m.add(b_shoulder_flex=18 * m.amp * middle)


def stand_up(m: Motion) -> None:
    start, seconds = _at(m), 1.4 / m.tempo
    seated = 1 - ramp(m.t, start, seconds)
    m.add(b_hip_flex=84 * seated, b_knee=84 * seated)
    hinge(m, 40 * m.amp * np.exp(-(((m.t - start) / seconds - 0.3) ** 2) / 0.08))  # lean first, then rise


def pick_up(m: Motion) -> None:
    p, a = m.phase(0.33), m.size()
    down = bump(p, 0.0, 2.0)
    crouch(m, 60 * a * down)
    hinge(m, 45 * a * down)
    m.add(d_shoulder_flex=45 * a * down + 10 * bump(p, 0.7, 6.0), d_elbow=30 * bump(p, 1.0, 4.0))


def bow(m: Motion) -> None:
    p, a = m.phase(0.32), m.size()
    down = bump(p, 0.0, 2.0)
    hinge(m, 55 * a * down)
    m.add(head_nod=18 * down, spine_bend=12 * down)


def turn_around(m: Motion) -> None:
    sign = 1.0 if m.rng.random() < 0.5 else -1.0
    start, seconds = 0.2 * float(m.t[-1]) * m.draw(0.5, 1.5), 1.6 / m.tempo
    turned = ramp(m.t, start, seconds) + ramp(m.t, start + seconds + m.draw(0.2, 0.8), seconds)
    p = m.phase(1.1)
    steps = 4 * (turned % 1) * (1 - turned % 1)
    m.add(yaw=sign * 180 * turned, d_knee=35 * steps * bump(p, 0, 2), o_knee=35 * steps * bump(p, np.pi, 2))
    m.add(d_hip_flex=20 * steps * bump(p, 0, 2), o_hip_flex=20 * steps * bump(p, np.pi, 2), head_turn=sign * 20 * steps)


def stand(m: Motion) -> None:
    p = m.phase(0.28)
    m.add(spine_bend=1.2 * np.sin(p), b_shoulder_abduct=0.8 * np.sin(p))
