"""Units of inertial sensors and of lengths, and whether what was measured looks like them. By numpy and the standard library alone: a device that
streams needs it too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

G = 9.80665
ACC = {"m/s^2": 1.0, "g": G, "mg": G / 1000}
GYRO = {"rad/s": 1.0, "deg/s": math.pi / 180}
LENGTH = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Other ways to write the same unit, without spaces. What may be meant otherwise, such as G (gauss), is in none.
SPELLINGS = {
    "m/s^2": ("m/s²", "m/s2", "m/s**2", "m/s/s", "m/sec^2", "mps2", "m*s^-2", "m·s^-2", "m·s⁻²", "ms^-2", "ms⁻²"),
    "rad/s": ("rad/sec", "rads/s", "radians/s", "radian/s", "rad*s^-1", "rad·s^-1", "rad·s⁻¹", "rads^-1", "rads⁻¹"),
    "deg/s": ("°/s", "deg/sec", "degs/s", "degrees/s", "degree/s", "deg*s^-1", "deg·s^-1", "deg·s⁻¹", "dps"),
    "m": ("metre", "metres", "meter", "meters"),
    "cm": ("centimetre", "centimetres", "centimeter", "centimeters"),
    "mm": ("millimetre", "millimetres", "millimeter", "millimeters"),
}
# 1st, 50th and 99th percentile of a recording's median norms, at rest and in fast movement: where a model says nothing of its
# training.
PLAUSIBLE = {"acc": [6.0, 9.8, 20.0], "gyro": [0.0, 0.5, 10.0]}
LIMIT = 2.0  # a median this many times beyond the 1st or 99th percentile of training is told


class InputWarning(UserWarning):
    """A recording that a model can read, and that looks unlike its training."""


def canonical(unit: Any) -> Any:
    """A unit by its name in `ACC`, `GYRO` or `LENGTH`, whichever of its spellings is given; anything else as it is."""
    plain = unit.replace(" ", "") if isinstance(unit, str) else unit
    return next((name for name, others in SPELLINGS.items() if plain == name or plain in others), unit)


def factor(unit: Any, known: Mapping[str, float], argument: str) -> float:
    """What values in a unit are multiplied by. ValueError, naming the argument and what is known, for another unit."""
    name = canonical(unit)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{argument} is {unit!r}: one of {', '.join(known)}")
    return known[name]


def acceleration_doubt(norm: float, known: Mapping[str, Any], where: str = "") -> str:
    """What is odd of the median norm (m/s^2) of an accelerometer, and the unit that it is likely in; "": nothing is.

    known    of a model's training, see `aura.data.describe`; where: said of the sensor, such as " at chest"
    """
    low, usual, high = known.get("acc", PLAUSIBLE["acc"])
    if low / LIMIT <= norm <= high * LIMIT:
        return ""
    guess = "is gravity taken out of it?" if norm < low else "is it in another unit?"
    if 0.5 < norm < 2:
        guess = "is it in g? Say units='g'"
    elif 500 < norm < 2000:
        guess = "is it in mg? Say units='mg'"
    elif 0.0005 < norm < 0.02:
        guess = "are units='mg' said of g?"
    elif G**2 / 2 < norm < G**2 * 2:
        guess = "are units='g' said of m/s^2?"
    return f"acceleration{where}: median norm {norm:.3g} m/s^2, {usual:.3g} in training: {guess}"


def rotation_doubt(norm: float, known: Mapping[str, Any], where: str = "") -> str:
    """The same of the median norm (rad/s) of a gyroscope."""
    _, usual, high = known.get("gyro", PLAUSIBLE["gyro"])
    if norm <= LIMIT * max(high, 1.0):
        return ""
    told = f"angular velocity{where}: median norm {norm:.3g} rad/s, {usual:.3g} in training"
    return f"{told}: is it in deg/s? Say gyro_units='deg/s'"
