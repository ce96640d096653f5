"""How often a fault is tried, and what came of it.

AURA_FAULTS=200 pytest tests/faults     200 times each instead of the few times of a plain run, which is to take under a minute
AURA_FAULTS_SEED=1                      other draws; --hypothesis-seed=1 those of test_fuzz.py
"""

import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field

TALLIES: list["Tally"] = []


def count(few: int) -> int:
    return int(os.environ.get("AURA_FAULTS", few))


def draws(name: str) -> random.Random:
    return random.Random(f"{os.environ.get('AURA_FAULTS_SEED', '0')} {name}")


@dataclass
class Tally:
    """One fault: `tried` times, each with an outcome. An outcome that is not allowed is `lost`."""

    fault: str
    outcomes: Counter = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        TALLIES.append(self)

    def note(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def lose(self, what: str) -> None:
        self.outcomes["lost"] += 1
        self.lost.append(what)

    def close(self) -> None:
        self.seconds = time.perf_counter() - self.started
        assert not self.lost, f"{self}\n" + "\n".join(self.lost[:20])

    def __str__(self) -> str:
        found = ", ".join(f"{n} {what}" for what, n in sorted(self.outcomes.items()))
        seconds = getattr(self, "seconds", time.perf_counter() - self.started)
        return f"{self.fault}: tried {sum(self.outcomes.values())}: {found} ({seconds:.0f} s)"
