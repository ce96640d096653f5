"""More of what the synthetic human can do: postures, chores, and changes of posture.

Written as in `synthetic_activities`. Where hands meet, or a body meets a chair, curves have a corner (`strike`) or a jolt.
"""

from __future__ import annotations

import numpy as np

from shards.synthetic_activities import gait
from shards.synthetic_motions import Motion, arms, bump, hinge, ramp, reach

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
