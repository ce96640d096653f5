"""Units by every usual spelling, and none by a guess."""

import math

import pytest

from aura.data.units import ACC, GYRO, LENGTH, SPELLINGS, factor


@pytest.mark.parametrize(
    ("known", "size", "spellings"),
    [
        (ACC, 1.0, "m/s^2 m/s² m/s2 m/s**2 mps2 ms^-2"),
        (ACC, 9.80665, "g"),
        (ACC, 0.00980665, "mg"),
        (GYRO, 1.0, "rad/s rad/sec rad·s⁻¹"),
        (GYRO, math.pi / 180, "deg/s °/s dps degrees/s"),
        (LENGTH, 1.0, "m metres meters"),
        (LENGTH, 0.01, "cm"),
        (LENGTH, 0.001, "mm millimeters"),
    ],
)
def test_every_spelling_is_the_same_unit(known, size, spellings):
    for spelling in spellings.split():
        assert factor(spelling, known, "units") == pytest.approx(size, rel=1e-12)


def test_spaces_do_not_matter():
    assert factor("m / s^2", ACC, "units") == factor("m s^-2", ACC, "units") == 1.0


def test_no_spelling_stands_for_two_units():
    names = [*SPELLINGS, *(spelling for others in SPELLINGS.values() for spelling in others)]
    assert len(names) == len(set(names))
    assert SPELLINGS.keys() <= ACC.keys() | GYRO.keys() | LENGTH.keys()


@pytest.mark.parametrize("unit", ["G", "Mg", "m/s", "gs", "", None, 9.81])
def test_what_may_be_another_unit_is_refused(unit):
    with pytest.raises(ValueError, match=r"units is .*: one of m/s\^2, g, mg$"):
        factor(unit, ACC, "units")
