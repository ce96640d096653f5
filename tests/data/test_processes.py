"""Reading processes that do not begin, and such that cannot hand over what they read: neither is waited for without end."""

import multiprocessing
import os
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
    while len(FORKS) in STUCK:
        time.sleep(60)


os.register_at_fork(before=lambda: FORKS.append(1), after_in_child=_in_child)


def parts(worker: int, workers: int):
    for step in range(4):
        tensors = allocate({"row": (torch.int64, (1,))})
        tensors["row"][0] = step * workers + worker
        yield Part([0], tensors)


def rows(workers: int = 2) -> list[int]:
    return [int(part.tensors["row"]) for part in iterate(parts, workers)]


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    monkeypatch.setattr(processes, "START_S", 2.0)
    FORKS.clear()
    yield
    STUCK.clear()


@pytest.mark.parametrize("stuck", [{1}, {2}, {1, 3}])
def test_processes_that_do_not_come_out_of_their_fork_are_started_again(stuck):
    STUCK.update(stuck)
    assert rows() == list(range(8))
    assert len(FORKS) == 2 * (1 + len(stuck))
    assert not [child for child in multiprocessing.active_children() if child in processes.READING]


def test_processes_that_never_begin_are_an_error():
    STUCK.update(range(1, 100))
    with pytest.raises(ReadError, match=r"do not begin within 2 s: lower data\.workers"):
        rows()


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
