"""The variants of every case of `tools/bench.py`.

A variant is a function of the settings that prepares its inputs and gives the work to measure: a function that does it
once and returns how many units (samples, windows, steps, clips) it did.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_convert
import numpy as np
from bench_data import READ_INPUTS, config_of, inputs_of, train_recipe

Work = Callable[[], float]
BATCH = 64


# Reading


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


# Training


def train(settings: dict, stored: bool) -> Work:
    """Steps of the same recipe: a frozen image tower, our IMU tower trained, reading in the same process."""
    import torch

    from aura.data.augment import augment
    from aura.data.reader import TrainReader
    from aura.model import AuraModel
    from aura.towers.stored import stored_towers
    from aura.train.loss import compute_loss
    from aura.train.optim import make_optimizer

    folder = settings["stored" if stored else "video"]
    recipe = train_recipe(folder, settings["model"], settings["batch"], stored)
    torch.manual_seed(0)
    model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds)
    precomputed = stored_towers(recipe.inputs, model.towers, recipe.data.window, None)
    optimizer = make_optimizer(model, recipe.train.optimizer)
    batches = iter(TrainReader(recipe.data, recipe.inputs, batch=recipe.train.batch, precomputed=precomputed))
    steps = 5 if stored else 1

    def work() -> float:
        for _ in range(steps):
            batch = augment(next(batches)[0], recipe.inputs)
            loss, _ = compute_loss(model(batch), batch, recipe.objective)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return steps

    return work


# Losses


def loss_inputs(settings: dict) -> tuple[Any, Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    n = settings["rows"]
    # Two views of the same rows: a batch as it is in training.
    a = torch.randn(n, 512, generator=generator)
    b = torch.nn.functional.normalize(a + 2 * torch.randn(n, 512, generator=generator), dim=-1)
    a = torch.nn.functional.normalize(a, dim=-1)
    return a.requires_grad_(), b.requires_grad_(), torch.tensor([1 / 0.07], requires_grad=True)


def loss_ours(settings: dict, loss: Any = "infonce") -> Work:
    import torch

    from aura.objectives.contrast import contrast
    from aura.objectives.rows import Rows

    a, b, scale = loss_inputs(settings)
    n = len(a)
    start = torch.zeros(n, dtype=torch.float64)
    rows = Rows.of([f"r{i}" for i in range(n)], start, start + 5)
    both = torch.ones(n, dtype=torch.bool)

    def work() -> float:
        a.grad = b.grad = scale.grad = None
        bias = torch.full((1,), -10.0, requires_grad=True)
        contrast(a, b, both, rows, rows, scale, bias=bias, loss=loss, lean=True).loss.backward()
        return 1

    return work


def loss_theirs(settings: dict, sigmoid: bool = False) -> Work:
    import torch
    from open_clip.loss import ClipLoss, SigLipLoss

    a, b, scale = loss_inputs(settings)
    bias = torch.full((1,), -10.0, requires_grad=True)
    function = SigLipLoss() if sigmoid else ClipLoss()

    def work() -> float:
        a.grad = b.grad = scale.grad = None
        (function(a, b, scale, bias) if sigmoid else function(a, b, scale)).backward()
        return 1

    return work


# Towers for IMU


def tower(settings: dict, name: str) -> Work:
    """One training step (forward and backward) on windows of 5 s at 200 Hz of one sensor, at the tower's defaults."""
    import torch

    from aura.data.batch import Stream
    from aura.data.config import ImuInput
    from aura.towers import build_tower
    from aura.towers.baselines.rnn import Mw2Config
    from aura.towers.baselines.senvt import SenvtConfig
    from aura.towers.imu import ImuTransformerConfig

    configs = {
        "ours": ImuTransformerConfig.model_validate({}),
        "senvt": SenvtConfig.model_validate({"residual": False, "pos_init": "uniform"}),
        "mw2": Mw2Config.model_validate({"gru_axis": "channel"}),
    }
    torch.manual_seed(0)
    made = build_tower(configs[name], ImuInput.model_validate({"rate_hz": 200}), 5.0)
    settings["parameters"] = sum(p.numel() for p in made.parameters())
    n = settings["windows"]
    ones = torch.ones(n, dtype=torch.bool)
    stream = Stream(
        values=torch.randn(n, 1, 1000, 6, generator=torch.Generator().manual_seed(0)),
        present=ones,
        valid=ones[:, None, None].expand(n, 1, 1000).clone(),
        sensor_mask=ones[:, None],
        channel_mask=ones[:, None, None].expand(n, 1, 6).clone(),
        placement=torch.ones(n, 1, dtype=torch.int64),
    )

    def work() -> float:
        made.zero_grad(set_to_none=True)
        made(stream).pooled.square().mean().backward()
        return n

    return work


def fine_step(settings: dict, recipe: str) -> Work:
    """A training step (forward, loss, backward) of a recipe on windows of 5 s of five sensors and a 2D pose, both at 20 Hz."""
    import torch

    from aura.data.batch import Batch, Stream
    from aura.model import AuraModel
    from aura.train.loss import compute_loss
    from aura.train.recipe import load_recipe

    at_20 = ["inputs.imu.rate_hz=20", "inputs.pose2d.rate_hz=20", "data.window.seconds=5.0"]
    r = load_recipe(Path(__file__).parents[1] / "recipes" / f"{recipe}.yaml", at_20)
    torch.manual_seed(0)
    model = AuraModel(r.inputs, r.towers, r.objective, r.embedding, r.data.window.seconds)
    settings["parameters"] = sum(p.numel() for p in model.parameters())
    n, joints = settings["windows"], 17 if r.inputs["pose2d"].skeleton == "coco17" else 20  # pyright: ignore
    ones = torch.ones(n, dtype=torch.bool)
    worn = torch.tensor([13, 14, 23, 24, 1]) if recipe == "aura_fine" else torch.tensor([11, 12, 21, 22, 1])
    imu = Stream(
        values=torch.randn(n, 5, 100, 6),
        present=ones,
        valid=ones[:, None, None].expand(n, 5, 100).clone(),
        sensor_mask=ones[:, None].expand(n, 5).clone(),
        channel_mask=ones[:, None, None].expand(n, 5, 6).clone(),
        placement=worn.expand(n, 5).clone(),
        orientation=torch.nn.functional.normalize(torch.randn(n, 5, 100, 4), dim=-1),
    )
    pose = Stream(
        values=torch.cat([500 + 100 * torch.randn(n, 100, joints, 2), torch.ones(n, 100, joints, 1)], -1),
        present=ones,
        valid=ones[:, None].expand(n, 100).clone(),
        joint_mask=ones[:, None].expand(n, joints).clone(),
        image_size=torch.full((n, 2), 1000.0),
    )
    words = [f"r{i}" for i in range(n)]
    numbers = torch.arange(n)
    seconds = torch.full((n,), 5.0, dtype=torch.float64)
    lists = (words, words, words, [""] * n, [""] * n, [{}] * n)
    batch = Batch({"imu": imu, "pose2d": pose}, numbers, 0 * seconds, seconds, torch.ones(n), *lists)

    def work() -> float:
        model.zero_grad(set_to_none=True)
        loss, _ = compute_loss(model(batch), batch, r.objective)
        loss.backward()
        return n

    return work


# Video


def video_ours(settings: dict) -> Work:
    """Eight frames of a 5 s clip that our converters wrote: 10 fps, no B frames, tuned for decoding."""
    from aura.data.video import decode_frames

    clips = [Path(path).read_bytes() for path in settings["ours"]]
    times = (np.arange(8) + 0.5) / 8 * 4.9

    def work() -> float:
        for clip in clips:
            decode_frames(clip, times)
        return len(clips)

    return work


def video_full(settings: dict) -> Work:
    """Eight frames of a 5 s clip as x264 writes it by default: PyAV decodes all of it on one thread, and keeps eight."""
    import av

    clips = [Path(path).read_bytes() for path in settings["default"]]
    wanted = {round(x) for x in (np.arange(8) + 0.5) / 8 * 149}

    def work() -> float:
        for clip in clips:
            with av.open(io.BytesIO(clip), "r") as container:
                container.streams.video[0].thread_type = "NONE"
                frames = enumerate(container.decode(video=0))
                np.stack([frame.to_ndarray(format="rgb24") for i, frame in frames if i in wanted])
        return len(clips)

    return work


# Synchronisation


def sync_tokens(settings: dict) -> tuple[Any, Any]:
    """Tokens (1, N, 256) of two recordings, which share what is 37 tokens later in the first: 10 minutes of 0.2 s."""
    import torch

    torch.manual_seed(0)
    x, y = torch.nn.functional.normalize(torch.randn(2, 1, settings["tokens"], 256), dim=-1)
    y[:, :-37] = x[:, 37:]
    return x, y


def sync_fft(settings: dict, centre: bool) -> Work:
    """The scores of all lags."""
    import torch

    from aura.tasks.sync import lag_curve

    x, y = sync_tokens(settings)
    seen = torch.ones(x.shape[:-1], dtype=torch.bool)
    lag_curve(
        x[:, :64], y[:, :64], seen[:, :64], seen[:, :64], 0.2, centre
    )  # the first FFT of a process loads its library

    def work() -> float:
        curve = lag_curve(x, y, seen, seen, 0.2, centre)
        overlapping = curve.overlap_s > curve.overlap_s.max() / 2
        assert abs(float(curve.lag_s[torch.where(overlapping, curve.score, -1.0).argmax()]) - 37 * 0.2) < 1e-6
        return 1

    return work


def sync_matrix(settings: dict) -> Work:
    """The whole matrix of similarities, summed over its diagonals."""
    import torch

    x, y = sync_tokens(settings)
    n = settings["tokens"]
    _ = x[0, :64] @ y[0, :64].T

    def work() -> float:
        lag = torch.arange(n)[:, None] - torch.arange(n) + n - 1
        sums = torch.zeros(2 * n - 1).index_add_(0, lag.flatten(), (x[0] @ y[0].T).flatten())
        assert int(sums.argmax()) == n - 1 + 37
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
    "stored": {"embeddings": lambda s: train(s, True), "video": lambda s: train(s, False)},
    "loss": {
        "lean": loss_ours,
        "ClipLoss": loss_theirs,
        "lean sigmoid": lambda s: loss_ours(s, "sigmoid"),
        "SigLipLoss": lambda s: loss_theirs(s, True),
    },
    "imu": {name: lambda s, name=name: tower(s, name) for name in ("ours", "senvt", "mw2")},
    "fine": {name: lambda s, name=name: fine_step(s, name) for name in ("aura_fine", "mobind")},
    "video": {"ours": video_ours, "PyAV": video_full},
    "sync": {
        "FFT": lambda s: sync_fft(s, False),
        "FFT, per overlap": lambda s: sync_fft(s, True),
        "matrix": sync_matrix,
    },
    **bench_convert.VARIANTS,
}
