"""More of what the synthetic human can do: postures, chores, gestures, exercises, gaits and transitions of every day.

Written as in `synthetic_activities`. Where hands meet, or a body meets a chair, curves have a corner (`strike`) or a jolt.
"""

from __future__ import annotations

import numpy as np

from shards.synthetic_activities import gait
from shards.synthetic_motions import Motion, arms, bump, crouch, flight, hinge, ramp, reach

HALF = np.pi / 2


def strike(phase: np.ndarray) -> np.ndarray:
    """0 at the contact of each cycle (phase 0), whose speed turns round at once there; 1 half a cycle later."""
    return np.abs(np.sin(phase / 2))


def jolt(t: np.ndarray, at: float, height: float) -> np.ndarray:
    """Metres that a body yields when it meets a seat at the second `at`: a damped swing of 4 Hz."""
    since = np.clip(t - at, 0, None)
    return -height * np.exp(-since / 0.12) * np.sin(2 * np.pi * 4 * since)


def tremble(m: Motion, degrees: float) -> np.ndarray:
    """Small quick movements (T,) of no rhythm, as fingers make them that work."""
    rate = m.rng.uniform(2, 7, (8, 1))
    return degrees / 2 * np.sin(2 * np.pi * (rate * m.t + m.rng.random((8, 1)))).sum(0) / 2


# Sitting and lying
def seat(m: Motion) -> None:
    """Sits, with feet near or far, upright or leaning, hands on the thighs or in the lap."""
    lean, knees = m.draw(-18, 15), m.draw(65, 105)
    m.add(b_hip_flex=84 + lean * 0.3 + m.wander(1), b_knee=knees, pitch=lean * 0.3, spine_bend=lean * 0.4)
    arms(m, "do")
    m.add(b_shoulder_flex=m.draw(15, 45) + m.wander(1), b_elbow=m.draw(40, 95) + m.wander(1), b_shoulder_abduct=8)


def sit(m: Motion) -> None:
    seat(m)
    m.add(head_turn=m.wander(15, 2), spine_bend=m.wander(3, 2), d_elbow=12 * bump(m.phase(0.12), 0, 6))


def lie(m: Motion) -> None:
    side = -88 if m.rng.random() < 0.7 else 88
    m.add(pitch=side + m.wander(1), b_knee=m.draw(0, 40) * (side < 0), b_hip_flex=m.draw(0, 25) * (side < 0))
    m.add(b_shoulder_abduct=m.draw(5, 60), d_elbow=15 * bump(m.phase(0.1), 0, 8), head_turn=m.wander(10, 2))


def type_keys(m: Motion) -> None:
    seat(m)
    for side in ("d", "o"):
        m.add(**{f"{side}_elbow": 30 + tremble(m, 3), f"{side}_shoulder_twist": 20 + tremble(m, 2)})
    m.add(head_nod=12 + m.wander(4))


def write(m: Motion) -> None:
    seat(m)
    m.add(d_elbow=25 + tremble(m, 4), d_shoulder_twist=30 + 10 * np.sin(m.phase(0.2)), head_nod=25, spine_bend=12)


def read(m: Motion) -> None:
    seat(m)
    m.add(b_elbow=25 + m.wander(2), head_nod=20, d_shoulder_swing=25 * bump(m.phase(0.1), 0, 12))


def eat(m: Motion) -> None:
    seat(m)
    up = bump(m.phase(0.28), 0.0, 2.5)
    m.add(
        d_shoulder_flex=25 * up, d_shoulder_abduct=20 * up, d_elbow=55 * up * m.size(), head_nod=10 * up, spine_bend=8
    )


def drive(m: Motion) -> None:
    seat(m)
    turn = m.wander(14, 1.5)
    m.add(b_shoulder_flex=25, b_elbow=-20, d_shoulder_flex=turn, o_shoulder_flex=-turn, b_hip_flex=8)
    m.add(lift=0.004 * tremble(m, 2), head_turn=m.wander(15, 2))


def cycle(m: Motion) -> None:
    seat(m)
    p, a = m.phase(1.15), m.size()
    m.add(pitch=m.draw(10, 35), b_shoulder_flex=40, b_elbow=-25)
    for side, shift in (("d", 0.0), ("o", np.pi)):
        m.add(
            **{f"{side}_hip_flex": -10 + 24 * a * np.sin(p + shift), f"{side}_knee": 5 + 35 * np.sin(p + shift + 0.5)}
        )


def tap_foot(m: Motion) -> None:
    seat(m)
    m.add(d_ankle=18 * m.size() * bump(m.phase(1.8), 0, 3), d_hip_flex=3 * bump(m.phase(1.8), 0, 3))


# Chores at a table, a sink or on the floor
def wash_hands(m: Motion) -> None:
    p, a = m.phase(1.8), m.size()
    reach(m, "do")
    m.add(d_elbow=9 * a * np.sin(p), o_elbow=-9 * a * np.sin(p), b_shoulder_twist=15 + 6 * a * np.cos(p), spine_bend=10)


def chop(m: Motion) -> None:
    p, a = m.phase(2.3), m.size()
    reach(m)
    m.add(d_elbow=12 * a * strike(p), d_shoulder_flex=5 * a * strike(p), spine_bend=12, head_nod=20)


def brush_teeth(m: Motion) -> None:
    p = m.phase(3.4)
    arms(m)
    m.add(d_shoulder_flex=45 + m.wander(4), d_shoulder_abduct=45, d_elbow=125 + 6 * m.size() * np.sin(p))
    m.add(d_shoulder_swing=5 * np.sin(p), spine_bend=6)


def comb(m: Motion) -> None:
    p, a = m.phase(0.75), m.size()
    arms(m)
    m.add(
        d_shoulder_abduct=85 + 12 * a * np.sin(p),
        d_shoulder_flex=30 + 15 * a * np.cos(p),
        d_elbow=115 + 18 * a * np.sin(p),
    )


def pour(m: Motion) -> None:
    reach(m)
    tip = bump(m.phase(0.28), 0.0, 2.0)
    m.add(d_shoulder_twist=55 * tip * m.size(), d_shoulder_abduct=25 * tip, d_elbow=-8 * tip)


def phone_call(m: Motion) -> None:
    arms(m)
    m.add(
        d_shoulder_flex=35,
        d_shoulder_abduct=30,
        d_shoulder_twist=15,
        d_elbow=138 + m.wander(3),
        head_turn=m.wander(15, 2),
    )
    m.add(spine_twist=m.wander(8, 2), o_elbow=12 * bump(m.phase(0.3), 0, 4))


def iron(m: Motion) -> None:
    p, a = m.phase(0.5), m.size()
    reach(m)
    m.add(
        d_shoulder_flex=18 * a * np.sin(p),
        d_elbow=-22 * a * np.sin(p),
        d_shoulder_swing=10 * np.sin(0.5 * p),
        spine_bend=10,
    )


def fold(m: Motion) -> None:
    p, a = m.phase(0.4), m.size()
    reach(m, "do")
    apart = 0.5 - 0.5 * np.cos(p)
    m.add(
        b_shoulder_abduct=28 * a * apart, b_shoulder_flex=-20 * a * bump(p, 2.0, 3), b_elbow=-20 * a * bump(p, 2.0, 3)
    )
    m.add(spine_bend=10 + 8 * bump(p, 2, 3))


def sweep(m: Motion) -> None:
    p, a = m.phase(0.7), m.size()
    reach(m, "do")
    m.add(spine_twist=22 * a * np.sin(p), b_shoulder_swing=14 * a * np.sin(p), spine_bend=15, b_elbow=-20)
    m.add(d_hip_flex=8 * np.sin(0.5 * p), o_hip_flex=-8 * np.sin(0.5 * p))


def vacuum(m: Motion) -> None:
    p, a = m.phase(0.45), m.size()
    reach(m)
    go = np.sin(p)
    m.add(
        d_shoulder_flex=20 * a * go,
        d_elbow=-32 * a * go,
        spine_bend=14 + 10 * a * go,
        d_hip_flex=14 * go,
        d_knee=8 + 8 * go,
    )
    m.add(yaw=6 * np.sin(0.3 * p))


def open_door(m: Motion) -> None:
    reach(m)
    p = m.phase(0.25)
    m.add(
        d_shoulder_twist=30 * bump(p, -0.6, 20),
        d_elbow=45 * m.amp * bump(p, 0.2, 4),
        d_shoulder_abduct=25 * bump(p, 0.2, 4),
    )
    m.add(spine_twist=-14 * bump(p, 0.2, 4))


def carry(m: Motion) -> None:
    gait(m, 0.85, 20, 48, 2, 0)
    arms(m, "do")
    m.add(b_shoulder_flex=m.draw(10, 35) + m.wander(1), b_elbow=m.draw(70, 100), pitch=-4)


# Gaits
def run(m: Motion) -> None:
    p = gait(m, 1.4, 34, 95, 38, 70)
    m.add(pitch=8, lift=flight(2 * p + 0.6, 0.6, 0.08 * m.amp))


def walk_in_place(m: Motion) -> None:
    p, a = m.phase(0.85), m.size()
    for side, shift in (("d", 0.0), ("o", np.pi)):
        up = bump(p + shift, 0.0, 2.0)
        m.add(
            **{
                f"{side}_hip_flex": 32 * a * up,
                f"{side}_knee": 50 * a * up,
                f"{side}_shoulder_flex": -14 * a * (up - 0.4),
            }
        )


def jog_in_place(m: Motion) -> None:
    p, a = m.phase(1.4), m.size()
    for side, shift in (("d", 0.0), ("o", np.pi)):
        up = bump(p + shift, 0.0, 2.0)
        m.add(
            **{
                f"{side}_hip_flex": 35 * a * up,
                f"{side}_knee": 70 * a * up,
                f"{side}_shoulder_flex": -28 * a * (up - 0.4),
            }
        )
    m.add(b_elbow=65, lift=flight(2 * p, 0.5, 0.045 * m.amp))


def walk_backward(m: Motion) -> None:
    p, a = m.phase(0.75), m.size()
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
    p, a = m.phase(0.72), m.size()
    for side, q in (("d", p), ("o", p + np.pi)):
        up = bump(q, 0.0, 1.6)
        m.add(
            **{f"{side}_hip_flex": 52 * a * up, f"{side}_knee": 70 * a * up, f"{side}_shoulder_flex": -14 * np.sin(q)}
        )
    m.add(pitch=9, spine_bend=5, lift=0.05 * a * bump(2 * p, HALF, 1.0), spine_twist=-5 * np.sin(p))


def stairs_down(m: Motion) -> None:
    p, a = m.phase(0.9), m.size()
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


# Strokes and strikes
def punch(m: Motion) -> None:
    p, a = m.phase(m.draw(0.6, 1.1)), m.size()
    arms(m)
    hit = bump(p, 0.0, 8.0)
    m.add(d_shoulder_flex=35 + 50 * a * hit, d_elbow=115 - 105 * a * hit, d_shoulder_twist=25, spine_twist=20 * a * hit)


def uppercut(m: Motion) -> None:
    p, a = m.phase(0.8), m.size()
    arms(m)
    hit = bump(p, 0.0, 7.0)
    m.add(
        d_shoulder_flex=-5 + 85 * a * hit, d_elbow=95 + 10 * hit, spine_twist=18 * a * hit, d_knee=15 * bump(p, -0.8, 4)
    )


def tennis_serve(m: Motion) -> None:
    p, a = m.phase(0.42), m.size()
    arms(m, "do")
    cock, hit, toss = bump(p, -0.9, 3.0), bump(p, 0.3, 7.0), bump(p, -1.2, 2.5)
    m.add(
        d_shoulder_abduct=12 + 95 * a * cock + 130 * a * hit,
        d_elbow=25 + 85 * cock,
        d_shoulder_twist=-70 * cock + 20 * hit,
    )
    m.add(
        o_shoulder_flex=15 + 130 * a * toss,
        spine_bend=-12 * cock + 25 * hit,
        spine_twist=-22 * cock + 28 * hit,
        lift=0.08 * a * bump(p, 0.25, 12),
    )


def bat(m: Motion) -> None:
    p, a = m.phase(0.42), m.size()
    arms(m, "do")
    back, hit = bump(p, -1.0, 2.5), bump(p, 0.3, 6.0)
    m.add(
        b_shoulder_flex=65,
        b_elbow=75 - 50 * hit,
        d_shoulder_swing=-35 * back + 50 * a * hit,
        o_shoulder_swing=40 * back - 35 * a * hit,
    )
    m.add(spine_twist=-38 * a * back + 50 * a * hit, yaw=-15 * back + 25 * hit, d_knee=18, o_knee=12)


def golf(m: Motion) -> None:
    p, a = m.phase(0.35), m.size()
    arms(m, "do")
    back, hit = bump(p, -1.3, 2.0), bump(p, 0.4, 4.0)
    hinge(m, 28 * np.ones_like(m.t))
    m.add(
        b_shoulder_flex=35 + 60 * a * (back + hit),
        b_elbow=8,
        spine_twist=-48 * a * back + 52 * a * hit,
        yaw=12 * hit - 10 * back,
        b_knee=18,
    )


def catch(m: Motion) -> None:
    p, a = m.phase(0.4), m.size()
    arms(m)
    out = bump(p, -0.4, 5.0)
    m.add(d_shoulder_flex=15 + 75 * a * out, d_elbow=50 - 35 * out + 45 * bump(p, 0.3, 6.0), d_shoulder_abduct=10)


def pick_throw(m: Motion) -> None:
    p, a = m.phase(0.26), m.size()
    arms(m)
    down, cock, go = bump(p, -1.5, 4.0), bump(p, -0.1, 8.0), bump(p, 0.5, 22.0)
    crouch(m, 55 * a * down)
    hinge(m, 50 * a * down)
    m.add(
        d_shoulder_flex=10 + 45 * down,
        d_shoulder_abduct=75 * a * cock + 60 * go,
        d_shoulder_twist=-70 * a * cock,
        d_elbow=20 + 70 * cock,
    )
    m.add(d_shoulder_swing=-20 * cock + 60 * a * go, spine_twist=-22 * cock + 28 * go)


def dribble(m: Motion) -> None:
    p, a = m.phase(1.5), m.size()
    arms(m)
    crouch(m, 18 + m.wander(3))
    m.add(d_shoulder_flex=25 + 10 * a * np.sin(p), d_elbow=70 + 32 * a * np.sin(p), d_shoulder_abduct=15)


def drum(m: Motion) -> None:
    p, a = m.phase(2.2), m.size()
    seat(m)
    for side, q in (("d", p), ("o", p + np.pi)):
        m.add(**{f"{side}_elbow": 10 + 26 * a * strike(q), f"{side}_shoulder_flex": 6 * a * strike(q)})


def swim(m: Motion) -> None:
    p = m.phase(0.6)
    arms(m, "do")
    hinge(m, m.draw(15, 45) * np.ones_like(m.t))
    turn = np.degrees(np.unwrap(p))
    for side, shift in (("d", 0.0), ("o", 180.0)):
        m.add(
            **{
                f"{side}_shoulder_flex": turn + shift,
                f"{side}_elbow": 25 + 25 * np.sin(p + np.radians(shift)),
                f"{side}_shoulder_abduct": 10,
            }
        )
    m.add(spine_twist=22 * np.sin(p))


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
    m.add(
        b_knee=25 * bump(2 * p, 0.0, 3.0),
        b_hip_flex=18 * bump(2 * p, 0.0, 3.0),
        lift=flight(2 * p, m.draw(0.35, 0.6), m.draw(0.04, 0.12)),
    )


def bounce(m: Motion) -> None:
    p, a = m.phase(m.draw(1.1, 2.3)), m.size()
    bend = m.draw(15, 45) * a * bump(p, 0.0, 2.0)
    crouch(m, bend)
    m.add(
        lift=flight(p, m.draw(0.35, 0.6), m.draw(0.03, 0.18)),
        b_shoulder_flex=m.draw(0, 25) * np.sin(p),
        b_elbow=m.draw(0, 50),
    )


def hurl(m: Motion) -> None:
    p, a = m.phase(m.draw(0.35, 0.7)), m.size()
    arms(m)
    cock, go = bump(p, -m.draw(0.8, 1.3), m.draw(2, 4)), bump(p, 0.25, m.draw(4, 8))
    if m.rng.random() < 0.7:  # overhand
        m.add(
            d_shoulder_abduct=12 + 80 * a * (cock + 0.7 * go),
            d_shoulder_twist=-75 * a * cock + 25 * go,
            d_elbow=25 + 75 * cock,
        )
        m.add(d_shoulder_swing=-25 * cock + 70 * a * go)
    else:  # from below
        m.add(d_shoulder_flex=5 - 45 * a * cock + 85 * a * go, d_elbow=15, d_shoulder_abduct=12)
    m.add(
        spine_twist=-25 * a * cock + 32 * a * go,
        spine_bend=16 * go,
        o_hip_flex=22 * bump(p, -0.2, 4.0),
        o_knee=m.draw(5, 25) * bump(p, -0.5, 4.0),
    )


# Gestures
def wave_both(m: Motion) -> None:
    stretched = m.rng.random() < 0.5
    p, a = m.phase(m.draw(0.6, 1.2) if stretched else m.draw(1.0, 1.8)), m.size()
    arms(m, "do")
    if stretched:  # overhead or to the sides
        m.add(
            b_shoulder_abduct=m.draw(70, 150) + m.draw(10, 35) * a * np.sin(p), b_elbow=m.draw(5, 50) + 10 * np.cos(p)
        )
        m.add(b_shoulder_flex=m.draw(0, 30))
        return
    m.add(b_shoulder_abduct=m.draw(15, 120), b_shoulder_flex=m.draw(0, 40), b_elbow=m.draw(30, 125) + 8 * np.cos(p))
    m.add(b_shoulder_twist=m.draw(-95, -40) + 28 * a * np.sin(p), b_shoulder_swing=8 * a * np.sin(p))


def wave_overhead(m: Motion) -> None:
    p, a = m.phase(m.draw(0.6, 1.3)), m.size()
    arms(m)
    m.add(d_shoulder_abduct=m.draw(80, 150) + m.draw(12, 30) * a * np.sin(p), d_elbow=m.draw(5, 60) + 12 * np.cos(p))
    m.add(d_shoulder_flex=m.draw(0, 30), spine_side=3 * np.sin(p))


def applaud(m: Motion) -> None:
    p, a = m.phase(m.draw(1.4, 3.2)), m.size()
    arms(m, "do")
    m.add(b_shoulder_flex=m.draw(10, 60), b_elbow=m.draw(60, 105), b_shoulder_abduct=8 + 20 * a * strike(p))
    m.add(b_shoulder_twist=28 - 34 * a * strike(p), b_shoulder_swing=12 - 16 * a * strike(p))


def swipe_in(m: Motion) -> None:
    p, a = m.phase(0.4), m.size()
    reach(m)
    m.add(
        d_shoulder_swing=-30 + 75 * a * np.clip(1.3 * bump(p, 0, 3), 0, 1), d_elbow=-20, spine_twist=6 * bump(p, 0, 3)
    )


def swipe_out(m: Motion) -> None:
    p, a = m.phase(0.4), m.size()
    reach(m)
    m.add(
        d_shoulder_swing=40 - 75 * a * np.clip(1.3 * bump(p, 0, 3), 0, 1), d_elbow=-20, spine_twist=-6 * bump(p, 0, 3)
    )


def draw_circle(m: Motion) -> None:
    p, a = m.phase(0.5), m.size()
    reach(m)
    way = 1 if m.rng.random() < 0.5 else -1
    m.add(d_shoulder_flex=24 * a * np.sin(p), d_shoulder_swing=way * 26 * a * np.cos(p), d_elbow=-30 + 6 * np.sin(p))


def cross_arms(m: Motion) -> None:
    p, a = m.phase(0.28), m.size()
    arms(m, "do")
    fold = np.clip(1.3 * bump(p, 0, 1.5), 0, 1)
    m.add(
        b_shoulder_flex=8 + 38 * fold,
        b_elbow=15 + 95 * a * fold,
        b_shoulder_twist=60 * a * fold,
        b_shoulder_swing=22 * fold,
    )


def beckon(m: Motion) -> None:
    p, a = m.phase(1.3), m.size()
    reach(m)
    m.add(d_elbow=28 * a * np.sin(p), d_shoulder_flex=4 * np.sin(p))


def point(m: Motion) -> None:
    out = np.clip(1.4 * bump(m.phase(0.2), 0, 1.5), 0, 1)
    arms(m)
    m.add(
        d_shoulder_flex=8 + m.draw(60, 90) * out,
        d_shoulder_swing=m.draw(-40, 20) * out,
        d_elbow=15 - 8 * out,
        head_turn=-12 * out,
    )


def salute(m: Motion) -> None:
    up = np.clip(1.4 * bump(m.phase(0.2), 0, 1.5), 0, 1)
    arms(m)
    m.add(d_shoulder_abduct=8 + 75 * up, d_shoulder_flex=30 * up, d_elbow=12 + 120 * up, d_shoulder_twist=-10 * up)


def talk(m: Motion) -> None:
    reach(m, "do")
    for side in ("d", "o"):
        m.add(
            **{
                f"{side}_elbow": m.wander(22, 0.8),
                f"{side}_shoulder_swing": m.wander(12, 0.8),
                f"{side}_shoulder_twist": m.wander(14, 0.8),
            }
        )
    m.add(head_nod=m.wander(6), head_turn=m.wander(14), spine_twist=m.wander(6))


def dance(m: Motion) -> None:
    p, a = m.phase(0.95), m.size()
    m.add(
        spine_side=10 * a * np.sin(p),
        yaw=14 * a * np.sin(0.5 * p),
        b_knee=18 + 16 * bump(2 * p, 0, 1.5),
        b_hip_flex=14 + 12 * bump(2 * p, 0, 1.5),
    )
    for side, q in (("d", p), ("o", p + np.pi)):
        m.add(
            **{
                f"{side}_shoulder_flex": 25 * a * np.sin(q + 0.6),
                f"{side}_elbow": 40 + 30 * a * np.cos(q),
                f"{side}_shoulder_abduct": 15 * bump(q, 0, 1),
            }
        )


# Transitions
def _seated(m: Motion, seated: np.ndarray) -> None:
    """Between standing (0) and seated (1): knees and hips, the trunk that leans on the way, the arms."""
    deep, back = m.draw(75, 98), m.draw(-8, 6)
    lean = m.draw(20, 48) * m.amp
    m.add(b_hip_flex=deep * seated, b_knee=(deep + m.draw(-8, 10)) * seated, pitch=back * seated)
    hinge(m, lean * 4 * seated * (1 - seated))
    if m.rng.random() < 0.6:  # hands forward, or to the thighs
        m.add(
            b_shoulder_flex=m.draw(5, 45) * 4 * seated * (1 - seated) + m.draw(0, 30) * seated,
            b_elbow=m.draw(0, 50) * seated,
        )


def sit_onto(m: Motion) -> None:
    start, seconds = m.draw(0.15, 0.55) * float(m.t[-1]), m.draw(0.9, 2.0) / m.tempo
    x = np.clip((m.t - start) / seconds, 0, 1)
    # Down under control, the last bit let go, then the seat.
    seated = ramp(m.t, start, seconds * 1.15) / ramp(np.array([start + seconds]), start, seconds * 1.15)
    _seated(m, np.where(x < 1, seated, 1.0))
    m.add(lift=jolt(m.t, start + seconds, m.draw(0.004, 0.02)))


def rise(m: Motion) -> None:
    start, seconds = m.draw(0.15, 0.55) * float(m.t[-1]), m.draw(0.8, 1.8) / m.tempo
    first = ramp(m.t, start - 0.35 * seconds, 0.6 * seconds) * (1 - ramp(m.t, start + 0.2 * seconds, 0.7 * seconds))
    _seated(m, 1 - ramp(m.t, start, seconds))
    hinge(m, m.draw(10, 30) * first)  # the trunk swings forward before the seat is left


def sit_and_rise(m: Motion) -> None:
    p = m.phase(m.draw(0.18, 0.34))
    seated = np.clip(1.6 * (0.5 - 0.5 * np.cos(p)) - 0.2, 0, 1)
    seated = seated * seated * (3 - 2 * seated)
    _seated(m, seated)
    met = 0.5 + 0.5 * np.tanh(12 * (seated - 0.97))
    m.add(lift=-0.01 * met * np.sin(2 * np.pi * 4 * m.t) * bump(p, 2.2, 6))


def lie_down(m: Motion) -> None:
    start, seconds = m.draw(0.1, 0.4) * float(m.t[-1]), m.draw(1.8, 3.0) / m.tempo
    seated, flat = ramp(m.t, start, 0.5 * seconds), ramp(m.t, start + 0.45 * seconds, 0.6 * seconds)
    m.add(
        b_hip_flex=90 * seated - 80 * flat,
        b_knee=95 * seated - 70 * flat,
        pitch=-86 * flat,
        spine_bend=25 * 4 * flat * (1 - flat),
    )


def get_up(m: Motion) -> None:
    start, seconds = m.draw(0.1, 0.4) * float(m.t[-1]), m.draw(1.8, 3.0) / m.tempo
    flat, seated = 1 - ramp(m.t, start, 0.6 * seconds), 1 - ramp(m.t, start + 0.5 * seconds, 0.5 * seconds)
    m.add(
        b_hip_flex=90 * seated - 80 * flat,
        b_knee=95 * seated - 70 * flat,
        pitch=-86 * flat,
        spine_bend=30 * 4 * flat * (1 - flat),
    )
