"""Random batches with unequally missing streams, and a model of real towers that reads them."""

from collections.abc import Mapping

import torch

from aura.data.batch import Batch, Stream
from aura.model import AuraModel
from aura.train.recipe import Recipe, make_recipe

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
CLASSES = [f"word {i}" for i in range(5)]
# Other forms of the terms than those of `tiny_recipe`.
OTHER = {"twins": "positive", "fine": {"token_negatives": "batch", "local_negatives": "part"}}


def tiny_recipe(fine: Mapping = {}, optimizer: Mapping = {}, **objective) -> Recipe:
    return make_recipe(
        {
            "name": "tiny",
            "data": {"sources": [{"path": "x"}], "window": {"seconds": 2.0}, "streams": 8},
            "inputs": {
                "imu": {"rate_hz": 20, "sensors": 2},
                "mocap": {"rate_hz": 10},
                "pose2d": {"rate_hz": 10},
                "video": {"frames": 2, "size": 16},
                "text": {},
            },
            "towers": {
                "imu": {
                    "kind": "imu_transformer",
                    "width": 16,
                    "depth": 1,
                    "heads": 2,
                    "stem": 8,
                    "moments": {"width": 8, "heads": 2},
                },
                "mocap": {
                    "kind": "motion_transformer",
                    "width": 16,
                    "depth": 1,
                    "heads": 2,
                    "stem": 8,
                    "moments": {"width": 8, "heads": 2},
                },
                "pose2d": {"kind": "part_transformer", "width": 16, "depth": 1, "heads": 2, "stem": 8},
                "video": {"kind": "clip_video", "model": CLIP},
                "text": {"kind": "clip_text", "model": CLIP},
            },
            "embedding": 16,
            "objective": {
                "pairs": {
                    "imu:text": 1,
                    "imu:mocap": {"space": "moments", "within": 0.5},
                    "mocap:video": 0.5,
                    "imu+mocap:text": 0.5,
                    "imu:pose2d": 0.5,
                },
                "fine": {
                    "imu:pose2d": {
                        "late": 1,
                        "token": 1,
                        "local": 0.3,
                        "multi_positive": 0.2,
                        "masked": {"weight": 0.3, "heads": 2, "hidden": 16, "depth": 1},
                        "projection": 8,
                        **fine,
                    },
                },
                "classify": {"classes": CLASSES, "streams": ["imu", "pose2d", "mocap+video"], "label_smoothing": 0.1},
                **objective,
            },
            "train": {"steps": 10, "batch": 16, "optimizer": optimizer},
        }
    )


def classify_recipe() -> Recipe:
    """The recipe with nothing but classifiers: no pair, no projection, no temperature, as in fine-tuning."""
    values = tiny_recipe().model_dump(mode="json")
    for part in ("inputs", "towers"):
        values[part] = {stream: values[part][stream] for stream in ("imu", "mocap", "video")}
    for tower in values["towers"].values():
        tower.pop("moments", None)
    classify = {"classes": CLASSES, "streams": ["imu", "imu+mocap", "video"], "weight": 2.0}
    return make_recipe(values | {"objective": {"classify": classify}})


def series_recipe() -> Recipe:
    """A series of two channels beside sensors and words."""
    values = tiny_recipe().model_dump(mode="json")
    for part in ("inputs", "towers"):
        values[part] = {stream: values[part][stream] for stream in ("imu", "text")}
    values["towers"]["imu"].pop("moments")
    channels = {"channels": ["heart_rate bpm", "temperature degC"], "mean": [90, 33], "std": [30, 2]}
    values["inputs"]["series_heart"] = {"kind": "series", "rate_hz": 5, **channels}
    tower = {"width": 16, "depth": 1, "heads": 2, "stem": 8, "token_s": 0.4}
    values["towers"]["series_heart"] = {"kind": "series_transformer", **tower}
    return make_recipe(values | {"objective": {"pairs": ["imu:series_heart", "series_heart:text"]}})


def tiny_model(recipe: Recipe, seed: int = 0) -> AuraModel:
    torch.manual_seed(seed)
    model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds)
    for name, parameter in model.named_parameters():  # towers that start at zero in places would hide faults
        if parameter.requires_grad and "temperature" not in name:
            parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def random_batch(n: int = 16, seed: int = 0, missing: bool = True) -> Batch:
    """Rows whose streams are missing unequally: of every 8 rows, mocap lacks the last two, video the first five. Of a series channels
    lack values too, half of them one whole.

    Every seventh row has no label.
    """
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    row = torch.arange(n)
    has = {
        "imu": row % 8 != 3,
        "mocap": row % 8 < 6,
        "pose2d": row % 4 != 1,
        "video": row % 8 >= 5,
        "series_heart": row % 8 < 3,
        "text": row % 3 != 1,
    }
    if not missing:
        has = {name: torch.ones(n, dtype=torch.bool) for name in has}
    ones = torch.ones
    text = torch.randint(1, 60, (n, 8), generator=g)
    text[:, 5] = 63
    words = [f"word {i // 2 % 5}" for i in range(n)]
    measured = torch.rand(n, 10, 2, generator=g) < 0.7
    measured[::2, :, 1] = False
    streams = {
        "imu": Stream(
            5 * normal(n, 2, 40, 6),
            has["imu"],
            ones(n, 2, 40, dtype=torch.bool),
            sensor_mask=torch.stack([ones(n, dtype=torch.bool), row % 2 == 0], 1),
            channel_mask=ones(n, 2, 6, dtype=torch.bool),
            placement=torch.randint(12, 26, (n, 2), generator=g),
            shift_s=0.2 * torch.randint(0, 4, (n,), generator=g),
            reach_s=0.2 * torch.randint(3, 6, (n,), generator=g),
        ),
        "mocap": Stream(
            normal(n, 20, 20, 3), has["mocap"], ones(n, 20, dtype=torch.bool), joint_mask=ones(n, 20, dtype=torch.bool)
        ),
        "pose2d": Stream(
            torch.cat([50 * normal(n, 20, 17, 2), ones(n, 20, 17, 1)], -1),
            has["pose2d"],
            ones(n, 20, dtype=torch.bool),
            joint_mask=ones(n, 17, dtype=torch.bool),
            image_size=torch.full((n, 2), 100.0),
            shift_s=0.2 * torch.randint(0, 4, (n,), generator=g),
            reach_s=0.2 * torch.randint(3, 6, (n,), generator=g),
        ),
        "video": Stream(
            torch.randint(0, 255, (n, 2, 3, 16, 16), generator=g, dtype=torch.uint8),
            has["video"],
            ones(n, 2, dtype=torch.bool),
        ),
        "series_heart": Stream(
            torch.where(measured, torch.tensor([90.0, 33.0]) + 10 * normal(n, 10, 2), 0.0),
            has["series_heart"],
            measured,
        ),
        "text": Stream(text, has["text"], ones(n, 8, dtype=torch.bool)),
    }
    return Batch(
        streams=streams,
        row=row,
        start_s=torch.zeros(n, dtype=torch.float64) + (row % 5 == 0),
        span_s=torch.full((n,), 2.0, dtype=torch.float64),
        weight=ones(n),
        ids=[f"s{i}" for i in range(n)],
        recordings=[f"r{i // 2}" for i in range(n)],
        subjects=["a"] * n,
        groups=[""] * n,
        texts=words,
        labels=[{"activity": w} if i % 7 else {} for i, w in enumerate(words)],
    )
