"""A tiny model with random weights, exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput, Window
from aura.export import Classes, export
from aura.model import AuraModel
from aura.objectives.config import Objective
from aura.towers.imu import ImuTransformerConfig
from aura.towers.motion import MotionTransformerConfig

RATE, SECONDS, WIDTH = 20.0, 2.0, 12
NAMES = ["walk", "sit", "climb stairs"]
WINDOW = Window(seconds=SECONDS, stride_s=0.5, min_cover=0.5)


def tiny_model() -> AuraModel:
    """An IMU tower with all of its channels and both of its branches, and a mocap tower beside it."""
    torch.manual_seed(0)
    settings = {"width": 16, "depth": 1, "heads": 2, "stem": 8, "gravity": True, "pool": "attention", "stem_norm": True}
    towers = {
        "imu": ImuTransformerConfig.model_validate(settings),
        "mocap": MotionTransformerConfig.model_validate({"width": 16, "depth": 1, "heads": 2, "stem": 8}),
    }
    objective = Objective.model_validate({"pairs": {"imu:mocap": {"weight": 1}}})
    model = AuraModel({"imu": imu_input(), "mocap": MocapInput()}, towers, objective, WIDTH, SECONDS).eval()
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
    return export(out, model, "imu", imu_input(), WINDOW, classes(), {"name": "tiny"}, int8=int8)
