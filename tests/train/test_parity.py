"""The gradient of every parameter and temperature over 2 and 4 ranks equals that of one process."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.ports import free_port
from tests.train.batches import OTHER, classify_recipe, random_batch, series_recipe, tiny_recipe
from tests.train.test_step import assert_close, gradients

RECIPES = {"chunks": lambda: tiny_recipe(**OTHER), "classifiers": classify_recipe, "series": series_recipe}
CASES = ["ddp", "zero0", "zero1", "zero2", "zero3"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles its CPU communication with g++")
@pytest.mark.parametrize("ranks", [2, 4])
def test_gradients_do_not_depend_on_ranks(ranks, tmp_path):
    """One launch runs all cases: DDP and ZeRO 0 to 3, with and without missing streams, whole and in chunks, a model
    of classifiers alone."""
    out = tmp_path / "gradients.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--master-port", str(free_port()), "-m", "tests.train.parity_worker", str(out), *CASES]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    results = torch.load(out, weights_only=True)
    assert len(results) == 5 * len(CASES)
    for case, found in results.items():
        recipe = RECIPES.get(case.split()[-1], tiny_recipe)()
        _, expected = gradients(recipe, random_batch(missing="missing=False" not in case))
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert_close(found[name], gradient, f"{case}, {ranks} ranks, {name}")
