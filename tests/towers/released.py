"""Published files of weights without their values: names and shapes, and values by a formula."""

import itertools
import re
import zlib
from pathlib import Path

import numpy as np
import torch
import yaml


def names_and_shapes(model: str) -> dict[str, tuple[int, ...]]:
    """Of the published file of `unimts` or `imagebind`; `{2-4}` in a name stands for 2, 3 and 4."""
    listed = yaml.safe_load(Path(__file__).with_name(f"released_{model}.yaml").read_text())
    found = {}
    for pattern, shape in listed.items():
        pieces = re.split(r"\{(\d+)-(\d+)\}", pattern)
        ranges = [range(int(a), int(b) + 1) for a, b in zip(pieces[1::3], pieces[2::3])]
        for numbers in itertools.product(*ranges):
            texts = [*(f"{text}{number}" for text, number in zip(pieces[::3], numbers)), pieces[-1]]
            found["".join(texts)] = tuple(shape)
    return found


def filled(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values by the tensor's name and a hash of their index, of a size with which activations neither vanish nor grow."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("logit_scale"):
        return torch.full(shape, 1.5)
    place = np.sin(np.arange(np.prod(shape, dtype=int)) * 12.9898 + zlib.crc32(name.encode()) % 1000) * 43758.5453
    uniform = torch.from_numpy(2 * (place - np.floor(place)) - 1).float().reshape(shape)
    if name.endswith("running_var"):
        return 1 + 0.5 * uniform
    if "edge_importance" in name or (name.endswith("weight") and len(shape) == 1):
        return 1 + 0.2 * uniform
    if len(shape) == 1 or shape[0] == 1:
        return 0.2 * uniform
    return uniform * (3 / np.prod(shape[1:])) ** 0.5


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: filled(name, shape) for name, shape in shapes.items()}
