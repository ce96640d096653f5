"""Reading processes that do not begin, and such that cannot hand over what they read: neither is waited for without end."""

import multiprocessing
import os
import signal
import tempfile
import time

import pytest
import torch

from aura.data import processes
from aura.data.handover import Part, allocate
from aura.data.processes import ReadError, iterate

FORKS: list[int] = []  # of this process since the last test began
STUCK: set[int] = set()  # which of them never come out, as by CPython's gh-112275


def _in_child() -> None:
    if len(FORKS) in STUCK:
        time.sleep(1200)
        os._exit(1)


os.register_at_fork(before=lambda: FORKS.append(1), after_in_child=_in_child)


def parts(worker: int, workers: int):
    for step in range(4):
        tensors = allocate({"row": (torch.int64, (1,))})
        tensors["row"][0] = step * workers + worker
        yield Part([0], tensors)


def rows(workers: int = 2) -> list[int]:
    return [int(part.tensors["row"]) for part in iterate(parts, workers)]


@pytest.fixture(autouse=True)
def _anew():
    FORKS.clear()
    yield
    STUCK.clear()


class Signs:
    """A semaphore whose time is up at once where one of the last two forks is stuck, and never else."""

    def __init__(self, value: int) -> None:
        self.real = SEMAPHORE(value)
        self.release = self.real.release

    def acquire(self, timeout: float) -> bool:
        return not STUCK & {len(FORKS) - 1, len(FORKS)} and self.real.acquire(timeout=600)


SEMAPHORE = multiprocessing.Semaphore


@pytest.mark.parametrize("stuck", [{1}, {2}, {1, 3}])
def test_processes_that_do_not_come_out_of_their_fork_are_started_again(stuck, monkeypatch):
    monkeypatch.setattr(multiprocessing, "Semaphore", Signs)
    STUCK.update(stuck)
    before = signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # as training minds it, so that a child that is stuck never does
    try:
        assert rows() == list(range(8))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(FORKS) == 2 * (1 + len(stuck))
    for child in multiprocessing.active_children():
        if child in processes.READING:
            child.join(600)
            assert not child.is_alive()


def test_processes_that_never_begin_are_an_error(monkeypatch):
    monkeypatch.setattr(processes, "START_S", 0.5)
    STUCK.update(range(1, 100))
    with pytest.raises(ReadError, match=r"do not begin within 0\.5 s: lower data\.workers"):
        rows()
    assert len(FORKS) == 2 * processes.STARTS


def test_a_part_that_cannot_be_handed_over_ends_the_reading(monkeypatch, tmp_path, capfd):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)
    with pytest.raises(ReadError, match="a reading process died"):
        rows()
    said = capfd.readouterr().err
    assert "cannot hand over what it read: OSError: AF_UNIX path too long" in said
    assert f"{long}: set TMPDIR to a shorter path" in said
