"""A checkpoint of any kind of training goes on in any other; what is not whole is never loaded; a full disk loses nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

import aura
from aura.train import checkpoint
from aura.train.average import Average
from aura.train.optim import make_optimizer
from aura.train.rundir import RunError
from aura.weights import load_weights, read_tensors
from tests.ports import free_port
from tests.train import resume_worker
from tests.train.batches import tiny_model, tiny_recipe
from tests.train.test_parity import CASES


def weights(folder: Path) -> dict[str, torch.Tensor]:
    path = checkpoint.latest_checkpoint(folder)
    return {
        f"{p.name}/{k}": v
        for p in sorted(path.rglob("*.safetensors"))
        if "random" not in p.name
        for k, v in load_file(p).items()
    }


def assert_same(found: Path, expected: Path, what: str):
    a, b = weights(found), weights(expected)
    assert a.keys() == b.keys()
    for name in b:
        # The median: the gradient of a key's bias (a third of in_proj_bias) is zero but for rounding, where Adam's step
        # of 1e-3 has either sign. A lost moment or step count moves every entry by a good part of such a step.
        off = (a[name].float() - b[name].float()).abs().median().item()
        assert off < 2e-5, f"{what}, {name}: {off:.2e} off in the median, a step of the optimiser is 1e-3"


@pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed compiles its CPU communication with g++")
def test_a_checkpoint_goes_on_in_any_kind_of_training(tmp_path):
    """One process -> each kind on two ranks -> one process, beside one process all the way; each kind from the start."""
    before = resume_worker.train(None, tmp_path / "start", "one", 2)
    straight = resume_worker.train(tmp_path / "start", tmp_path / "middle", "one", 2)
    straight += resume_worker.train(tmp_path / "middle", tmp_path / "end", "one", 1)
    jobs = []
    for case in CASES:
        jobs += ["none", str(tmp_path / f"{case}-start"), case, "2"]
        jobs += [str(tmp_path / "start"), str(tmp_path / case), case, "2"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(free_port()), "-m", "tests.train.resume_worker", *jobs]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("losses")]
    reported = [(case, [float(x) for x in values]) for case, *values in lines]
    assert [case for case, _ in reported] == [case for case in CASES for _ in range(2)]
    for case, losses in reported[::2]:
        assert losses == pytest.approx(before, rel=1e-5), case
        third = resume_worker.train(tmp_path / f"{case}-start", tmp_path / f"{case}-third", "one", 1)
        assert third == pytest.approx(straight[:1], rel=1e-4), f"{case} from the start, then one process"
    reported, found = dict(reported[1::2]), []
    for case in CASES:
        assert reported[case] == pytest.approx(straight[:2], rel=1e-5), case
        assert_same(tmp_path / case, tmp_path / "middle", case)
        last = resume_worker.train(tmp_path / case, tmp_path / f"{case}-end", "one", 1)
        assert last == pytest.approx(straight[2:], rel=1e-5), case
        assert_same(tmp_path / f"{case}-end", tmp_path / "end", f"{case}, then one process")
        # In use the checkpoint of any kind of training is the same model.
        model = aura.from_pretrained(checkpoint.latest_checkpoint(tmp_path / case), ["imu"])
        found.append(model.embed(imu=np.ones((60, 6)), rate_hz=20))
    assert len(found) == len(CASES)
    for embedding in found:
        torch.testing.assert_close(embedding, found[0], atol=1e-3, rtol=0)


@pytest.fixture
def saved(tmp_path):
    resume_worker.train(None, tmp_path / "c", "one", 1)
    resume_worker.train(tmp_path / "c", tmp_path / "c", "one", 1)
    return tmp_path / "c"


@pytest.mark.parametrize("damage", ["no state", "truncated", "missing", "other format"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(saved, damage):
    newest = saved / "step_00000002"
    assert checkpoint.latest_checkpoint(saved) == newest
    if damage == "no state":
        (newest / "state.json").unlink()
    elif damage == "truncated":
        file = newest / "towers" / "imu.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "missing":
        (newest / "optimizer.safetensors").unlink()
    else:
        value = json.loads((newest / "state.json").read_text())
        (newest / "state.json").write_text(json.dumps(value | {"format": "something/9"}))
    assert checkpoint.latest_checkpoint(saved) == saved / "step_00000001"
    with pytest.raises(RunError, match="not a whole checkpoint"):
        load_weights(newest, tiny_model(tiny_recipe()))


def test_a_weight_of_another_shape_or_a_pickle_is_refused_by_name(saved):
    newest = saved / "step_00000002"
    file = newest / "towers" / "imu.safetensors"
    content = file.read_bytes()
    torch.save({"a": torch.ones(1)}, file)
    blob = file.read_bytes().ljust(len(content), b"\0")[: len(content)]
    file.write_bytes(blob)
    with pytest.raises(RunError, match=r"imu\.safetensors is not what was written"):
        load_weights(newest, tiny_model(tiny_recipe()))
    with pytest.raises(RunError, match=r"imu\.safetensors cannot be read as safetensors"):
        read_tensors(file)
    file.write_bytes(content)
    recipe = tiny_recipe()
    wide = recipe.towers["imu"].model_copy(update={"width": 32})
    other = recipe.model_copy(update={"towers": {**recipe.towers, "imu": wide}})
    with pytest.raises(RunError, match=r"has shape .* the recipe needs"):
        load_weights(newest, tiny_model(other))


def test_a_full_disk_leaves_the_last_checkpoint(saved, monkeypatch):
    def full(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save_file", full)
    recipe, accelerator = tiny_recipe(), Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(*((m := tiny_model(recipe)), make_optimizer(m, recipe.train.optimizer)))
    path = checkpoint.latest_checkpoint(saved)
    checkpoint.load_training(path, accelerator, model, optimizer)
    with pytest.raises(RunError, match=r"No space left on device.*last whole checkpoint stands"):
        checkpoint.save(saved, checkpoint.State(3, {}, {}), recipe, accelerator, model, optimizer, Average(model, None))
    assert sorted(p.name for p in saved.iterdir()) == ["latest", "step_00000001", "step_00000002"]
    assert checkpoint.latest_checkpoint(saved) == path


def test_the_last_ones_and_the_best_stay(tmp_path):
    resume_worker.train(None, tmp_path / "c", "one", 1)
    recipe, accelerator = tiny_recipe(), Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(*((m := tiny_model(recipe)), make_optimizer(m, recipe.train.optimizer)))
    checkpoint.load_training(tmp_path / "c" / "step_00000001", accelerator, model, optimizer)
    for step, score in enumerate([0.1, 0.9, 0.3, 0.2, 0.4], start=1):
        checkpoint.save(
            tmp_path / "c",
            checkpoint.State(step, {}, {"score": score}),
            recipe,
            accelerator,
            model,
            optimizer,
            Average(model, None),
        )
    names = sorted(p.name for p in (tmp_path / "c").glob("step_*"))
    assert names == ["step_00000002", "step_00000004", "step_00000005"]
    assert (tmp_path / "c" / "best").read_text() == "step_00000002\n"
    assert (tmp_path / "c" / "latest").read_text() == "step_00000005\n"
