"""The bench measures what it says, of every variant; no test of a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import bench

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cases():
    sys.path.insert(0, str(ROOT / "tools"))  # as for a script that lies there
    import bench_cases

    yield bench_cases
    sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def jobs(cases, tmp_path_factory):
    import bench_data

    made = bench.make_jobs(tmp_path_factory.mktemp("bench"), 1000, quick=True, threads=1)
    settings = {}
    for job in made.values():
        settings |= job.settings
    bench_data.prepare(settings)
    return made


def test_comparisons_name_jobs_and_variants_that_exist(cases, jobs):
    for comparison in bench.COMPARISONS:
        variants = cases.VARIANTS[jobs[comparison.job].case]
        assert {comparison.ours, comparison.peer} <= variants.keys()
    named = {(jobs[c.job].case, name) for c in bench.COMPARISONS for name in (c.ours, c.peer)}
    assert named == {(case, name) for case, variants in cases.VARIANTS.items() for name in variants}


UNITS = {
    "read": 128, "workers": 128, "stored": None, "resume": None, "loss": 1, "imu": 4, "fine": 4, "video": 1, "sync": 1,
    "pamap2-text": None, "pamap2-shards": 2, "bvh-text": 600, "bvh-shards": 1, "csv-shards": 16,
}  # fmt: skip


@pytest.mark.parametrize("name", list(dict.fromkeys(c.job for c in bench.COMPARISONS)))
def test_every_variant_does_its_work_and_counts_it(cases, jobs, name):
    job = jobs[name]
    units = {}
    for variant, prepare in cases.VARIANTS[job.case].items():
        work = prepare(dict(job.settings))
        units[variant] = work()
        assert units[variant] == work()  # again, as the rounds do
    if name == "window":  # three samples of 60 s: all windows of 5 s; a batch; one of each, which are read whole
        assert units == {"reader": 36, "reader, random": 64, "webdataset": 3}
    elif (expected := UNITS[job.case]) is not None:
        assert set(units.values()) == {expected}


def test_peers_read_the_same_values(cases, jobs):
    import bench_read

    from aura.data.reader import EvalReader

    folder = jobs["read"].settings["short"]
    config, inputs = bench_read.config_of(folder, 0), bench_read.inputs_of()
    batch = next(iter(EvalReader(config, inputs, batch=64)))
    samples = {sample["__key__"]: sample for sample in bench_read.webdataset_of(folder)}
    for row in (0, 63):
        sample = samples[batch.ids[row]]
        for name in ("imu", "mocap", "pose2d"):
            assert np.allclose(batch.streams[name].values[row].numpy(), sample[f"{name}.npy"], atol=1e-6)
            assert batch.streams[name].valid[row].all()


def test_peers_parse_the_same_numbers(cases, jobs):
    import bench_convert
    import pandas as pd

    from shards import pamap2

    settings = jobs["pamap2-text"].settings
    recording, size = bench_convert.pamap2_file(settings)
    assert size == pytest.approx(1, rel=0.5)
    names, types = bench_convert.pamap2_columns()
    theirs = pd.read_csv(recording.file.path, sep=" ", names=names, usecols=list(types), dtype=types)
    times, activity, values, _, notes = pamap2.read(recording, False)  # the heart rate is read beside
    assert np.array_equal(times, theirs["c0"])
    assert np.array_equal(activity, theirs["c1"])
    assert np.allclose(np.concatenate(values, 1), theirs.iloc[:, 2:], rtol=1e-6)
    assert [note.reason for note in notes] == ["file that is not of the published size, used: protocol_subject101"]


def test_lean_losses_and_gradients_are_those_of_the_peers(cases):
    import bench_losses
    import torch

    inputs = bench_losses.loss_inputs({"rows": 96})
    for lean, peer in (("lean", "ClipLoss"), ("lean sigmoid", "SigLipLoss")):
        grads = []
        for name in (lean, peer):
            same = [t.detach().clone().requires_grad_() for t in inputs]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(bench_losses, "loss_inputs", lambda settings, same=same: same)
                cases.VARIANTS["loss"][name]({"rows": 96})()
            grads.append([t.grad for t in same])
        for a, b in zip(*grads):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_table_has_a_line_for_each_comparison(tmp_path):
    command = [sys.executable, "tools/bench.py", "im", "--quick", "--json", str(tmp_path / "found.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    expected = [c for c in bench.COMPARISONS if c.job == "imu"]
    lines = done.stdout.splitlines()
    assert len(lines) == 2 + len(expected) + 1
    for row, line, comparison in zip(found["rows"], lines[2:], expected):
        assert (row["case"], row["ours"], row["peer"]) == (comparison.job, comparison.ours, comparison.peer)
        assert line.startswith(comparison.job)
        assert row["ours_value"] > 0
        assert row["peer_value"] > 0
        assert row["ratio"] == pytest.approx(np.median(row["ratios"]))
        assert len(row["ratios"]) == (2 if row["what"] == "cpu" else 1)
        assert line.endswith("met") is (row["aim"] is not None or row["aim_value"] is not None)
        assert row["met"] is None or row["met"] is (
            row["ratio"] >= (row["aim"] or 0) and row["ours_value"] <= (row["aim_value"] or np.inf)
        )
    assert found["machine"]["cores"] >= 1


def test_an_unknown_case_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        bench.main(["sped"])
    assert "no case 'sped'; there are read, workers, window" in capsys.readouterr().err


WORK = """
import json, sys
sys.path.insert(0, "tools")
import numpy as np
import bench
keep = np.ones(20_000_000)  # 160 MB that were there before
print(json.dumps(bench.measure(lambda: float(np.ones(10_000_000).sum() > 0))), len(keep))
"""


def test_memory_is_the_peak_of_the_work_alone():
    """In a process of its own, as all that is measured: what else a process frees meanwhile would count."""
    done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.rpartition(" ")[0])
    assert 70 < found["peak_mb"] < 110
    assert found["cpu_s"] > 0


def test_time_of_child_processes_counts():
    spin = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    found = bench.measure(lambda: subprocess.run([sys.executable, "-c", spin], check=True) and 1)
    assert found["cpu_s"] >= 0.3
