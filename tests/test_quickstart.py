"""The quickstart as the README promises it: every modality finds every other at ten times chance or better."""

import subprocess
import sys
from pathlib import Path

import pytest

from aura.train.rundir import read_metrics

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_pair_is_found_at_ten_times_chance(tmp_path):
    shards = tmp_path / "synthetic"
    subprocess.run(
        [sys.executable, "-m", "shards.synthetic", "--out", str(shards), "--workers", "2"], cwd=ROOT, check=True
    )
    places = [f"data.{key}.0.path={shards}" for key in ("sources", "eval")]
    command = [sys.executable, "recipes/pretrain.py", *places, f"run_dir={tmp_path / 'run'}"]
    subprocess.run(command, cwd=ROOT, check=True)
    last = [line for _, line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "eval"][-1]
    found = {key.split("/")[1]: value for key, value in last.items() if key.endswith("/R@1")}
    assert len(found) == 12
    for pair, recall in found.items():
        assert recall >= 10 * last[f"retrieval/{pair}/chance"], (pair, recall)
