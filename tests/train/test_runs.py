"""Runs that are stopped in every way and started again go on as if nothing had happened."""

import json
import random
import re
import signal
from typing import Any, cast

import pytest
import torch

from aura.data.order import hash64
from aura.train import loop
from aura.train.loop import hash_of_rows, words
from aura.train.rundir import RunError
from tests.train.runs import checkpoints, metrics, status

STEPS = 12


def assert_same_run(run_dir, unbroken, rel=0.0):
    """Every step once, with the rows, the learning rate and the loss of the run that nothing stopped."""
    found, expected = metrics(run_dir), metrics(unbroken)
    assert [m["step"] for m in found] == list(range(1, STEPS + 1))
    for key in ("row_ids", "ids", "lr"):
        assert [m[key] for m in found] == [m[key] for m in expected], key
    for key in (k for k in expected[1] if k.startswith(("loss", "scale", "grad_norm"))):
        assert [m[key] for m in found] == pytest.approx([m[key] for m in expected], rel=rel, abs=0), key
    # What is looked at every ten steps; gradients by tower are not told under DeepSpeed.
    for a, b in zip(found, expected):
        looked = [k for k in b if k.partition("/")[0] in ("rank", "norm", "uniformity", "alignment", "gap", "share")]
        assert bool(looked) == (b["step"] % 10 == 1)
        assert [a[k] for k in looked] == pytest.approx([b[k] for k in looked], rel=100 * rel, abs=100 * rel), looked
    evaluations = metrics(run_dir, "eval")
    assert [m["step"] for m in evaluations] == [6, 12]
    if rel == 0:
        assert evaluations == metrics(unbroken, "eval")
    assert status(run_dir)["state"] == "finished"


def test_the_run_that_nothing_stopped(unbroken):
    assert status(unbroken) | {"host": "", "pid": 0, "sha256": ""} == {
        "state": "finished",
        "step": STEPS,
        "reason": "",
        "host": "",
        "pid": 0,
        "sha256": "",
    }
    found = metrics(unbroken)
    rows = [name for m in found for name in m["row_ids"]]
    first, second = rows[:72], rows[72:144]
    assert len(set(first)) == 72, "a pass is a permutation"
    assert set(first) == set(second)
    assert first != second
    assert len({m["ids"] for m in found}) == STEPS
    kept = checkpoints(unbroken)
    best = (unbroken / "checkpoints" / "best").read_text().strip()
    assert kept == sorted({"best", "latest", best, "step_00000009", "step_00000012"})
    assert (unbroken / "checkpoints" / "latest").read_text() == "step_00000012\n"


def test_each_evaluation_is_printed_once_and_the_last_words_say_what_to_do_next(unbroken):
    logs = [log.read_text(errors="replace") for log in unbroken.parent.glob("run-*.log")]
    (told,) = [text for text in logs if "is finished" not in text and "query : gallery" in text]
    assert told.count("query : gallery") == 2
    assert [line for line in told.splitlines() if re.fullmatch(r"step \d+", line)] == ["step 6", "step 12"]
    last = told.rstrip().splitlines()[-1]
    assert last.startswith(f'next        aura.from_pretrained("{unbroken}") in Python, or ')
    assert f"tools/export_checkpoint.py {unbroken} --out models/{unbroken.name}" in last


def test_the_hash_of_rows_is_of_names_and_order():
    own = [(20, "a"), (21, "b"), (22, "a")]
    cpu = torch.device("cpu")
    found = hash_of_rows(own, 20, cpu)
    assert found == hash_of_rows(own[::-1], 20, cpu)  # whichever rank has them
    assert found == hash_of_rows([(r - 20, name) for r, name in own], 0, cpu)  # at whichever step
    other = [(20, "b"), (21, "a"), (22, "a")], [(20, "a"), (21, "b"), (22, "c")], own[:2], own[1:]
    assert len({found, *(hash_of_rows(rows, 20, cpu) for rows in other)}) == 5
    assert int(found, 16) == sum(hash64(i, name) for i, name in enumerate("aba")) % 2**64


def test_a_fault_without_words_is_told_by_its_kind():
    assert words(MemoryError()) == "MemoryError"
    assert words(ValueError("why")) == "why"


def test_a_loss_that_is_not_finite_is_told_before_anything_is_measured_of_it(monkeypatch):
    broken = torch.tensor(float("nan"))
    monkeypatch.setattr(loop, "compute_loss", lambda *given: (broken, {"loss": float("nan")}))
    monkeypatch.setattr(loop, "health", lambda *given: pytest.fail("measured"))
    with pytest.raises(RunError, match="the loss is not finite at step 11"):
        loop.guarded_loss(cast(Any, None), cast(Any, None), cast(Any, None), 11)


def assert_goes_on_when_killed(processes, run_dir, unbroken, moments, chance=False):
    """Kills a run at each moment in turn: in the middle of a step, or inside the writing of a checkpoint; then lets it finish, and
    compares its metrics, checkpoint and files with those of the run that nothing stopped.

    With `chance` it may be over before a moment comes.
    """
    for moment in moments:
        fault = {"DIE_AT": moment} if isinstance(moment, str) else {"SIGNAL_AT": f"step {moment} SIGKILL"}
        run = processes.pretrain(run_dir, environment=fault)
        if run.wait() == [0] and chance:
            break
        assert run.wait() == [-signal.SIGKILL], run.text()
        assert status(run_dir)["state"] == "running"
    run = processes.pretrain(run_dir)
    assert run.wait() == [0], run.text()
    assert_same_run(run_dir, unbroken)
    states = []
    for folder in (run_dir, unbroken):
        state = json.loads((folder / "checkpoints" / f"step_{STEPS:08d}" / "state.json").read_text())
        del state["files"]["recipe.yaml"], state["sha256"]  # the recipe names its run_dir
        states.append(state)
    assert states[0]["files"] == states[1]["files"], "weights, optimiser and random state are equal to the bit"
    assert states[0] == states[1]
    assert not [entry for entry in checkpoints(run_dir) if entry.startswith(".")]


def test_killed_runs_go_on(processes, unbroken, tmp_path):
    """In warm-up, between checkpoints, while the files of one, its name and `latest` are written."""
    assert_goes_on_when_killed(processes, tmp_path / "run", unbroken, [3, "fsync:4", 5, "rename:1", "replace:3", 12])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_runs_killed_at_random_go_on(processes, unbroken, tmp_path, seed):
    draw = random.Random(seed)
    moments = []
    for step in range(2, STEPS + 1):
        moments += draw.choice(
            [[step], [f"{draw.choice(['fsync', 'rename', 'replace', 'rmtree'])}:1"], [f"fsync:{draw.randint(1, 14)}"]]
        )
    assert_goes_on_when_killed(processes, tmp_path / "run", unbroken, moments, chance=True)


def test_a_signal_ends_the_step_saves_and_exits_75(processes, unbroken, tmp_path):
    """In warm-up, in an evaluation, in the last step; also to one of two ranks, and on with one rank again."""
    run_dir = tmp_path / "run"

    def preempted(run, by):
        codes = run.wait()
        assert set(codes) == {75}, run.text()
        assert status(run_dir)["state"] == "preempted"
        assert status(run_dir)["reason"] == by
        step = status(run_dir)["step"]
        assert (run_dir / "checkpoints" / "latest").read_text() == f"step_{step:08d}\n"
        assert f"{by}: saved {run_dir}/checkpoints/step_{step:08d}; the same command goes on" in run.text(0)
        assert "Traceback" not in run.text()
        return step

    run = processes.pretrain(run_dir, environment={"WAIT_AT": "step 2"})
    run.until(1)
    run.signal(signal.SIGTERM)
    assert preempted(run, "SIGTERM") in (1, 2)  # it comes before the next step begins, or in the middle of it

    run = processes.pretrain(run_dir, "data.workers=2", ranks=2, environment={"SIGNAL_AT": "step 5 SIGINT 1"})
    assert preempted(run, "SIGINT") == 5
    assert "goes on with 2" in run.text(0)

    run = processes.pretrain(
        run_dir, "data.workers=0", "eval.batch=1", "eval.pool=180", environment={"SIGNAL_AT": "evaluation"}
    )
    assert preempted(run, "SIGUSR1") == 6
    assert "accuracy" not in run.text()
    assert metrics(run_dir, "eval") == []

    run = processes.pretrain(run_dir, environment={"SIGNAL_AT": "step 12"})
    assert preempted(run, "SIGUSR1") == 12
    assert [m["step"] for m in metrics(run_dir, "eval")] == [6]

    run = processes.pretrain(run_dir)
    assert run.wait() == [0], run.text()
    assert_same_run(run_dir, unbroken, rel=1e-4)
