"""Units of inertial sensors, and whether what was measured looks like them. By numpy and the standard library alone: a device that
streams needs it too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

G = 9.80665
ACC = {"m/s^2": 1.0, "m/s²": 1.0, "g": G, "mg": G / 1000}
GYRO = {"rad/s": 1.0, "deg/s": math.pi / 180}
# 1st, 50th and 99th percentile of a recording's median norms, at rest and in fast movement: where a model says nothing of its
# training.
PLAUSIBLE = {"acc": [6.0, 9.8, 20.0], "gyro": [0.0, 0.5, 10.0]}
LIMIT = 2.0  # a median this many times beyond the 1st or 99th percentile of training is told


class InputWarning(UserWarning):
    """A recording that a model can read, and that looks unlike its training."""


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
