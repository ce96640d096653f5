"""How the synthetic human moves: joint-angle curves over time, and the pieces that activities are made of.

An activity (`synthetic_activities`) is a function that writes curves into a `Motion`: degrees of a joint's movement,
positive in the direction of the name. `d_` is the active side, `o_` the other one:

    {d,o}_shoulder_flex (forward), _abduct (away from the trunk), _swing (about the vertical, across the body),
    _twist (about the upper arm, inwards), {d,o}_elbow (bent), {d,o}_hip_flex, _hip_abduct, {d,o}_knee, {d,o}_ankle (toes up)
    spine_bend (forward), spine_side (to the active side), spine_twist, head_turn, yaw (active shoulder forward), head_nod,
    pitch (pelvis forward), lift (metres above standing on the lower foot), surge and sway (metres forward, to the active side)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Motion:
    """Curves of one clip while they are being written.

    t      (T,) seconds, evenly spaced
    rng    of this clip
    tempo  1 is usual; amp: size of movements, 1 is usual
    """

    t: np.ndarray
    rng: np.random.Generator
    tempo: float
    amp: float
    curves: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, **degrees: np.ndarray | float) -> None:
        """Adds to curves, in degrees (`lift`, `surge`, `sway` in metres). `b_` stands for both sides."""
        for name, value in degrees.items():
            for each in (f"d_{name[2:]}", f"o_{name[2:]}") if name.startswith("b_") else (name,):
                self.curves[each] = self.curves.get(each, np.zeros_like(self.t)) + value

    def wander(self, size: float, seconds: float = 1.0) -> np.ndarray:
        """A smooth random curve (T,) of standard deviation `size` that changes within about `seconds`."""
        waves = 6
        rate = self.rng.uniform(0.03, 0.3, (waves, 1)) / seconds
        start = 2 * np.pi * self.rng.random((waves, 1))
        return size * np.sqrt(2 / waves) * np.sin(2 * np.pi * rate * self.t + start).sum(0)

    def phase(self, hz: float) -> np.ndarray:
        """Phase (T,) in radians of a cycle of `hz` at usual tempo; the tempo itself wanders by 6 %."""
        return self._phase(hz * self.tempo)

    def strides(self, hz: float) -> np.ndarray:
        """As `phase`, of a gait: who walks faster takes longer steps too, so that the cadence grows with the root of the speed
        (Grieve and Gear 1966)."""
        return self._phase(hz * np.sqrt(self.tempo))

    def _phase(self, hz: float) -> np.ndarray:
        rate = hz * (1 + self.wander(0.06))
        step = self.t[1] - self.t[0]
        return 2 * np.pi * (np.cumsum(rate) * step + self.rng.random())

    def size(self) -> np.ndarray:
        """Size of the movement (T,), about `amp`, never the same twice."""
        return self.amp * (1 + self.wander(0.1, 0.8))

    def draw(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))


def bump(phase: np.ndarray, at: float, sharp: float) -> np.ndarray:
    """A pulse of height 1 each cycle, at phase `at` (radians); the larger `sharp`, the shorter."""
    return np.exp(sharp * (np.cos(phase - at) - 1))


def ramp(t: np.ndarray, start: float, seconds: float) -> np.ndarray:
    """0 to 1 with minimum jerk (Flash and Hogan 1985)."""
    x = np.clip((t - start) / seconds, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def hinge(m: Motion, degrees: np.ndarray) -> None:
    """Bends the trunk forward at the hips; the legs stay."""
    m.add(pitch=degrees, b_hip_flex=degrees)


def crouch(m: Motion, degrees: np.ndarray) -> None:
    """Bends the knees and hips with the trunk leaning against the fall."""
    m.add(b_knee=degrees, b_hip_flex=degrees * 0.9, b_ankle=degrees * 0.4, pitch=degrees * 0.4)


def flight(phase: np.ndarray, share: float, height: float | np.ndarray) -> np.ndarray:
    """Height above the floor (T,): a parabola in the middle `share` of each cycle."""
    x = ((phase / (2 * np.pi)) % 1 - 0.5) / (share / 2)
    return height * np.clip(1 - x**2, 0, None)


def idle(m: Motion) -> None:
    """Standing: what the rest of the body does in every activity. Arms hang, rest on the hip or are held before it."""
    for side in ("d", "o"):
        flex, abduct, twist, elbow = [(0, 8, 0, 12), (-15, 35, 40, 85), (25, 8, 35, 80), (5, 15, 10, 40)][
            m.rng.integers(4)
        ]
        m.add(
            **{
                f"{side}_shoulder_flex": flex + m.draw(-12, 12) + m.wander(2),
                f"{side}_shoulder_abduct": abduct + m.draw(-5, 12) + m.wander(1.5),
                f"{side}_shoulder_twist": twist + m.draw(-25, 25),
                f"{side}_elbow": elbow + m.draw(-10, 15) + m.wander(2),
                f"{side}_hip_abduct": 4 + m.draw(-2, 6),
                f"{side}_knee": m.draw(2, 12),
            }
        )
    m.add(spine_bend=m.draw(-6, 10) + m.wander(1.5), spine_side=m.draw(-5, 5) + m.wander(1.5))
    m.add(spine_twist=m.wander(2), pitch=m.draw(-4, 8), head_nod=m.draw(-15, 15) + m.wander(3), head_turn=m.wander(8))
    m.add(yaw=m.wander(2))


def react(m: Motion) -> None:
    """What the rest of the body does when the arms move, and when nothing moves: it sways, and trunk and pelvis go along a
    little. In motion capture of people who wave or raise their hands the pelvis turns by about a degree."""
    m.add(pitch=m.wander(0.7, 0.4), surge=m.wander(0.004, 0.3), yaw=m.wander(1.0, 0.4), spine_side=m.wander(0.8, 0.4))
    for side, sign in (("d", 1.0), ("o", -1.0)):
        arm = sum(
            (m.curves[name] for part in ("flex", "abduct", "swing") if (name := f"{side}_shoulder_{part}") in m.curves),
            np.zeros_like(m.t),
        )
        moved = np.clip(arm - arm.mean(), -60, 60)
        m.add(spine_twist=sign * m.draw(0, 0.12) * moved, spine_side=sign * m.draw(-0.06, 0.06) * moved)
        m.add(
            spine_bend=m.draw(-0.06, 0.1) * moved, yaw=sign * m.draw(0, 0.05) * moved, pitch=m.draw(-0.03, 0.04) * moved
        )


def pauses(m: Motion, standing: dict[str, np.ndarray]) -> None:
    """Lets half of the movements begin late, end early or rest for a while: there the body stands as in `standing`."""
    if m.rng.random() < 0.5:
        return
    end = float(m.t[-1])
    begin, stop = m.draw(-0.2, 0.3) * end, m.draw(0.65, 1.2) * end
    moving = ramp(m.t, begin, 0.5) * (1 - ramp(m.t, stop, 0.5))
    if m.rng.random() < 0.4:
        rest = m.draw(0.3, 0.6) * end
        moving = moving * (1 - ramp(m.t, rest, 0.4) * (1 - ramp(m.t, rest + m.draw(0.5, 1.0), 0.4)))
    still = np.zeros_like(m.t)
    for name in sorted({*m.curves, *standing}):
        before = standing.get(name, still)
        m.curves[name] = before + moving * (m.curves.get(name, still) - before)


def arms(m: Motion, sides: str = "d") -> None:
    """Takes the idle arms of these sides away, so that an activity can place them."""
    for side in sides:
        for name in ("shoulder_flex", "shoulder_abduct", "shoulder_swing", "shoulder_twist", "elbow"):
            m.curves.pop(f"{side}_{name}", None)


def reach(m: Motion, sides: str = "d") -> None:
    """An arm working before the body, at a height and bend of its own in each clip."""
    arms(m, sides)
    for side in sides:
        m.add(
            **{
                f"{side}_shoulder_flex": m.draw(15, 80) + m.wander(2),
                f"{side}_shoulder_abduct": m.draw(5, 35),
                f"{side}_shoulder_twist": m.draw(-30, 40),
                f"{side}_elbow": m.draw(45, 105) + m.wander(2),
            }
        )
