"""What a card tells of what was dropped."""

from aura.data.card import reasons


def test_reasons_that_differ_in_the_recording_are_one():
    dropped = {f"take_{i}: no IMU": {"count": 1, "seconds": 2.0} for i in range(5)}
    dropped |= {f"take_{i}: no pose": {"count": 1, "seconds": 0.0} for i in range(3)}
    dropped |= {"left wrist: gaps filled": {"count": 7, "seconds": 0.5}, "no colon": {"count": 1, "seconds": 0.0}}
    assert reasons(dropped) == [
        ("no IMU (5 recordings: take_0, take_1, take_2 ...)", 5, 10.0),
        *((f"take_{i}: no pose", 1, 0.0) for i in range(3)),
        ("left wrist: gaps filled", 7, 0.5),
        ("no colon", 1, 0.0),
    ]
