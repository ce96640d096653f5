"""The cases of `tools/bench.py` about converters: how fast text becomes numbers, and recordings become shards.

The files are made here, in the layouts of PAMAP2 (54 numbers a line), of BVH (21 joints) and of a CSV of one sensor.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_data import Work

DIFFERENT = 5000  # lines that differ; then they come again
BVH_HZ = 120
CSV_YAML = {
    "dataset": "bench", "licence": "made for the bench", "time": {"column": "t", "unit": "s"},
    "sensors": [{
        "placement": "left wrist",
        "acc": {"columns": ["ax", "ay", "az"], "unit": "m/s2"}, "gyro": {"columns": ["gx", "gy", "gz"], "unit": "rad/s"},
    }],
}  # fmt: skip


def prepare(settings: dict) -> None:
    """Writes the files of the cases, below the folders that the settings name."""
    if "pamap2" in settings:
        rng = np.random.default_rng(0)
        rest = [
            b" 4 " + b" ".join(b"%.6g" % x for x in rng.normal([0.0, *[30, 1, 9, 1, 1, 9, 1, 0, 0, 0, 5, 5, 5, 1, 0, 0, 0] * 3], 0.5))
            for _ in range(DIFFERENT)
        ]  # fmt: skip
        write_lines(
            Path(settings["pamap2"]) / "Protocol" / "subject101.dat", b"", lambda i: b"%.2f" % (8 + i / 100) + rest[i % DIFFERENT],
            settings["megabytes"],
        )  # fmt: skip
    if "bvh" in settings:
        head, motion = bvh_lines(settings["frames"])
        path = Path(settings["bvh"]) / "walk.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + b"\n".join(motion) + b"\n")
    if "csv" in settings:
        rows = [b",".join(b"%.6f" % x for x in row) for row in np.random.default_rng(0).normal(0, 3, (DIFFERENT, 6))]
        write_lines(
            Path(settings["csv"]) / "s1.csv", b"t,ax,ay,az,gx,gy,gz\n", lambda i: b"%.3f," % (i / 50) + rows[i % DIFFERENT],
            settings["megabytes"],
        )  # fmt: skip


def write_lines(path: Path, head: bytes, line: Callable[[int], bytes], megabytes: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(head)
        number = 0
        while file.tell() < megabytes * 1e6:
            file.write(b"\n".join(line(i) for i in range(number, number + 1000)) + b"\n")
            number += 1000


def bvh_lines(frames: int) -> tuple[bytes, list[bytes]]:
    """Hierarchy and motion of a person: 21 joints by the names of Bandai Namco's files, 66 channels."""
    arm, leg = ("Shoulder", "UpperArm", "LowerArm", "Hand"), ("UpperLeg", "LowerLeg", "Foot", "Toes")
    offsets = {"Spine": (0, 10, 0), "Chest": (0, 15, 0), "Neck": (0, 25, 0), "Head": (0, 10, 0)}
    chains = [("Hips", "Spine", "Chest", "Neck", "Head")]
    for side, sign in (("L", 1), ("R", -1)):
        chains += [("Chest", *(f"{part}_{side}" for part in arm)), ("Hips", *(f"{part}_{side}" for part in leg))]
        for part, offset in zip(arm, ((5, 15, 0), (15, 0, 0), (28, 0, 0), (25, 0, 0))):
            offsets[f"{part}_{side}"] = (sign * offset[0], *offset[1:])
        for part, offset in zip(leg, ((9, 0, 0), (0, -42, 0), (0, -40, 0), (0, -5, 12))):
            offsets[f"{part}_{side}"] = (sign * offset[0], *offset[1:])
    children: dict[str, list[str]] = {}
    for parent, name in (pair for chain in chains for pair in itertools.pairwise(chain)):
        children.setdefault(parent, []).append(name)
    lines = ["HIERARCHY"]

    def visit(name: str, depth: int) -> None:
        place = "Xposition Yposition Zposition " if depth == 0 else ""
        x, y, z = offsets.get(name, (0, 0, 0))
        lines.extend([f"{'JOINT' if depth else 'ROOT'} {name}", "{", f"OFFSET {x} {y} {z}"])
        lines.append(f"CHANNELS {3 if depth else 6} {place}Zrotation Yrotation Xrotation")
        for child in children.get(name, []):
            visit(child, depth + 1)
        if name not in children:
            lines.extend(["End Site", "{", "OFFSET 0 5 0", "}"])
        lines.append("}")

    visit("Hips", 0)
    joints = sum(line.startswith(("ROOT", "JOINT")) for line in lines)
    t = np.arange(min(frames, DIFFERENT))[:, None] / BVH_HZ
    values = 20 * np.sin(2 * np.pi * t * np.linspace(0.3, 1.0, 3 * joints + 3) + np.arange(3 * joints + 3))
    values[:, :3] = np.concatenate([2 * np.sin(t), 90 + np.sin(9 * t), 20 * np.sin(0.2 * t)], 1)
    rows = [b" ".join(b"%.6f" % x for x in row) for row in values]
    motion = [rows[i % len(rows)] for i in range(frames)]
    lines.extend(["MOTION", f"Frames: {frames}", f"Frame Time: {1 / BVH_HZ:.7f}", ""])
    return "\n".join(lines).encode(), motion


def pamap2_ours(settings: dict) -> Work:
    """Times, activities and the signals of three sensors, on the bench's number of threads."""
    from shards import pamap2

    recording, size = pamap2_file(settings)
    one_thread(settings)

    def work() -> float:
        pamap2.read(recording, settings["threads"] > 1)
        return size

    return work


def pamap2_pandas(settings: dict, plain: bool = False) -> Work:
    """pandas with its C parser: the same columns at the same precision, the file mapped; or, plain, as one writes it first."""
    import pandas as pd

    recording, size = pamap2_file(settings)
    names, types = pamap2_columns()
    path = recording.file.path

    def work() -> float:
        if plain:
            pd.read_csv(path, sep=" ", header=None)
        else:
            pd.read_csv(path, sep=" ", names=names, usecols=list(types), dtype=types, engine="c", memory_map=True)
        return size

    return work


def pamap2_columns() -> tuple[list[str], Any]:
    """Names of all columns, and the types of those that are used."""
    from shards import pamap2

    used = [f"c{first + channel}" for first in pamap2.BLOCKS for channel in pamap2.CHANNELS]
    types = {pamap2.TIME: "float64", pamap2.ACTIVITY: "float32", **dict.fromkeys(used, "float32")}
    return list(pamap2.LAYOUT.names or ()), types


def pamap2_file(settings: dict) -> tuple[Any, float]:
    """The recording, and its megabytes."""
    from shards import pamap2
    from shards.archives import SourceFile

    path = Path(settings["pamap2"]) / "Protocol" / "subject101.dat"
    return pamap2.Recording("Protocol", "101", "train", SourceFile(path.name, path)), path.stat().st_size / 1e6


def one_thread(settings: dict) -> None:
    import pyarrow as pa

    pa.set_cpu_count(settings["threads"])


def bvh_ours(settings: dict) -> Work:
    """Hierarchy and channels of a BVH file."""
    from shards.bvh_file import read_bvh

    data = (Path(settings["bvh"]) / "walk.bvh").read_bytes()

    def work() -> float:
        read_bvh(data)
        return settings["frames"]

    return work


def bvh_numpy(settings: dict) -> Work:
    """The channels alone, by np.loadtxt."""
    data = (Path(settings["bvh"]) / "walk.bvh").read_bytes()

    def work() -> float:
        np.loadtxt(io.BytesIO(data[data.index(b"Frame Time") :]), skiprows=1)
        return settings["frames"]

    return work


def whole(settings: dict, convert: Callable[[Path], dict]) -> Work:
    """A whole conversion into a new folder of shards, on disk; counts samples."""
    one_thread(settings)

    def work() -> float:
        out = Path(tempfile.mkdtemp(prefix="shards-", dir=settings["folder"]))
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                manifest = convert(out / "out")
        finally:
            shutil.rmtree(out)
        return sum(split["samples"] for split in manifest["splits"].values())

    return work


def pamap2_shards(settings: dict) -> Work:
    from shards import pamap2

    return whole(settings, lambda out: pamap2.run(Path(settings["pamap2"]), out))


def bvh_shards(settings: dict) -> Work:
    """With nine virtual sensors and a 2D pose."""
    from shards import bvh

    return whole(settings, lambda out: bvh.run(Path(settings["bvh"]), out, licence="made for the bench"))


def csv_shards(settings: dict) -> Work:
    from shards import csv

    config = csv.Table.model_validate(CSV_YAML)
    return whole(settings, lambda out: csv.run(Path(settings["csv"]), out, config=config))


def csv_pandas(settings: dict) -> Work:
    """pandas reads the file; nothing else."""
    import pandas as pd

    samples = csv_shards(settings)()
    path = Path(settings["csv"]) / "s1.csv"
    return lambda: len(pd.read_csv(path, dtype="float32")) and samples


def per_sample(settings: dict, parse: Callable[[dict], Work], shards: Callable[[dict], Work]) -> Work:
    """Only the parsing of what gives these samples."""
    samples, work = shards(settings)(), parse(settings)
    return lambda: work() and samples


VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    "pamap2-text": {
        "ours": pamap2_ours,
        "pandas": pamap2_pandas,
        "pandas, plain": lambda s: pamap2_pandas(s, plain=True),
    },
    "pamap2-shards": {
        "shards": pamap2_shards,
        "pandas, parse only": lambda s: per_sample(s, pamap2_pandas, pamap2_shards),
    },
    "bvh-text": {"ours": bvh_ours, "loadtxt": bvh_numpy},
    "bvh-shards": {"shards": bvh_shards, "loadtxt, parse only": lambda s: per_sample(s, bvh_numpy, bvh_shards)},
    "csv-shards": {"shards": csv_shards, "pandas, parse only": csv_pandas},
}
