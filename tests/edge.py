"""A tiny model with random weights, exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput, Window
from aura.export import Classes, export
from aura.inference.config import ModelConfig
from aura.inference.model import Aura
from aura.model import AuraModel
from aura.objectives.config import Objective
from aura.towers.imu import ImuTransformerConfig
from aura.towers.motion import MotionTransformerConfig

RATE, SECONDS, WIDTH = 20.0, 2.0, 12
STATISTICS = {"acc": [8.0, 10.5, 14.0], "gyro": [0.1, 2.0, 9.0]}
NAMES = ["walk", "sit", "climb stairs"]
WINDOW = Window(seconds=SECONDS, stride_s=0.5, min_cover=0.5)
SMALL = {"width": 16, "depth": 1, "heads": 2, "stem": 8}
TOWERS = {
    "imu": ImuTransformerConfig.model_validate(SMALL | {"gravity": True, "pool": "attention", "stem_norm": True}),
    "mocap": MotionTransformerConfig.model_validate(SMALL),
}
OBJECTIVE = Objective.model_validate({"pairs": {"imu:mocap": {"weight": 1}}})


def tiny_model() -> AuraModel:
    """An IMU tower with all of its channels and both of its branches, and a mocap tower beside it."""
    torch.manual_seed(0)
    model = AuraModel({"imu": imu_input(), "mocap": MocapInput()}, TOWERS, OBJECTIVE, WIDTH, SECONDS).eval()
    with torch.no_grad():  # at their start the weights are so small that an error would not show
        for parameter in model.towers["imu"].parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def embedded(model: AuraModel, windows: dict[str, torch.Tensor]) -> np.ndarray:
    """What the model itself gives of the graph's inputs."""
    stream = Stream(present=torch.ones(len(windows["values"]), dtype=torch.bool), **windows)
    return model.embed_stream("imu", stream).numpy()


def imu_input() -> ImuInput:
    return ImuInput.model_validate({"rate_hz": RATE, "sensors": 2})


def classes() -> Classes:
    vectors = np.random.default_rng(0).standard_normal((len(NAMES), WIDTH)).astype(np.float32)
    return Classes(NAMES, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 10.0)


def exported(out: Path, model: AuraModel, *, int8: bool = False) -> dict:
    return export(out, tiny_aura(model), classes(), int8=int8)


def tiny_aura(model: AuraModel, **inputs: ImuInput) -> Aura:
    """The model as one that was loaded."""
    streams = {"imu": imu_input(), "mocap": MocapInput()} | inputs
    config = ModelConfig(
        name="tiny",
        step=0,
        inputs=streams,
        towers=TOWERS,
        objective=OBJECTIVE,
        embedding=WIDTH,
        window=WINDOW,
        statistics={"imu": STATISTICS | {"rate_hz": [RATE, RATE, RATE]}},
    )
    return Aura(config, model)
