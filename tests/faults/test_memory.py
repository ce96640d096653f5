"""Memory over the steps of a run: flat, in the process that trains and in the one that reads."""

import json
import mmap
import os
import time

import numpy as np
import pytest

from tests.faults.guard import guarded
from tests.faults.tally import Tally
from tests.faults.test_kills import readers
from tests.train.runs import last_step

STEPS = int(os.environ.get("AURA_FAULTS_STEPS", 120))
ENOUGH = 2000  # steps; in fewer what is allocated once weighs more than what would leak
MOST = 2048  # bytes a step: 20 MB over 10,000; a batch is 60 kB


def resident(pid: int) -> int:
    """Bytes that a process has of its own or inherited, and its part of shared memory; files that it maps do not count.
    A page that it inherited and then writes on counts as before, so what is told is what it asks for."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(("Anonymous:", "Pss_Shmem:")))


def test_pages_that_are_written_on_are_not_growth_and_new_ones_are():
    """In a child, as the reading process is one: 40 MB that it inherits and writes on, then 20 MB of its own."""
    inherited = np.ones(5_000_000)

    def sizes() -> list[int]:
        found = [resident(os.getpid())]
        inherited[:] = 2
        found.append(resident(os.getpid()))
        # Not from the heap, where a long run of tests leaves as much free, its pages counted already.
        own = mmap.mmap(-1, 20_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, len(own), mmap.PAGESIZE):
            own[page] = 1
        found.append(resident(os.getpid()))
        own.close()
        return found

    state, (before, written, more) = guarded(sizes)
    assert state == "value"
    assert abs(written - before) < 2e6
    assert 19e6 < more - written < 22e6


@pytest.mark.slow
def test_memory_is_flat_over_the_steps_of_a_run(processes, tmp_path):
    """The slope over the second half of the steps, by least squares; it is printed."""
    settings = [f"train.steps={STEPS}", f"eval.every={STEPS}", "checkpoint.every=100", "log.row_ids=false"]
    run = processes.pretrain(tmp_path / "run", *settings)
    found: dict[str, list[tuple[int, int]]] = {"the training process": [], "the reading process": []}
    while not run.over():
        step = last_step(run.run_dir)
        pids = [run.pids[0], *readers(run.pids[0])[:1]]
        for series, pid in zip(found.values(), pids):
            try:
                series.append((step, resident(pid)))
            except (OSError, ProcessLookupError):  # it ended since
                continue
        time.sleep(max(0.05, STEPS / 5000))
    assert run.wait() == [0], run.text()[-3000:]
    (tmp_path / "memory.json").write_text(json.dumps(found))
    for name, series in found.items():
        tally = Tally(f"memory of {name} over {STEPS} steps")
        late = [(step, size) for step, size in series if STEPS // 2 <= step < STEPS]
        most = max(size for _, size in series)
        said = f"{most / 1e6:.0f} MB at most in {len(series)} looks"
        if STEPS < ENOUGH:
            tally.note(f"{said}, no slope")
        elif len({step for step, _ in late}) < 10:
            tally.lose(f"{said}, of which {len(late)} in the second half of the steps tell no slope")
        else:
            steps, sizes = np.array(late).T
            slope = np.polyfit(steps, sizes, 1)[0]
            said = f"{slope:+.0f} bytes a step over the steps {steps.min()} to {steps.max()}, {said}"
            (tally.lose if slope > MOST else tally.note)(said)
        tally.close()
        assert most < 1.5e9
    if STEPS < ENOUGH:
        pytest.skip(f"{STEPS} steps tell no slope: AURA_FAULTS_STEPS={ENOUGH} and more do")
