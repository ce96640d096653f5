"""Launched as a user launches it, a run does not depend on the number of ranks, the kind of training, or chunks."""

import shutil
import signal
import sys
import time

import pytest

from tests.train.runs import LIMIT_S, PRETRAIN, metrics, status
from tests.train.test_runs import assert_same_run

LAUNCH_ONE = [sys.executable, "-m", "accelerate.commands.launch"]
LAUNCH_ONE += ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles its CPU communication with g++")
def test_two_launched_ranks_follow_one_process(processes, unbroken, tmp_path):
    """ZeRO-2 and DDP by `accelerate launch`; that of DDP is stopped once, by a signal to the launcher."""
    zero = processes.accelerate(tmp_path / "zero", "accelerate_config_cpu_zero2.yaml")
    ddp = processes.accelerate(tmp_path / "ddp", "accelerate_config_cpu.yaml", WAIT_AT="step 5")
    ddp.until(4)
    ddp.signal(signal.SIGTERM)
    assert ddp.wait() == [1], "the launcher's own code for any end but a finished run"
    assert status(tmp_path / "ddp")["state"] == "preempted"
    assert zero.wait() == [0], zero.text()
    assert_same_run(tmp_path / "zero", unbroken, rel=1e-4)
    ddp = processes.accelerate(tmp_path / "ddp", "accelerate_config_cpu.yaml")
    assert ddp.wait() == [0], ddp.text()
    assert_same_run(tmp_path / "ddp", unbroken, rel=1e-4)


def test_the_launcher_of_one_process_passes_its_end_on(processes, tmp_path):
    run_dir = tmp_path / "run"
    endless = processes.arguments(run_dir, "train.steps=100000", "eval.every=100000")
    run = processes.command(run_dir, [*LAUNCH_ONE, str(PRETRAIN), *endless])
    run.until(2)
    run.signal(signal.SIGTERM)  # of which it dies
    end = time.monotonic() + LIMIT_S
    while status(run_dir)["state"] == "running":
        assert time.monotonic() < end, run.text()
        time.sleep(0.05)
    assert run.wait() == [-signal.SIGTERM]
    assert status(run_dir)["state"] == "preempted", run.text()


def losses(run_dir):
    return [m["loss"] for m in metrics(run_dir)]


def test_chunks_do_not_change_a_run(processes, unbroken, tmp_path):
    run = processes.pretrain(tmp_path / "run", "train.chunk=3", ranks=2)
    assert run.wait() == [0, 0], run.text()
    assert_same_run(tmp_path / "run", unbroken, rel=1e-4)


def test_accumulated_batches(processes, unbroken, tmp_path):
    """Two batches an update: the rows of two steps, and the same on two ranks, in chunks, as in one process."""
    settings = ["train.accumulate=2", "train.steps=6", "eval.every=0"]
    one = processes.pretrain(tmp_path / "one", *settings)
    two = processes.pretrain(tmp_path / "two", *settings, "train.chunk=4", ranks=2)
    assert one.wait() + two.wait() == [0, 0, 0], one.text() + two.text()
    rows = [m["row_ids"] for m in metrics(unbroken)]
    for run_dir in (tmp_path / "one", tmp_path / "two"):
        assert [m["row_ids"] for m in metrics(run_dir)] == [a + b for a, b in zip(rows[::2], rows[1::2])]
    assert [m["ids"] for m in metrics(tmp_path / "one")] == [m["ids"] for m in metrics(tmp_path / "two")]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    first = [m["loss"] for m in metrics(unbroken)[:1]]
    assert losses(tmp_path / "one")[0] != pytest.approx(first[0], rel=1e-3)


def test_bf16_stays_near_full_precision(processes, unbroken, tmp_path):
    run = processes.pretrain(tmp_path / "run", "train.precision=bf16", ranks=2)
    assert run.wait() == [0, 0], run.text()
    assert "precision bf16" in run.text(0)
    assert losses(tmp_path / "run") != pytest.approx(losses(unbroken), rel=1e-5), "nothing ran in bf16"
    assert losses(tmp_path / "run") == pytest.approx(losses(unbroken), rel=0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_compiled_towers_give_the_same_run(processes, unbroken, tmp_path):
    run = processes.pretrain(tmp_path / "run", "train.compile=true")
    assert run.wait() == [0], run.text()
    assert_same_run(tmp_path / "run", unbroken, rel=1e-3)
