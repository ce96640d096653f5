"""More of what the synthetic human can do: strokes, throws and gestures. Written as in `synthetic_activities`."""

from __future__ import annotations

import numpy as np

from shards.synthetic_everyday import seat, strike
from shards.synthetic_motions import Motion, arms, bump, crouch, hinge, reach


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


def hurl(m: Motion) -> None:
    p, a = m.phase(m.draw(0.35, 0.7)), m.size()
    arms(m)
    cock, go = bump(p, -m.draw(0.8, 1.3), m.draw(2, 4)), bump(p, 0.25, m.draw(2.5, 8))
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
    p, a = m.phase(m.draw(0.5, 1.2) if stretched else m.draw(0.8, 1.8)), m.size()
    arms(m, "do")
    if stretched:  # overhead or to the sides
        m.add(
            b_shoulder_abduct=m.draw(70, 140) + m.draw(10, 60) * a * np.sin(p), b_elbow=m.draw(5, 50) + 10 * np.cos(p)
        )
        m.add(b_shoulder_flex=m.draw(0, 30))
        return
    m.add(b_shoulder_abduct=m.draw(15, 120), b_shoulder_flex=m.draw(0, 40), b_elbow=m.draw(30, 125) + 8 * np.cos(p))
    m.add(b_shoulder_twist=m.draw(-95, -40) + m.draw(20, 50) * a * np.sin(p), b_shoulder_swing=8 * a * np.sin(p))


def wave_overhead(m: Motion) -> None:
    p, a = m.phase(m.draw(0.5, 1.3)), m.size()
    arms(m)
    m.add(d_shoulder_abduct=m.draw(80, 140) + m.draw(12, 60) * a * np.sin(p), d_elbow=m.draw(5, 60) + 12 * np.cos(p))
    m.add(d_shoulder_flex=m.draw(0, 30), spine_side=3 * np.sin(p))


def applaud(m: Motion) -> None:
    p, a = m.phase(m.draw(1.4, 3.2)), m.size()
    arms(m, "do")
    m.add(b_shoulder_flex=m.draw(10, 60), b_elbow=m.draw(60, 105), b_shoulder_abduct=8 + 12 * a * strike(p))
    m.add(b_shoulder_twist=28 - 24 * a * strike(p), b_shoulder_swing=12 - 16 * a * strike(p))


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
