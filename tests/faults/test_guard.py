"""The guard finds what hangs, by the processor or by the wall, and starts again what never began."""

import os
import time

from tests.faults import guard
from tests.faults.guard import guarded


def test_what_hangs_is_lost(monkeypatch):
    monkeypatch.setattr(guard, "CPU_S", 1)

    def busy():
        while True:
            pass

    assert guarded(busy)[0] == "lost"
    monkeypatch.setattr(guard, "LIMIT_S", 1)
    state, why = guarded(lambda: time.sleep(60))
    assert state == "lost"
    assert "hangs" in why


FORKS: list[int] = []
STUCK: set[int] = set()
os.register_at_fork(before=lambda: FORKS.append(1), after_in_child=lambda: len(FORKS) in STUCK and time.sleep(60))


def test_a_fork_that_hangs_is_made_again(monkeypatch):
    monkeypatch.setattr(guard, "START_S", 1)
    FORKS.clear()
    STUCK.update({1})
    try:
        assert guarded(lambda: len(FORKS) > 1) == ("value", True)
    finally:
        STUCK.clear()
