"""A dry run says what a run would be, by the run's own parts, and leaves nothing."""

import subprocess
import sys

import torch

from aura.train.dry_run import counted, memory, towers
from tests.train.batches import random_batch, tiny_model, tiny_recipe
from tests.train.runs import ROOT, TINY


def test_what_the_backward_pass_needs_is_counted_once():
    x, weight = torch.ones(10, 4, requires_grad=True), torch.ones(4, 4, requires_grad=True)
    with counted({weight.untyped_storage().data_ptr()}) as sizes:
        (x @ weight).exp().sum()  # keeps x (40 floats), the weight, and what exp gave (40 floats)
    assert sum(sizes.values()) == 2 * 40 * 4


def test_parameters_and_memory_of_a_rank():
    recipe = tiny_recipe()
    model = tiny_model(recipe)
    total = sum(p.numel() for p in model.parameters())
    assert towers(model)[-1].split()[2:] == [f"{total:,}", "0"]
    (line,) = memory(recipe, model, random_batch(4), ranks=2)
    assert f"DDP {total * 16 / 2**30:.2f}, ZeRO-1" in line
    assert "activations of 8 rows" in line


def test_the_command_prints_and_ends(shards, tmp_path):
    words = [f"data.sources.0.path={shards}", f"data.eval.0.path={shards}", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "recipes/pretrain.py", "--config", str(TINY), "--dry-run", "--ranks", "2", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "imu_transformer" not in done.stderr
    assert "mocap" in done.stdout
    assert "memory of each of 2 ranks" in done.stdout
    assert "passes" in done.stdout
    assert list(tmp_path.iterdir()) == []
