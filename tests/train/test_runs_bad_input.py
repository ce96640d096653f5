"""What cannot run says what is wrong, where, and what to do; nothing hangs on any rank, nothing is lost."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from aura.data.index import open_split
from aura.train.loop import pretrain
from aura.train.recipe import load_recipe
from aura.train.rundir import RunError
from tests.train.runs import LIMIT_S, PRETRAIN, TINY, metrics, status
from tests.train.test_runs import assert_same_run


def refused(run, *words, state="failed"):
    """All its processes end by 1 without a traceback; rank 0 says these words, and status.json does."""
    assert set(run.wait()) == {1}, run.text()
    text = run.text(0)
    assert "error: " in text
    for word in words:
        assert word in text, text
    assert "Traceback" not in run.text(), run.text()
    if state is None:
        assert not (run.run_dir / "status.json").exists()
    else:
        assert status(run.run_dir)["state"] == state
        for word in words if state == "failed" else ():
            assert word in status(run.run_dir)["reason"]


def test_a_run_directory_in_use_is_refused_by_host_and_pid(processes, tmp_path):
    first = processes.pretrain(tmp_path / "run", "train.steps=4", environment={"SIGNAL_AT": "step 2 SIGSTOP"})
    first.until_stopped()
    second = processes.pretrain(tmp_path / "run", "train.steps=4")
    refused(second, f"is in use by host {platform.node()}, pid {first.pids[0]}", "another run_dir", state="running")
    first.signal(signal.SIGCONT)
    assert first.wait() == [0], first.text()
    assert [m["step"] for m in metrics(tmp_path / "run")] == [1, 2, 3, 4]


def test_a_finished_run_prints_its_results_and_no_other_recipe_touches_it(processes, unbroken):
    before = (unbroken / "metrics.jsonl").read_bytes()
    again = processes.pretrain(unbroken, "data.workers=0", "eval.pool=20", "checkpoint.every=1")
    assert again.wait() == [0], again.text()
    for word in ("is finished", "imu:text", "metrics.jsonl", "retrieval.png", "step_00000012"):
        assert word in again.text()
    assert f'next        aura.from_pretrained("{unbroken}")' in again.text().splitlines()[-1]
    assert f"tools/export_checkpoint.py {unbroken} --out models/{unbroken.name}" in again.text().splitlines()[-1]
    unknown = processes.pretrain(unbroken, "train.step=5")
    refused(
        processes.pretrain(unbroken, "train.optimizer.lr=0.5", "seed=3", ranks=2),
        "belongs to another recipe",
        "seed: 0 there, 3 here",
        "train.optimizer.lr: 0.001 there, 0.5 here",
        state="finished",
    )
    refused(unknown, "train.step: unknown key; did you mean 'steps'", state="finished")
    assert (unbroken / "metrics.jsonl").read_bytes() == before


def test_what_is_refused_before_the_first_step_can_be_mended(processes, tmp_path):
    run_dir = tmp_path / "run"
    refused(
        processes.pretrain(run_dir, ranks=3),
        "3 ranks do not divide train.batch=16 and data.streams=8",
        "1, 2, 4 or 8 ranks work",
    )
    second = [
        "inputs.imu_second={rate_hz: 25}",
        "towers.imu_second={kind: imu_transformer, width: 16, depth: 1, heads: 2, stem: 8}",
        "objective.pairs=[imu:text, mocap:text, imu_second:text]",
    ]
    refused(
        processes.pretrain(run_dir, *second, ranks=2),
        "no source has the stream 'imu_second'", "imu, mocap, pose2d, text", "drop inputs.imu_second",
    )  # fmt: skip
    refused(processes.pretrain(run_dir, "data.sources.0.path=nowhere"), "nowhere does not exist", "python -m shards.")
    refused(
        processes.pretrain(run_dir, "data.sources.0.path=http://127.0.0.1:9/shards", ranks=2),
        "http://127.0.0.1:9/shards", "cannot be read after 4 tries",
    )  # fmt: skip
    for words, found in (
        (["towers.imu.heads=3"], ["recipe tiny: towers.imu: width 16 and heads 3"]),
        (["towers.text.pretrained=/none"], ["towers: no file of weights at '/none'"]),
        (["inputs.text.stored=true"], ["towers.text is trained", "towers.text.tuning=frozen"]),
        (["eval.prompts=none.yaml"], ["no prompt file at none.yaml"]),
        (["objective.same_text=label:activty"], ["'activty', which no sample has; there are activity,"]),
        (["checkpoint.best=R@1"], ["checkpoint.best='R@1'", "retrieval/imu:text/R@1"]),
        (["data.window.seconds=7"], ["data.sources last 3 s on average", "data.window.min_cover=0.5", "shorter"]),
    ):
        refused(processes.pretrain(run_dir, *words), *found)
    words = tmp_path / "prompts.yaml"
    words.write_text("label: activity\nclasses: {walk: [walks], jog: [runs]}\n")
    refused(processes.pretrain(run_dir, f"eval.prompts={words}", ranks=2), f"{words} has no words for arm_circles")
    mended = processes.pretrain(run_dir, "train.steps=4")
    assert mended.wait() == [0], mended.text()
    assert status(run_dir)["state"] == "finished"
    assert status(run_dir)["step"] == 4


def damaged(shards, folder, keys):
    """A copy of the shards; the IMU of these training samples holds NaN."""
    shutil.copytree(shards, folder)
    split = open_split(str(folder), "train")
    for i, entry in enumerate(split.entries()):
        if entry["key"] in keys:
            start, size = entry["members"]["imu.npy"][:2]
            with open(folder / split.locate(i)[0].file, "r+b") as file:
                file.seek(entry["offset"] + start + 128)  # past the header of npy
                file.write(np.full((size - 128) // 4, np.nan, np.float32).tobytes())
    return folder


def test_bad_samples_are_passed_over_and_named_up_to_a_limit(processes, shards, unbroken, tmp_path):
    bad = metrics(unbroken)[1]["row_ids"][3:6]  # on either of two ranks
    folder = damaged(shards, tmp_path / "shards", bad)
    at = f"data.sources.0.path={folder}"
    one = processes.pretrain(tmp_path / "one", at)
    two = processes.pretrain(tmp_path / "two", at, "data.workers=2", ranks=2)
    few = processes.pretrain(tmp_path / "few", at, "data.max_bad=2", ranks=2)
    assert one.wait() == [0], one.text()
    assert two.wait() == [0, 0], two.text()
    assert metrics(tmp_path / "one")[-1]["bad_samples"] == 3
    for key in bad:
        assert f"{key}.imu.npy: holds values that are not finite" in one.text()
        assert f"{key}.imu.npy: holds values that are not finite" in two.text()
    rows = [[name for m in metrics(tmp_path / run) for name in m["row_ids"]] for run in ("one", "two")]
    assert rows[0] == rows[1]
    assert not set(bad) & set(rows[0])
    assert len(set(rows[0])) == 72 - 3
    refused(few, "more than data.max_bad=2 bad samples", "tools/verify_shards.py --repair", *bad)


def test_a_truncated_shard_is_named(processes, shards, tmp_path):
    """Before the first step by its size; in the middle of a run on both ranks, whichever of them reads it."""
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    tar = folder / "train-000000.tar"
    at = f"data.sources.0.path={folder}"
    run = processes.pretrain(tmp_path / "run", at, "train.steps=2000", ranks=2)
    run.until(2)
    whole = tar.stat().st_size
    os.truncate(tar, whole // 2)
    assert set(run.wait()) == {1}, run.text()
    assert f"{tar}: " in run.text()
    assert "the file is truncated, or was replaced" in run.text()
    assert "Traceback" not in run.text(), run.text()
    assert status(tmp_path / "run")["state"] == "failed"
    assert status(tmp_path / "run")["step"] == metrics(tmp_path / "run")[-1]["step"]
    again = processes.pretrain(tmp_path / "run", at, "train.steps=2000", ranks=2)
    refused(again, f"{tar} has {whole // 2} bytes, the manifest says {whole}: truncated? copy it again")


def test_what_one_rank_finds_before_the_first_step_all_ranks_say(processes, shards, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for end in ("tar", "idx.json"):  # the second shard of the split is looked at by rank 1 alone
        shutil.copy(folder / f"val-000000.{end}", folder / f"train-000001.{end}")
    second = manifest["splits"]["val"]["shards"][0] | {"file": "train-000001.tar"}
    manifest["splits"]["train"]["shards"].append(second)
    manifest["splits"]["train"]["samples"] += second["samples"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    os.truncate(folder / "train-000001.tar", 1000)
    run = processes.pretrain(tmp_path / "run", f"data.sources.0.path={folder}", ranks=2)
    refused(run, f"rank 1: {folder}/train-000001.tar has 1000 bytes, the manifest says {second['bytes']}")


def test_a_loss_that_is_not_finite_ends_the_run_on_all_ranks(processes, tmp_path):
    run = processes.pretrain(tmp_path / "run", "train.optimizer.lr=1.0e+30", "checkpoint.every=1", ranks=2)
    refused(run, "is not finite at step 2", "train.optimizer.lr")
    assert [m["step"] for m in metrics(tmp_path / "run")] == [1]
    assert status(tmp_path / "run")["step"] == 1


def test_damaged_checkpoints_and_a_full_disk_lose_nothing(processes, unbroken, tmp_path):
    run_dir = tmp_path / "run"
    folder = run_dir / "checkpoints"
    run = processes.pretrain(run_dir, environment={"SIGNAL_AT": "step 7"})
    assert run.wait() == [75], run.text()
    assert (folder / "latest").read_text() == "step_00000007\n"

    file = folder / "step_00000007" / "towers" / "mocap.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    full = processes.pretrain(run_dir, ranks=2, environment={"FILE_BYTES": "5000000"})
    refused(full, "no checkpoint written in", "File too large", "The last whole checkpoint stands; make room")
    assert "step_00000007 is passed over: towers/mocap.safetensors is not what was written" in full.text(0)
    assert "going on from step_00000006" in full.text(0)
    assert status(run_dir)["step"] == 9
    assert (folder / "latest").read_text() == "step_00000007\n"

    hidden = [folder / name / "state.json" for name in ("step_00000003", "step_00000006")]
    for path in hidden:
        if path.exists():
            path.rename(path.with_suffix(".hidden"))
    refused(
        processes.pretrain(run_dir), "no checkpoint is whole", "step_00000007", "step_00000006", "Bring the files back"
    )
    for path in hidden:
        if path.with_suffix(".hidden").exists():
            path.with_suffix(".hidden").rename(path)
    last = processes.pretrain(run_dir)
    assert last.wait() == [0], last.text()
    assert_same_run(run_dir, unbroken)


def test_a_run_that_is_refused_gives_back_the_signals(shards, tmp_path):
    (tmp_path / "run").write_text("a file")
    places = [f"data.{key}.0.path={shards}" for key in ("sources", "eval")]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunError, match="cannot be written"):
        pretrain(load_recipe(str(TINY), [*places, f"run_dir={tmp_path / 'run'}"]))
    assert signal.getsignal(signal.SIGTERM) is before


def test_files_that_cannot_grow_end_both_ranks(processes, tmp_path):
    """Metrics, which only rank 0 writes; the memory that reading processes share."""
    settings = ["checkpoint.every=100", "eval.every=0", "log.tensorboard=false"]
    small = {"FILE_BYTES": "6000"}
    run = processes.pretrain(tmp_path / "metrics", *settings, "data.workers=0", ranks=2, environment=small)
    assert set(run.wait()) == {1}, run.text()
    assert "error: [Errno 27] File too large" in run.text(0)
    assert status(tmp_path / "metrics")["state"] == "failed"
    run = processes.pretrain(tmp_path / "memory", *settings, ranks=2, environment=small)
    refused(run, "no shared memory for 0.1 MB of a batch", "File too large", "--shm-size", "data.workers")


def test_one_of_all_processes_makes_the_quickstarts_shards(tmp_path):
    settings = "--subjects 1 --val-subjects 1 --test-subjects 0 --clips-per-activity 1 --seconds 2 --no-video"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import pretrain;"
        "pretrain.make_synthetic(Path('data/synthetic'), *sys.argv[2:])"
    )
    command = [sys.executable, "-c", code, str(PRETRAIN.parent), *settings.split()]
    started = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=LIMIT_S)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sorted(text.count("making the quickstart's shards") for text in texts) == [0, 1]
    assert len(open_split(str(tmp_path / "data" / "synthetic"), "train")) == 36
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout == ""


@pytest.mark.slow
def test_without_a_recipe_it_is_the_quickstart_with_its_shards(processes, tmp_path):
    run = processes.run(tmp_path / "run", "train.steps=2", "train.warmup=1", "train.batch=16", "eval.pool=32", ranks=2)
    assert run.wait() == [0, 0], run.text()
    assert run.text().count("making the quickstart's shards") == 1
    assert status(tmp_path / "runs" / "quickstart")["state"] == "finished"
