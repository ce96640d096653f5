"""The closed forms of a step's cost agree with what is counted of the real loss, and with what can be said by hand."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import aura.objectives.gather
from aura.objectives.config import Objective
from aura.train.cost import (
    BESIDE,
    CPU_NODE,
    GPU_NODE,
    Layout,
    Link,
    Work,
    all_gather,
    all_reduce,
    bottleneck,
    gather_traffic,
    gathered_bytes,
    gathered_columns,
    gradient_traffic,
    loss_flops,
    rank_bytes,
    reading,
    state_bytes,
    step,
    tower_flops,
)
from aura.train.loss import compute_loss
from tests.train.batches import random_batch, tiny_model, tiny_recipe

PAIRS = Objective(pairs=["imu:text", "mocap:text", "imu:mocap"])
WORK = Work(
    trained=30_000_000, frozen=150_000_000, forward=40e9, backward=5e9, operations=4000, again=1500, saved=5e6, kept=5e7,
    objective=PAIRS.model_copy(update={"lean": True}), width=512, row_bytes=6e5, read_bytes=2.5e5, read_s=0.012,
    openings=1 / 16,
)  # fmt: skip


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_the_loss_gathers_and_multiplies_what_is_said(monkeypatch, lean, loss):
    recipe = tiny_recipe()
    objective = PAIRS.model_copy(update={"lean": lean, "loss": loss})
    batch = random_batch(8, missing=False)
    output = tiny_model(recipe)(batch)
    asked = []
    monkeypatch.setattr(aura.objectives.gather, "gather", lambda x: asked.append(x) or x)
    # torch's counter passes over products that are added in place, as tiles are.
    added = {torch.ops.aten.addmm_: lambda c, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=added) as counter:
        sides = [output.pooled[stream] for stream in ("imu", "mocap", "text")]
        compute_loss(output, batch, objective)[0].backward(inputs=sides)
    assert [tuple(x.shape) for x in asked] == [(8, recipe.embedding)] * gathered_columns(objective)
    assert counter.get_total_flops() == loss_flops(objective, recipe.embedding, 8, 8)


def test_traffic_of_rings():
    machine = replace(GPU_NODE, node=4, inside=Link(100.0, 0.0), between=Link(10.0, 0.0))
    assert all_gather(80, 4, machine) == pytest.approx(0.6)  # three quarters of 80 bytes come in
    assert all_reduce(80, 4, machine) == pytest.approx(1.2)  # summed in parts, then gathered
    assert all_gather(80, 8, machine) == pytest.approx(7 / 8 * 80 / 40)  # four network cards of 10 a node
    assert all_gather(80, 1, machine) == all_reduce(80, 1, machine) == 0
    slow = replace(machine, inside=Link(1e30, 1.0), between=Link(1e30, 10.0))
    assert all_gather(80, 16, slow) == pytest.approx(3 * 1 + 3 * 10)  # around the ring of four nodes
    assert all_reduce(80, 16, slow) == pytest.approx(2 * (3 * 1 + 2 * 10))  # up a tree of four nodes, and down


def test_stages_of_zero_send_as_much_as_ddp_and_stage_3_more():
    still = replace(GPU_NODE, inside=Link(3e11, 0.0), between=Link(4e10, 0.0))
    ddp, two, three = (sum(gradient_traffic(WORK, Layout(64, 1024, stage=s), still)) for s in (0, 2, 3))
    assert ddp == pytest.approx(two)
    assert three == pytest.approx(two / 2 + 2 * all_gather(4 * 180e6, 64, still))
    assert gradient_traffic(WORK, Layout(1, 1024), still) == (0, 0)
    gloo = replace(still, scatter=False)
    assert sum(gradient_traffic(WORK, Layout(4, 64, stage=2), gloo)) == pytest.approx(1.5 * ddp * 3 / 4 * 64 / 63)


def test_memory_of_a_rank():
    states = state_bytes(100, 50, 4)
    assert states == {"DDP": 1800, "ZeRO-1": 1200, "ZeRO-2": 900, "ZeRO-3": 450}
    layout = Layout(ranks=4, batch=64, chunk=8, stage=2)
    parts = rank_bytes(WORK, layout)
    assert parts["states"] == 4 * 180e6 + 12 * 30e6 / 4
    assert parts["activations"] == 5e7 + 8 * 5e6
    assert parts["loss"] == 2 * 2 * 64 * 512 * 4  # two sides (text, mocap) and their gradients
    assert parts["batch"] == 16 * 6e5
    plain = gathered_bytes(PAIRS, 512, 64, 4)
    assert plain == 2 * 3 * 64 * 512 * 4 + 4 * 2 * 3 * 16 * 64 * 4


def test_chunks_cost_a_forward_pass_and_its_launches():
    assert Layout(2, 64).chunks == 1
    assert Layout(2, 64, chunk=10).chunks == 4
    assert Layout(128, 64, chunk=10).chunks == 1
    whole, chunked = Layout(1, 64), Layout(1, 64, chunk=16)
    assert tower_flops(WORK, chunked) - tower_flops(WORK, whole) == 64 * WORK.forward
    launched = replace(GPU_NODE, flops=1e30, jitter=0.0)
    assert step(WORK, whole, launched)["towers"] == pytest.approx(4000 * launched.operation_s)
    assert step(WORK, chunked, launched)["towers"] == pytest.approx(4 * 5500 * launched.operation_s)


def test_a_step_is_the_sum_of_its_parts_and_reading_hides_behind_it():
    parts = step(WORK, Layout(64, 8192, stage=2), GPU_NODE)
    assert parts["step"] == pytest.approx(sum(v for k, v in parts.items() if k not in BESIDE))
    assert parts["wait"] == pytest.approx(parts["read"] - (parts["step"] - parts["wait"]))
    assert bottleneck(parts) == "wait"
    stored = replace(WORK, read_s=1e-4, read_bytes=1e4)
    parts = step(stored, Layout(64, 8192, stage=2), GPU_NODE)
    assert parts["wait"] == 0
    assert bottleneck(parts) == "towers"
    inline = step(stored, Layout(1, 128, workers=0), GPU_NODE)
    assert inline["wait"] == inline["read"] > 0


def test_reading_is_bound_by_processes_or_by_the_storage_of_a_node():
    assert reading(WORK, Layout(8, 1024, workers=8), GPU_NODE) == pytest.approx(128 * (0.012 + 0.002 / 16) / 8)
    slow = replace(GPU_NODE, storage=1e7)
    assert reading(WORK, Layout(16, 2048, workers=8), slow) == pytest.approx(128 * 8 * 2.5e5 / 1e7)


def test_more_ranks_never_make_a_step_of_one_batch_longer_until_traffic_does():
    steps = [step(WORK, Layout(r, 1024), GPU_NODE)["step"] for r in (1, 2, 4, 8)]
    assert steps == sorted(steps, reverse=True)
    few = step(WORK, Layout(1024, 1024), GPU_NODE)
    # A row a rank: nothing but launches.
    assert few["towers"] == few["launching"] == WORK.operations * GPU_NODE.operation_s
    assert bottleneck(few) == "launches"
    assert bottleneck(step(WORK, Layout(1, 4096, workers=64), GPU_NODE)) == "towers"
    slowed = step(WORK, Layout(2, 64, workers=0), replace(CPU_NODE, slowdown=3.0, open_s=0.0))
    plain = step(WORK, Layout(2, 64, workers=0), replace(CPU_NODE, open_s=0.0))
    traffic = plain["gather"] + plain["gradients"]
    assert slowed["step"] - traffic == pytest.approx(3 * (plain["step"] - traffic))


def test_what_is_gathered_grows_with_the_batch_and_waits_for_each_rank():
    still = replace(GPU_NODE, inside=Link(1e9, 0.0))
    size, pairs = 1024 * 512 * 4, 3
    lean = gather_traffic(WORK, Layout(8, 1024), still)
    assert lean == pytest.approx(2 * 2 * 7 / 8 * size / 1e9 + 2 * pairs * 2 * 7 / 8 * 4096 / 1e9)
    plain = replace(WORK, objective=PAIRS)
    assert gather_traffic(plain, Layout(8, 1024), still) == pytest.approx(2 * 3 * 7 / 8 * size / 1e9)
    waiting = replace(GPU_NODE, inside=Link(1e30, 1.0))
    # 3 short gathers, 3 short sums; 3 embeddings there and back: each passes 7 ranks, a sum twice.
    assert gather_traffic(plain, Layout(8, 1024), waiting) == pytest.approx(7 * (3 + 3 * 2 + 3 + 3))
    assert gather_traffic(plain, Layout(1, 1024), waiting) == 0


def test_hidden_traffic_is_what_the_backward_pass_covers():
    slow = replace(GPU_NODE, inside=Link(1e9, 0.0))
    open_, hidden = (step(WORK, Layout(8, 1024), replace(slow, overlap=o)) for o in (0.0, 1.0))
    backward = open_["towers"] * 5 / 45
    assert open_["gradients"] - hidden["gradients"] == pytest.approx(min(backward, open_["gradients"]))
    torch.testing.assert_close(open_["gather"], hidden["gather"])
