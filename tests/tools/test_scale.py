"""The tool counts a recipe's work on its own model and shards, and predicts by it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aura.train.cost import GPU_NODE, Link
from aura.train.recipe import load_recipe
from tests.data.samples import write_set

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "tests" / "train" / "tiny.yaml")


@pytest.fixture(scope="module")
def scale():
    sys.path.insert(0, str(ROOT / "tools"))  # as for a script that lies there
    import scale

    yield scale
    sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scale") / "shards"
    write_set(folder, 40, streams=("imu", "mocap"), seconds=3.0)
    return [f"data.sources.0.path={folder}", f"data.eval.0.path={folder}"]


@pytest.fixture(scope="module")
def counted(scale, shards):
    from scale_work import count_work

    return count_work(load_recipe(TINY, shards))


def test_attention_on_a_cpu_is_counted(scale):
    from scale_work import flops

    q = torch.randn(2, 3, 5, 8, requires_grad=True)
    with flops() as counter:
        out = torch.nn.functional.scaled_dot_product_attention(q, q, q)
        assert counter.get_total_flops() == 2 * 2 * 2 * 3 * 5 * 5 * 8  # two products, of 5 x 8 by 8 x 5
        out.sum().backward()
    assert counter.get_total_flops() == 7 * 2 * 2 * 3 * 5 * 5 * 8  # five more, one of them the scores anew


def test_views_launch_nothing(scale):
    from scale_work import Operations

    x = torch.randn(4, 4)
    with Operations() as counter:
        (x.T.reshape(2, 8)[0] + 1).exp()
    assert counter.count == 3  # the copy that reshaping the transposed needs, the sum, the power


def test_towers_are_counted_on_rows_of_the_shards(counted):
    from scale_work import ROWS

    work = counted.work
    assert ROWS == 8
    # The text tower: its Linear layers and attention, at every one of 16 places; the class of a row is projected once.
    width, length = 16, 16
    block = (4 * width * width + 2 * 4 * width * width) * length * 2 + 2 * 2 * length * length * width
    forward, backward = counted.towers["text"]
    assert forward == pytest.approx(block + 2 * width * 16, rel=0.02)
    assert 1.7 * forward < backward < 2.4 * forward
    assert work.forward >= sum(forward for forward, _ in counted.towers.values())
    assert work.backward == sum(backward for _, backward in counted.towers.values())
    assert work.trained > 800_000  # of which most are the words of CLIP
    assert work.frozen == 0
    assert work.again < work.operations
    assert 0 < work.read_s < 0.1
    assert work.read_bytes > 10_000
    assert work.openings == 1 / 16


def test_tables_and_picture(scale, counted, shards, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scale, "count_work", lambda recipe: counted)
    out, found = tmp_path / "a.png", tmp_path / "a.json"
    words = ["--recipe", TINY, *shards, "--ranks", "1", "4", "8", "--rows", "32", "--stage", "0"]
    assert scale.main([*words, "--assume", "jitter=0", "node=4", "--out", str(out), "--json", str(found)]) == 0
    text = capsys.readouterr().out
    assert "assumed of 8 x H100/H200: node 4, flops 9.89e+14" in text
    assert "32 rows for each rank, DDP" in text
    assert out.read_bytes().startswith(b"\x89PNG")
    strong, weak = json.loads(found.read_text()).values()
    assert [line["batch"] for line in strong] == [16, 16, 16]
    assert [line["batch"] for line in weak] == [32, 128, 256]
    assert [line["slowest"] for line in weak] == [0, 0, 0]
    for line in [*strong, *weak]:
        assert line["rows_per_s"] == pytest.approx(line["batch"] / line["step"])
        assert line["memory"]["states"] == 16 * counted.work.trained


def test_assumptions_are_set_by_name(scale, counted):
    machine, work = scale.assume(
        GPU_NODE, counted.work, ["efficiency=0.5", "node=4", "ahead=0", "between.bandwidth=1e9", "read_s=0.25"]
    )
    assert (machine.efficiency, machine.node, machine.ahead) == (0.5, 4, False)
    assert machine.between == Link(1e9, GPU_NODE.between.latency)
    assert work.read_s == 0.25
    for word in ("efficency=1", "name=x", "inside.width=1", "efficiency"):
        with pytest.raises(ValueError, match=r"--assume "):
            scale.assume(GPU_NODE, work, [word])


def test_sensitivity_names_what_matters(scale, counted, shards):
    recipe = load_recipe(TINY, shards)
    slow = replace(GPU_NODE, step_s=1.0, jitter=0.0)  # a step is the loop of Python, nothing else matters
    assert scale.sensitivity(recipe, counted.work, slow, [(1, 16), (4, 16)], 0) == {
        "step_s": [[pytest.approx(0.5, abs=0.05), pytest.approx(2, abs=0.05)]] * 2
    }
    found = scale.sensitivity(recipe, replace(counted.work, read_s=1.0), GPU_NODE, [(1, 16)], 0)
    assert list(found) == ["read_s"]
    assert "+100%" in scale.sensitivity_table(found, [(1, 16)])


def test_what_cannot_run_is_refused(scale, counted, shards, capsys, monkeypatch):
    monkeypatch.setattr(scale, "count_work", lambda recipe: counted)
    assert scale.main(["--recipe", TINY, *shards, "--ranks", "16"]) == 2
    assert "16 ranks do not divide train.batch=16 and data.streams=8" in capsys.readouterr().err
    assert scale.main(["--recipe", TINY, *shards, "--assume", "speed=1"]) == 2
    assert "no such assumption; there are node, flops" in capsys.readouterr().err
    for wrong in ("efficiency=0", "between.bandwidth=0", "flops=nan", "jitter=-1"):
        assert scale.main(["--recipe", TINY, *shards, "--ranks", "2", "--assume", wrong]) == 2
        assert capsys.readouterr().err == f"scale: --assume {wrong}: must be above 0\n"
    assert scale.main(["--recipe", TINY, *shards, "--ranks", "2", "--assume", "jitter=0", "inside.latency=0"]) == 0


@pytest.mark.slow
def test_steps_are_measured_beside_the_prediction(scale, counted, shards):
    from scale_check import calibrate, check

    recipe = load_recipe(TINY, shards)
    lines = check(recipe, counted.work, calibrate(recipe, counted.work), [1, 2], [16], 8, 1)
    assert [line["ranks"] for line in lines] == [1, 2]
    for line in lines:
        assert line["slowdown"] >= 1
        assert 0.1 < line["predicted"] / line["measured"] < 10
