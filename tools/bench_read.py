"""The cases of `tools/bench.py` about reading shards: whole samples, reading processes, windows, going on at a position."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_data import READ_INPUTS, Work, config_of, inputs_of

BATCH = 64


def read_ours(settings: dict, workers: int = 0) -> Work:
    """Every sample as a window, in batches, as evaluation reads them."""
    from aura.data.reader import EvalReader

    reader = EvalReader(config_of(settings["short"], workers), inputs_of(), batch=BATCH)
    return lambda: sum(int(batch.weight.sum()) for batch in reader)


def read_shuffled(settings: dict) -> Work:
    """The training reader: samples in shuffled order, random windows, as many rows as there are samples."""
    from aura.data.reader import TrainReader

    config = config_of(settings["short"], 0)

    def work() -> float:
        reader = TrainReader(config, inputs_of(), batch=BATCH)
        steps = len(reader.sources[0]) // BATCH
        for _, _ in zip(range(steps), reader):
            pass
        return steps * BATCH

    return work


def read_records(settings: dict) -> Work:
    """The index alone: KEY.json and the arrays of every sample, as plain tar reading gives them."""
    from aura.data.index import open_split

    split = open_split(settings["short"], "train")

    def work() -> float:
        for i in range(len(split)):
            record = split.record(i)
            _ = record.head["streams"], [record.array(name) for name in READ_INPUTS]
        return len(split)

    return work


def tars_of(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).glob("*.tar"))


def read_tar(settings: dict) -> Work:
    """The floor: tarfile, and np.frombuffer of every array behind its header; no JSON, no shapes, no windows."""
    tars = tars_of(settings["short"])

    def work() -> float:
        samples = 0
        for path in tars:
            with tarfile.open(path, "r|") as tar:
                for info in tar:
                    file = tar.extractfile(info)
                    data = file.read() if file is not None else b""
                    if info.name.endswith(".npy"):
                        np.frombuffer(data, np.float32, offset=10 + int.from_bytes(data[8:10], "little"))
                    else:
                        samples += 1
        return samples

    return work


def webdataset_of(folder: str, shuffle: int = 0) -> Any:
    from webdataset.compat import WebDataset

    dataset = WebDataset(tars_of(folder), shardshuffle=False, empty_check=False)
    return (dataset.shuffle(shuffle) if shuffle else dataset).decode()


def read_webdataset(settings: dict, shuffle: int = 0) -> Work:
    dataset = webdataset_of(settings["short"], shuffle)
    return lambda: sum(1 for _ in dataset)


def read_webdataset_workers(settings: dict, stacked: bool = False) -> Work:
    """Two reading processes: samples one at a time, as its guide shows, or stacked to batches where they are read."""
    import torch
    from torch.utils.data import DataLoader

    dataset = webdataset_of(settings["short"])
    if stacked:
        names = [f"{name}.npy" for name in READ_INPUTS]

        def stack(rows: list[dict]) -> dict:
            return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in names}

        dataset = dataset.batched(BATCH, collation_fn=stack, partial=True)

    def work() -> float:
        loader = DataLoader(dataset, batch_size=None, num_workers=2)
        return sum(len(item["imu.npy"]) if stacked else 1 for item in loader)

    return work


def windows_ours(settings: dict) -> Work:
    """All 5 s windows of 60 s samples with five sensors: only their bytes are read."""
    from aura.data.reader import EvalReader

    reader = EvalReader(config_of(settings["long"], 0), inputs_of(5), batch=BATCH)
    return lambda: sum(int(batch.weight.sum()) for batch in reader)


def windows_random(settings: dict) -> Work:
    """5 s at random places of 60 s samples in shuffled order, one of each, as training reads them."""
    from aura.data.reader import TrainReader

    config, inputs = config_of(settings["long"], 0), inputs_of(5)
    steps = -(-12 * settings["long_samples"] // BATCH)  # as many windows as the samples have one after another

    def work() -> float:
        for _, _ in zip(range(steps), TrainReader(config, inputs, batch=BATCH)):
            pass
        return steps * BATCH

    return work


def windows_webdataset(settings: dict) -> Work:
    """One window of each sample, which is read and decoded whole for it."""
    dataset = webdataset_of(settings["long"])

    def work() -> float:
        windows = 0
        for sample in dataset:
            _ = [np.ascontiguousarray(sample["imu.npy"][:, 2000:3000]), sample["mocap.npy"][200:300].copy()]
            _ = sample["pose2d.npy"][150:225].copy()
            windows += 1
        return windows

    return work


def resume_ours(settings: dict, place: float = 0.5) -> Work:
    """A reader made anew at a saved position, and its first sample."""
    from aura.data.reader import TrainReader

    config, inputs = config_of(settings["short"], 0), inputs_of()
    step = round(place * settings["samples"])
    streams = np.bincount(np.arange(step) % config.streams, minlength=config.streams)
    position = {"step": step, "counters": streams[:, None].tolist()}

    def work() -> float:
        for _ in range(20):
            next(iter(TrainReader(config, inputs, batch=1, position=position)))
        return 20

    return work


def resume_webdataset(settings: dict) -> Work:
    """It has no position: what was read before is read again."""

    def work() -> float:
        for i, _ in enumerate(webdataset_of(settings["short"])):
            if i == settings["samples"] // 2:
                break
        return 1

    return work


VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    "read": {
        "reader": read_ours,
        "records": read_records,
        "tar": read_tar,
        "webdataset": read_webdataset,
        "reader, shuffled": read_shuffled,
        "webdataset, shuffled": lambda s: read_webdataset(s, 1000),
    },
    "workers": {
        "reader": lambda s: read_ours(s, 2),
        "webdataset": read_webdataset_workers,
        "webdataset, stacked": lambda s: read_webdataset_workers(s, True),
    },
    "window": {"reader": windows_ours, "reader, random": windows_random, "webdataset": windows_webdataset},
    "resume": {
        "reader": resume_ours,
        "reader, at 10 %": lambda s: resume_ours(s, 0.1),
        "webdataset": resume_webdataset,
    },
}
