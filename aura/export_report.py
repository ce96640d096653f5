"""What the exported files of a model are worth: how far from its embeddings, how large, how fast."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aura.body.placements import PLACEMENTS
from aura.data.batch import Stream
from aura.data.config import ImuInput
from aura.model import AuraModel, run_tower
from aura.streaming import Edge

CHECKED = ((1, 1), (3, 2), (5, 4))  # windows and sensors; a graph is traced with others
RUNS, WARM = 200, 20  # of a latency
Arrays = dict[str, np.ndarray]


def random_windows(batch: int, sensors: int, count: int, *, whole: bool, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of `ImuExport`: noise about gravity, with gaps, sensors that are missing and sensors without a gyroscope."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, sensors, count, 6, generator=draw) * 3
    values[..., 2] += 9.81
    valid = torch.rand(batch, sensors, count, generator=draw) > 0.05
    valid[:, 1:] &= torch.rand(batch, sensors - 1, 1, generator=draw) > 0.3
    channels = torch.ones(batch, sensors, 6, dtype=torch.bool)
    channels[..., 3:] = torch.rand(batch, sensors, 1, generator=draw) > 0.3
    placement = torch.randint(0, len(PLACEMENTS), (batch, sensors), generator=draw)
    windows = {"values": values, "valid": valid, "placement": placement, "channel_mask": channels}
    return windows | ({"step_s": torch.full((batch, count), 0.03)} if whole else {})


def report(
    out: Path, model: AuraModel, stream: str, input: ImuInput, any_sensors: bool, parameters: int
) -> dict[str, Any]:
    """Of each file: bytes, largest difference from the model's embeddings at other numbers of windows and sensors than it was
    traced with, time of one window on one thread."""
    programs = programs_of(out)
    spec = next(iter(programs.values()))[0].spec
    shapes = CHECKED if any_sensors else [(batch, input.sensors) for batch, _ in CHECKED]
    windows = [random_windows(*shape, spec["items"], whole=spec["whole"], seed=1 + i) for i, shape in enumerate(shapes)]
    one = random_windows(1, input.sensors, spec["items"], whole=spec["whole"])
    one["valid"][:] = True
    found: dict[str, Any] = {
        "machine": {"cpu": cpu_name(), "threads": 1, "runs": RUNS, "torch": torch.__version__},
        "window": {
            "sensors": input.sensors,
            "items": spec["items"],
            "classes": len(next(iter(programs.values()))[0].names),
        },
        "torch": {"parameters": parameters},
    }
    found["torch"]["latency_ms"] = latency(lambda: embed(model, stream, one))
    for name, (edge, run) in programs.items():
        gaps = [float(np.abs(run(arrays(w)) - embed(model, stream, w).numpy()).max()) for w in windows]
        found[name] = {
            "bytes": spec["files"][name]["bytes"],
            "max_abs_error": max(gaps),
            "latency_ms": latency(partial(classify, edge, run, arrays(one))),
        }
    return found


def programs_of(out: Path) -> dict[str, tuple[Edge, Callable[[Arrays], np.ndarray]]]:
    """Each exported file as what reads it, and from arrays to embeddings."""
    edge = Edge(out)
    found: dict[str, tuple[Edge, Callable[[Arrays], np.ndarray]]] = {"imu.onnx": (edge, edge.embed)}
    if "imu.int8.onnx" in edge.spec["files"]:
        int8 = Edge(out, "imu.int8.onnx")
        found["imu.int8.onnx"] = int8, int8.embed
    program = torch.export.load(out / "imu.pt2").module()

    def run(windows: Arrays) -> np.ndarray:
        with torch.no_grad():
            return program(**{name: torch.from_numpy(windows[name]) for name in names}).numpy()

    names = [x["name"] for x in edge.spec["inputs"]]
    found["imu.pt2"] = edge, run
    return found


def embed(model: AuraModel, stream: str, windows: dict[str, Tensor]) -> Tensor:
    """The model's own embeddings (B, D), in float32: what exported files are compared with."""
    given: dict[str, Any] = {"present": torch.ones(len(windows["values"]), dtype=torch.bool), **windows}
    with torch.no_grad():
        output, _ = run_tower(model.towers[stream], Stream(**given), "no")
        return model.project(stream, output.pooled)


def classify(edge: Edge, run: Callable[[Arrays], np.ndarray], windows: Arrays) -> np.ndarray:
    return edge.probabilities(run(windows))


def arrays(windows: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in windows.items()}


def latency(run: Callable[[], object]) -> dict[str, float]:
    """Median and 95th percentile of the milliseconds of a call, on one thread of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for i in range(WARM + RUNS):
            start = time.perf_counter()
            run()
            if i >= WARM:
                times.append(1e3 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return {"median": round(median(times), 3), "p95": round(float(np.percentile(times, 95)), 3)}


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(found: dict[str, Any]) -> str:
    """A report as a table of the files, in Markdown; with their `accuracy` where it was measured."""
    accuracy: dict[str, Any] = found.get("accuracy", {})
    names = ["torch", *(name for name in found if name.startswith("imu."))]
    head = ["", "size, kB", "largest error of an embedding", "one window, ms: median", "p95"]
    rows: list[Sequence[str]] = [head + ([f"accuracy, n = {accuracy['n']}"] if accuracy else [])]
    for name in names:
        about = found[name]
        size, error = ("", "")
        if "bytes" in about:
            size, error = f"{about['bytes'] / 1000:.0f}", f"{about['max_abs_error']:.1e}"
        took = about["latency_ms"]
        row = [name, size, error, f"{took['median']:.2f}", f"{took['p95']:.2f}"]
        rows.append(row + ([f"{accuracy[name]:.4f}"] if accuracy else []))
    rows.insert(1, ["---"] * len(rows[0]))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    machine, window = found["machine"], found["window"]
    told = (
        f"\nOne window of {window['items']} items of {window['sensors']} sensors and {window['classes']} classes, one thread of"
        f" {machine['cpu']}, {machine['runs']} runs, torch {machine['torch']}. torch: the model itself, {found['torch']['parameters']}"
        " parameters. The error is that of random windows with gaps, missing sensors and missing gyroscopes.\n"
    )
    return "\n".join([*lines, told])
