"""Processes of runs that are killed at random moments: the same ids and losses at the end."""

import os
import signal
import time
from pathlib import Path

from tests.faults.tally import Tally, count, draws
from tests.train.runs import LIMIT_S, last_step, status
from tests.train.test_runs import STEPS, assert_same_run

A_RUN = 8  # kills before a run is let finish


def readers(pid: int) -> list[int]:
    """Reading processes of a rank: the processes that it forked."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill(pid: int) -> bool:
    """Whether there was such a process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def a_step(run, step: int) -> bool:
    """Waits until a step is logged; False where the run was over before."""
    try:
        run.until(step)
    except AssertionError:
        if run.over() and set(run.codes.values()) == {0}:
            return False
        raise
    return True


def struck(kind, draw, processes, run_dir) -> bool:
    """Starts the run and kills what `kind` says at a random moment; False where it was finished before. All its processes
    end within the limit of time, or this raises."""
    step = draw.randint(1, STEPS - 1)
    if (
        kind != "a rank"
    ):  # one may die at any time; ranks that have not met yet wait for each other, as long as torch does
        step = max(step, last_step(run_dir) + 1)
    if kind == "a save":
        moment = f"{draw.choice(['fsync', 'rename', 'replace', 'rmtree'])}:{draw.randint(1, 14)}"
        return processes.pretrain(run_dir, environment={"DIE_AT": moment}).wait() == [-signal.SIGKILL]
    if kind == "the launcher":
        run = processes.accelerate(run_dir, "accelerate_config_cpu.yaml")
        if not a_step(run, step):
            return False
        run.signal(signal.SIGKILL)  # the ranks, asked by Linux to end, save
        end = time.monotonic() + LIMIT_S
        while status(run_dir)["state"] == "running":
            assert time.monotonic() < end, f"ranks outlive their launcher:\n{run.text()[-3000:]}"
            time.sleep(0.05)
        run.wait()
        return True
    ranks = 2 if kind == "one of two ranks" else 1
    run = processes.pretrain(run_dir, ranks=ranks)
    if not a_step(run, step):
        return False
    time.sleep(draw.random() * 0.1)
    if kind == "a reading process":
        hit = [pid for pid in readers(run.pids[0])[:1] if kill(pid)]
        code = run.wait()[0]
        if hit and code == 1:
            assert "a reading process died" in run.text(), run.text()[-3000:]
        return bool(hit) and code != 0
    victim = draw.randrange(ranks)
    kill(run.pids[victim])
    return run.wait()[victim] == -signal.SIGKILL


def test_runs_whose_processes_are_killed_at_random_end_as_if_nothing_had_happened(processes, unbroken, tmp_path):
    draw, wanted = draws("kills"), count(4)
    tallies, done, number = {}, 0, 0
    kinds = ["a rank", "a save", "a reading process", "one of two ranks"] * 5 + ["the launcher"]
    while done < wanted:
        run_dir, here, tried = tmp_path / f"run{number}", [], set()
        number += 1
        while len(here) < A_RUN and done < wanted:
            kind = kinds[done % len(kinds)] if wanted < len(kinds) else draw.choice(kinds)
            tried.add(kind)
            hit = struck(kind, draw, processes, run_dir)
            if status(run_dir)["state"] == "finished":
                break
            if hit:
                here.append(kind)
                done += 1
        last = processes.pretrain(run_dir)
        assert last.wait() == [0], f"after {here}:\n{last.text()[-3000:]}"
        # Two ranks add up in another order than one, whether they were hit or finished before.
        exact = not {"one of two ranks", "the launcher"} & tried
        assert_same_run(run_dir, unbroken, rel=0.0 if exact else 1e-4)
        for kind in here:
            if kind not in tallies:
                tallies[kind] = Tally(f"SIGKILL to {kind}")
            tallies[kind].note("went on, same ids and losses")
    for tally in tallies.values():
        tally.close()
