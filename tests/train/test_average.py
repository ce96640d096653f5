"""The average of the weights over the steps: its values, and what a run evaluates, saves and goes on with."""

import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from aura.train.average import Average
from tests.ports import free_port
from tests.train.runs import PRETRAIN, ROOT, metrics
from tests.train.test_runs import assert_same_run

EMA = "train.ema=0.8"


def test_it_is_the_sum_that_it_says():
    model, decay, draw = nn.Linear(3, 2), 0.7, np.random.default_rng(0)
    model.bias.requires_grad_(False)
    seen = [model.weight.detach().numpy().astype(float)]
    average = Average(model, decay)
    for n in range(1, 8):
        seen.append(draw.standard_normal((2, 3)))
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(seen[-1]))
        average.update(n)
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(1, 8)]
    shares = [np.prod(decays[i:]) * (1 - decays[i - 1] if i else 1) for i in range(8)]  # of the weights after update i
    assert sum(shares) == pytest.approx(1)
    bias = model.bias.clone()
    with average.in_place():
        np.testing.assert_allclose(model.weight.detach(), sum(s * w for s, w in zip(shares, seen)), atol=1e-6)
        assert torch.equal(model.bias, bias)
    np.testing.assert_array_equal(model.weight.detach().numpy(), seen[-1].astype(np.float32))


def test_without_a_decay_there_is_none():
    model = nn.Linear(3, 2)
    average, before = Average(model, None), model.weight.clone()
    average.update(1)
    with average.in_place():
        assert torch.equal(model.weight, before)
    assert average.values == []


def weights(run_dir, step: int = 12) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / f"step_{step:08d}" / "towers" / "imu.safetensors")


def test_a_run_evaluates_and_saves_it_and_goes_on_with_the_last_weights(processes, unbroken, tmp_path):
    """Killed and gone on, and on two ranks, it is the same; the losses are those of a run that keeps none."""
    runs = {}
    for name, ranks in (("one", 1), ("two", 2)):
        runs[name] = processes.pretrain(tmp_path / name, EMA, ranks=ranks)
    for name, run in runs.items():
        assert set(run.wait()) == {0}, run.text()
        rel = 0.0 if name == "one" else 1e-4
        found, expected = metrics(tmp_path / name), metrics(unbroken)
        assert [m["loss"] for m in found] == pytest.approx([m["loss"] for m in expected], rel=rel, abs=0)
    ours, plain = weights(tmp_path / "one"), weights(unbroken)
    last = load_file(tmp_path / "one" / "checkpoints" / "step_00000012" / "last.safetensors")
    assert any(not torch.equal(value, plain[key]) for key, value in ours.items())
    trained = {key: value for key, value in plain.items() if f"towers.imu.{key.removeprefix('tower.')}" in last}
    assert trained
    for key, value in trained.items():
        assert torch.equal(last[f"towers.imu.{key.removeprefix('tower.')}"], value), key
    for key, value in weights(tmp_path / "two").items():
        torch.testing.assert_close(value, ours[key], rtol=1e-3, atol=1e-5)
    assert metrics(tmp_path / "one", "eval") != metrics(unbroken, "eval")

    broken = processes.pretrain(tmp_path / "broken", EMA, environment={"SIGNAL_AT": "step 8 SIGKILL"})
    assert broken.wait() == [-signal.SIGKILL]
    run = processes.pretrain(tmp_path / "broken", EMA)
    assert run.wait() == [0], run.text()
    assert_same_run(tmp_path / "broken", tmp_path / "one")
    for key, value in weights(tmp_path / "broken").items():
        assert torch.equal(value, ours[key]), key


@pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles its CPU communication with g++")
def test_stage_2_keeps_one_and_stage_3_is_refused(processes, tmp_path):
    run = processes.accelerate(tmp_path / "two", "accelerate_config_cpu_zero2.yaml", EMA)
    assert run.wait() == [0], run.text()
    one = processes.pretrain(tmp_path / "one", EMA)
    assert one.wait() == [0], one.text()
    for key, value in weights(tmp_path / "two").items():
        torch.testing.assert_close(value, weights(tmp_path / "one")[key], rtol=1e-3, atol=1e-5)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    launch += [
        str(ROOT / "accelerate_config_cpu_zero2.yaml"),
        "--zero_stage",
        "3",
        "--main_process_port",
        str(free_port()),
    ]
    words = [*launch, str(PRETRAIN), *processes.arguments(tmp_path / "three", EMA)]
    run = processes.command(tmp_path / "three", words)
    assert run.wait() != [0]
    assert "ZeRO-3 holds parts of the parameters, of which no average is kept" in run.text()
