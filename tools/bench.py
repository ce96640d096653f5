"""Measures aura against what one would use instead, and prints the ratios beside their targets.

python tools/bench.py                         all cases: about 15 minutes on two quiet cores
python tools/bench.py read workers            some of them
python tools/bench.py loss --rounds 2         both sizes of the losses
python tools/bench.py --quick                 tiny sizes: shows that all of it runs, the numbers mean nothing
python tools/bench.py --json bench.json       the numbers as JSON too

Every variant runs in a process of its own. A first pass warms it up and measures the growth of its peak memory; then the
variants of a case take turns, and a ratio is the median over these rounds. Time is CPU time (user and system, of all
processes, one thread of arithmetic each), because it says more than wall time on a machine that does other work too.
A ratio is the peer's cost divided by ours: above 1, ours is cheaper.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import gc
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

CLIP_B32 = "ViT-B-32"
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class Job:
    """A case of `bench_cases.VARIANTS` at a size."""

    case: str
    settings: dict[str, Any]
    rounds: int | None = None


@dataclass(frozen=True)
class Comparison:
    """A line of the table.

    what       cpu: milliseconds of CPU a unit; memory: growth of the peak, MB; parameters
    aim        the ratio aimed at (peer / ours)
    aim_value  the largest value of ours aimed at, in the unit of `what`
    """

    job: str
    ours: str
    peer: str
    what: str = "cpu"
    unit: str = "sample"
    aim: float | None = None
    aim_value: float | None = None


COMPARISONS = (
    Comparison("read", "reader", "tar", aim=0.7, aim_value=0.20),
    Comparison("read", "records", "tar", aim=0.7),
    Comparison("read", "reader", "webdataset", aim=3.0),
    Comparison("read", "reader, shuffled", "webdataset, shuffled"),
    Comparison("workers", "reader", "webdataset", aim=7.0, aim_value=0.6),
    Comparison("workers", "reader", "webdataset, stacked", aim=1.5),
    Comparison("window", "reader", "webdataset", unit="window", aim=20.0, aim_value=0.15),
    Comparison("window", "reader, random", "webdataset", unit="window", aim=20.0, aim_value=0.15),
    Comparison("resume", "reader", "webdataset", unit="resume", aim=34.0, aim_value=20.0),
    Comparison("resume", "reader", "reader, at 10 %", unit="resume", aim=0.8),
    Comparison("stored", "embeddings", "video", unit="step"),
    Comparison("loss-8192", "lean", "ClipLoss", unit="step", aim=1 / 0.75),
    Comparison("loss-8192", "lean", "ClipLoss", "memory", aim=4.0),
    Comparison("loss-8192", "lean sigmoid", "SigLipLoss", unit="step"),
    Comparison("loss-8192", "lean sigmoid", "SigLipLoss", "memory"),
    Comparison("loss-16384", "lean", "ClipLoss", unit="step", aim=1 / 0.8),
    Comparison("loss-16384", "lean", "ClipLoss", "memory", aim=12.0),
    Comparison("imu", "ours", "senvt", unit="window", aim=4.0),
    Comparison("imu", "ours", "senvt", "memory", aim=4.0),
    Comparison("imu", "ours", "senvt", "parameters", aim_value=2.2e6),
    Comparison("imu", "ours", "mw2", unit="window"),
    Comparison("imu", "ours", "mw2", "memory"),
    Comparison("imu", "ours", "mw2", "parameters"),
    Comparison("fine", "aura_fine", "mobind", unit="window", aim=3.0),
    Comparison("fine", "aura_fine", "mobind", "memory"),
    Comparison("fine", "aura_fine", "mobind", "parameters"),
    Comparison("video", "ours", "PyAV", unit="clip", aim=2.0, aim_value=18.0),
    Comparison("sync", "FFT", "matrix", unit="pair", aim=6.0, aim_value=25.0),
    Comparison("sync", "FFT", "matrix", "memory", aim_value=20.0),
    Comparison("sync", "FFT, per overlap", "matrix", unit="pair"),
    Comparison("pamap2-text", "ours", "pandas", unit="MB", aim_value=10.0),  # 100 MB a CPU second
    Comparison("pamap2-text", "ours", "pandas", "memory", aim_value=75.0),  # 1.5 times the file
    Comparison("pamap2-text", "ours", "pandas, plain", unit="MB"),
    Comparison("pamap2-text", "ours", "pandas, plain", "memory"),
    Comparison("pamap2-shards", "shards", "pandas, parse only"),
    Comparison("pamap2-shards", "shards", "pandas, parse only", "memory"),
    Comparison("bvh-text", "ours", "loadtxt", unit="frame"),
    Comparison("bvh-shards", "shards", "loadtxt, parse only"),
    Comparison("bvh-shards", "shards", "loadtxt, parse only", "memory"),
    Comparison("csv-shards", "shards", "pandas, parse only"),
    Comparison("csv-shards", "shards", "pandas, parse only", "memory"),
)


def make_jobs(folder: Path, samples: int, quick: bool, threads: int) -> dict[str, Job]:
    """The cases at their sizes. What they read is below `folder`."""
    samples = 128 if quick else samples
    short = {"short": str(folder / "short"), "samples": samples}
    long = {"long": str(folder / "long"), "long_samples": 3 if quick else 40}
    clips = 1 if quick else 6
    names = {kind: [str(folder / f"{kind}-{i}.mp4") for i in range(clips)] for kind in ("ours", "default")}
    stored = {
        "video": str(folder / "video"),
        "stored": str(folder / "stored"),
        "model": TINY_CLIP if quick else CLIP_B32,
        "batch": 4 if quick else 8,
        "video_samples": 8 if quick else 16,
    }
    text = {"megabytes": 1 if quick else 50}
    bvh = {"bvh": str(folder / "bvh"), "frames": 600 if quick else 20_000}
    sizes = (64, 128) if quick else (8192, 16384)
    jobs = {
        "read": Job("read", short, rounds=15),  # short passes, which other work on the machine disturbs most
        "workers": Job("workers", short),
        "window": Job("window", long),
        "resume": Job("resume", short),
        "stored": Job("stored", stored),
        "loss-8192": Job("loss", {"rows": sizes[0]}),
        "loss-16384": Job("loss", {"rows": sizes[1]}, rounds=2),
        "imu": Job("imu", {"windows": 4 if quick else 64}),
        "fine": Job("fine", {"windows": 4 if quick else 64}),
        "video": Job("video", {**names, "clips": clips}),
        "sync": Job("sync", {"tokens": 300 if quick else 3000}),
        **{
            f"pamap2-{what}": Job(f"pamap2-{what}", text | {"pamap2": str(folder / "pamap2")})
            for what in ("text", "shards")
        },
        **{f"bvh-{what}": Job(f"bvh-{what}", bvh) for what in ("text", "shards")},
        "csv-shards": Job("csv-shards", text | {"csv": str(folder / "csv")}),
    }
    about = {"folder": str(folder), "threads": threads}
    return {name: Job(job.case, about | job.settings, job.rounds) for name, job in jobs.items()}


class Variant:
    """A process that measures one variant: its peak memory at once, its time whenever asked."""

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.times: list[dict[str, float]] = []
        command = [sys.executable, __file__, "--measure", job.case, name, json.dumps(job.settings)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment(job.settings))
        self.first = self._answer()

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        self.times.append(self._answer())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):  # libraries print too
                return json.loads(line[1:])
        raise RuntimeError(f"{self.job.case}, {self.name}: the process ended without an answer; its error is above")

    def values(self, what: str) -> list[float]:
        """Of all rounds; of the first pass, where there is but one."""
        if what == "memory":
            return [max(self.first["peak_mb"], 0.1)]
        if what == "parameters":
            return [self.first["parameters"]]
        return [1000 * time[f"{what}_s"] for time in self.times]


def environment(settings: dict) -> dict[str, str]:
    threads = str(settings["threads"])
    return os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""}


def run(job: Job, names: list[str], rounds: int, bar: tqdm) -> dict[str, Variant]:
    """Measures variants in turns, every other round in reverse, so that none is always the first."""
    variants: dict[str, Variant] = {}
    try:
        for name in names:
            variants[name] = Variant(job, name)
            bar.update()
        for i in range(rounds):
            for name in names if i % 2 == 0 else names[::-1]:
                variants[name].ask()
                bar.update()
    finally:
        for variant in variants.values():
            variant.close()
    return variants


def compare(comparison: Comparison, variants: dict[str, Variant]) -> dict[str, Any]:
    """A line of the table: medians over the rounds, and the median ratio of the rounds' pairs."""
    ours, peer = variants[comparison.ours], variants[comparison.peer]
    a, b = ours.values(comparison.what), peer.values(comparison.what)
    ratio, value = statistics.median(y / x for x, y in zip(a, b)), statistics.median(a)
    met = []
    if comparison.aim is not None:
        met.append(ratio >= comparison.aim)
    if comparison.aim_value is not None:
        met.append(value <= comparison.aim_value)
    found = {
        "case": comparison.job,
        "ours": comparison.ours,
        "peer": comparison.peer,
        "what": comparison.what,
        "unit": {"cpu": f"ms/{comparison.unit}", "memory": "MB", "parameters": ""}[comparison.what],
        "ours_value": value,
        "peer_value": statistics.median(b),
        "ratio": ratio,
        "ratios": [y / x for x, y in zip(a, b)],
        "aim": comparison.aim,
        "aim_value": comparison.aim_value,
        "met": all(met) if met else None,
    }
    if comparison.what == "cpu":
        wall = zip(ours.values("wall"), peer.values("wall"))
        found["wall_ratio"] = statistics.median(y / x for x, y in wall)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The lines as text."""
    head = f"{'case':11} {'ours':17} {'peer':21} {'of':10} {'ours':>9} {'peer':>9} {'ratio':>7} {'wall':>7}  target"
    lines = [head, "-" * len(head)]
    for row in rows:
        aims = [] if row["aim"] is None else [f"ratio {row['aim']:.3g}"]
        aims += [] if row["aim_value"] is None else [f"at most {number(row['aim_value'])} {row['unit']}".rstrip()]
        verdict = {True: ": met", False: ": NOT met", None: "-"}[row["met"]]
        lines.append(
            f"{row['case']:11} {row['ours']:17} {row['peer']:21} {row['unit'] or row['what']:10}"
            f" {number(row['ours_value']):>9} {number(row['peer_value']):>9} {row['ratio']:>7.2f}"
            f" {row['wall_ratio'] if 'wall_ratio' in row else float('nan'):>7.2f}  {', '.join(aims)}{verdict}"
        )
    return "\n".join(lines).replace("    nan", "       ")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine(threads: int) -> dict[str, Any]:
    """What the numbers were measured on."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    packages = ("torch", "numpy", "webdataset", "open-clip-torch", "av")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def prepare(jobs: list[Job]) -> None:
    """Writes what the jobs read, in a process of its own."""
    settings: dict[str, Any] = {}
    for job in jobs:
        settings |= job.settings
    command = [sys.executable, __file__, "--measure", "prepare", "", json.dumps(settings)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(settings))


# In the process of a variant


def measure(work: Callable[[], float]) -> dict[str, float]:
    """CPU and wall seconds a unit of doing the work once, and the growth of the peak memory in MB."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _memory_mb("VmRSS")
    wall, cpu = time.perf_counter(), _cpu_s()
    units = work()
    while multiprocessing.active_children():  # a child's time counts once it has ended
        time.sleep(0.001)
    return {
        "cpu_s": (_cpu_s() - cpu) / units,
        "wall_s": (time.perf_counter() - wall) / units,
        "peak_mb": max(0.0, _memory_mb("VmHWM") - before),
    }


def _cpu_s() -> float:
    """User and system time of this process and of all children that have ended."""
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory_mb(field: str) -> float:
    # Not ru_maxrss: a process begins with its parent's.
    found = [line for line in _lines("/proc/self/status") if line.startswith(f"{field}:")]
    if not found:
        raise RuntimeError("memory is measured on Linux only")
    return int(found[0].split()[1]) / 1024


def serve(case: str, variant: str, settings: dict) -> Iterator[dict[str, float]]:
    """First the peak memory, of a pass that warms up too; then a measurement for every line of the standard input."""
    import bench_cases
    import torch

    torch.set_num_threads(settings["threads"])
    work = bench_cases.VARIANTS[case][variant](settings)
    yield {"peak_mb": measure(work)["peak_mb"], "parameters": settings.get("parameters", 0)}
    for _ in sys.stdin:
        yield measure(work)


def child(case: str, variant: str, settings: dict) -> None:
    if case == "prepare":
        import bench_data

        bench_data.prepare(settings)
    else:
        for found in serve(case, variant, settings):
            print("@" + json.dumps(found), flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(dict.fromkeys(c.job for c in COMPARISONS))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"cases, by the start of their names: {', '.join(known)}"
    )
    parser.add_argument(
        "--rounds", type=int, help="measurements of every variant (5; of read 15, of the largest loss 2)"
    )
    parser.add_argument("--samples", type=int, default=1000, help="samples of the set that is read (1000)")
    parser.add_argument("--threads", type=int, default=1, help="threads of arithmetic (1)")
    parser.add_argument("--folder", type=Path, help="where the temporary folder of the data is made")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, two rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        case, variant, settings = options.measure
        child(case, variant, json.loads(settings))
        return 0
    chosen = [name for name in known if not options.names or any(name.startswith(n) for n in options.names)]
    for name in options.names:
        if not any(job.startswith(name) for job in known):
            parser.error(f"no case {name!r}; there are {', '.join(known)}")
    if (options.rounds is not None and options.rounds < 1) or options.samples < 128 or options.threads < 1:
        parser.error("--rounds and --threads must be at least 1, --samples at least 128")

    about, rows = machine(options.threads), []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        jobs = make_jobs(Path(folder), options.samples, options.quick, options.threads)
        names = {
            job: list(dict.fromkeys(v for c in COMPARISONS if c.job == job for v in (c.ours, c.peer))) for job in chosen
        }
        rounds = {job: options.rounds or (2 if options.quick else jobs[job].rounds or 5) for job in chosen}
        print("preparing", file=sys.stderr)
        prepare([jobs[job] for job in chosen])
        with tqdm(total=sum(len(names[job]) * (1 + rounds[job]) for job in chosen), desc="bench") as bar:
            for job in chosen:
                bar.set_postfix_str(job)
                variants = run(jobs[job], names[job], rounds[job], bar)
                rows += [compare(c, variants) for c in COMPARISONS if c.job == job]
    about["load at the end"] = os.getloadavg()[0]
    print(table(rows))
    print(f"{about['cpu']}, {about['cores']} cores, load {about['load']:.1f} to {about['load at the end']:.1f}")
    if options.json is not None:
        result = {"machine": about, "quick": options.quick, "samples": options.samples, "rounds": rounds, "rows": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
