"""Measures training steps on this machine's CPUs beside what `aura/train/cost.py` predicts: for `tools/scale.py --check`.

The machine's numbers come from small measurements of their own (a matrix product, the towers at two numbers of rows, an update,
gloo between as many processes, reading), none from the steps that are predicted. Processes that share cores, with each other and with
other work, wait for them: how long, Linux counts (schedstat), and the prediction is made for a machine that is slower by so much.

python tools/scale_check.py FILE    one rank of a measured run, started by the above
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from aura.data.augment import augment
from aura.data.reader import TrainReader
from aura.train import loop
from aura.train.build import build
from aura.train.cost import CPU_NODE, Layout, Link, Machine, Work, step, tower_flops
from aura.train.loss import compute_loss
from aura.train.optim import make_optimizer
from aura.train.recipe import Recipe, load_recipe, to_yaml

ROOT = Path(__file__).parents[1]
SKIPPED = 4  # first steps of a run, which warm up


def cpu_seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """The median CPU time of this process, after a call that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times[1:])


def calibrate(recipe: Recipe, work: Work, few: int = 8, many: int = 32) -> Machine:
    """This machine as a class of nodes, one thread a process."""
    torch.set_num_threads(1)
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    flops = 2 * 512**3 / cpu_seconds(lambda: a @ b, 20)
    model, tokenize, precomputed, _ = build(recipe, recipe.train.precision, None)
    data = recipe.data.model_copy(update={"workers": 0, "streams": many})
    reader = TrainReader(data, recipe.inputs, batch=many, tokenize=tokenize, precomputed=precomputed)
    batch = next(iter(reader))[0]
    optimizer = make_optimizer(model.train(), recipe.train.optimizer)

    def passes(rows: int) -> Callable[[], None]:
        part = batch.rows(range(rows))
        return lambda: compute_loss(model(augment(part, recipe.inputs)), part, recipe.objective)[0].backward()

    short, long = (cpu_seconds(passes(rows)) for rows in (few, many))
    updates = []
    for _ in range(5):  # after a pass, as in a step: the parameters are in no cache
        passes(few)()
        started = time.process_time()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        updates.append(time.process_time() - started)
    row = (long - short) / (many - few)
    efficiency = tower_flops(work, Layout(1, 1)) / row / flops
    return replace(
        CPU_NODE,
        name="this machine's CPUs",
        flops=flops,
        efficiency=efficiency,
        operation_s=max(0.0, short - few * row) / work.operations,
        loss_flops=flops,
        memory_bandwidth=64 * work.trained / statistics.median(updates),
    )


def link(ranks: int, small: int = 1024, large: int = 4 << 20) -> Link:
    """Between so many processes that compute in between: of all-reduces of few and of many bytes, the median."""
    if ranks == 1:
        return CPU_NODE.inside
    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(_time_all_reduce, (ranks, folder, small, large), nprocs=ranks)  # pyright: ignore[reportPrivateImportUsage]
        short, long = json.loads((Path(folder) / "times").read_text())
    traffic = 2 * (ranks - 1) / ranks * (large - small)
    return Link(bandwidth=traffic / max(1e-9, long - short), latency=short / (2 * (ranks - 1)))


def _time_all_reduce(rank: int, ranks: int, folder: str, small: int, large: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    matrix, found = torch.randn(256, 256), []
    for size in (small, large):
        tensor, times = torch.zeros(size // 4), []
        for _ in range(60):
            for _ in range(20):  # some milliseconds
                matrix @ matrix
            started = time.perf_counter()
            dist.all_reduce(tensor)
            times.append(time.perf_counter() - started)
        found.append(statistics.median(times[10:]))
    if rank == 0:
        (Path(folder) / "times").write_text(json.dumps(found))
    dist.destroy_process_group()


def stamp() -> tuple[float, float, float]:
    """Seconds: of the clock, those that this process's main thread ran, and those that it waited for a core."""
    ran, waited = Path("/proc/self/schedstat").read_text().split()[:2]
    return time.perf_counter(), int(ran) / 1e9, int(waited) / 1e9


def run_rank(file: Path) -> None:
    """Trains a recipe as `recipes/pretrain.py` does, and writes the stamps of its steps beside it."""
    stamps = []
    plain = loop.guarded_loss

    def stamped(*arguments: Any, **named: Any) -> Any:
        stamps.append(stamp())
        return plain(*arguments, **named)

    loop.guarded_loss = stamped
    loop.pretrain(load_recipe(file))
    file.with_name(f"rank-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(stamps))


def measure(recipe: Recipe, ranks: int, batch: int, steps: int) -> tuple[float, float]:
    """Median seconds of a step of a run, and by how much its processes were slowed down, all ranks together."""
    with tempfile.TemporaryDirectory() as folder:
        values = recipe.model_dump(mode="json")
        values |= {"run_dir": f"{folder}/run", "log": {"tensorboard": False}, "hub": None}
        values["data"] |= {"workers": 0, "eval": []}
        values["eval"] |= {"prompts": None}
        values["train"] |= {"batch": batch, "steps": steps, "warmup": 1}
        file = Path(folder) / "recipe.yaml"
        file.write_text(to_yaml(Recipe.model_validate(values)))
        command = [sys.executable]
        if ranks > 1:
            launcher = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "accelerate_config_cpu.yaml")]
            command += [*launcher, "--num_processes", str(ranks), "--main_process_port", "0"]
        done = subprocess.run(
            [*command, __file__, str(file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            raise RuntimeError(f"the run of {ranks} ranks ended with {done.returncode}:\n{done.stderr[-2000:]}")
        stamps = [json.loads((Path(folder) / f"rank-{rank}.json").read_text())[SKIPPED:] for rank in range(ranks)]
    times = [end[0] - begin[0] for begin, end in itertools.pairwise(stamps[0])]
    ran, waited = (sum(own[-1][i] - own[0][i] for own in stamps) for i in (1, 2))
    return statistics.median(times), 1 + waited / ran


def check(
    recipe: Recipe, work: Work, machine: Machine, ranks: list[int], batches: list[int], steps: int, repeats: int
) -> list[dict]:
    """Measured and predicted seconds of a step for each number of ranks and batch: medians over the repeats, taken in turns."""
    cases = [(r, b) for r in ranks for b in batches]
    found: dict[tuple[int, int], list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            found[case].append(measure(recipe, *case, steps))
            print(f"{case[0]} ranks, batch {case[1]}: {found[case][-1][0]:.3f} s", file=sys.stderr)
    lines, links = [], {count: link(count) for count in ranks}
    for (count, batch), measured in found.items():
        machine = replace(machine, inside=links[count])
        layout = Layout(count, batch, recipe.train.chunk, workers=0)
        predicted = [step(work, layout, replace(machine, slowdown=slow)) for _, slow in measured]
        seconds = [p["step"] for p in predicted]
        lines.append(
            {
                "ranks": count,
                "batch": batch,
                "slowdown": statistics.median(slow for _, slow in measured),
                "measured": statistics.median(s for s, _ in measured),
                "all_measured": [s for s, _ in measured],
                "predicted": statistics.median(seconds),
                "error": statistics.median(p / s - 1 for (s, _), p in zip(measured, seconds)),
                "parts": predicted[0],
                "link": vars(links[count]),
            }
        )
    return lines


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]))
