"""The cases of `tools/bench.py` about training steps: of stored embeddings, of towers for IMU, of fine alignment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench_data import Work, train_recipe


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


VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    "stored": {"embeddings": lambda s: train(s, True), "video": lambda s: train(s, False)},
    "imu": {name: lambda s, name=name: tower(s, name) for name in ("ours", "senvt", "mw2")},
    "fine": {name: lambda s, name=name: fine_step(s, name) for name in ("aura_fine", "mobind")},
}
