"""Signals that end a run early: it finishes its step, saves, and exits by its own code."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

import torch

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PREEMPTED = 75  # EX_TEMPFAIL: start the same command again to go on


# Whether `accelerate launch` or torchrun started this process. As it was at the start: accelerate itself sets such names later.
LAUNCHED = "TORCHELASTIC_RUN_ID" in os.environ or any(name.startswith("ACCELERATE_") for name in os.environ)


def follow_parent() -> None:
    """Asks Linux for SIGTERM when the launcher ends: that of one process dies of a signal and passes none on."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Signals:
    """Notes SIGTERM, SIGINT and SIGUSR1; the training loop asks for them at the end of each step."""

    def __init__(self) -> None:
        self.received = ""
        self.before = {number: signal.signal(number, self._note) for number in STOPPING}
        if LAUNCHED:
            follow_parent()

    def _note(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number).name

    def stop(self, accelerator: Any) -> str:
        """Name of a signal that any rank received, the same answer on all ranks; "" if none."""
        mine = torch.tensor([float(signal.Signals[self.received]) if self.received else 0.0], device=accelerator.device)
        number = int(accelerator.gather(mine).max().item())
        return signal.Signals(number).name if number else ""

    def end(self) -> None:
        """Gives the signals back to the program that called; it is deaf to them on the way out where a launcher, which
        sends SIGTERM to all its processes as soon as it sees one of them end, waits for it."""
        for number, handler in self.before.items():
            signal.signal(number, signal.SIG_IGN if LAUNCHED else handler)
