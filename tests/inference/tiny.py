"""A model of random weights with all kinds of streams, for use."""

from collections.abc import Mapping

import torch

from aura.data.config import Window
from aura.inference.config import ModelConfig
from aura.inference.model import Aura
from aura.inference.release import build_module
from aura.train.recipe import Recipe
from tests.train.batches import CLIP, tiny_recipe

WORDS = CLIP | {"text_cfg": CLIP["text_cfg"] | {"vocab_size": 49408, "context_length": 16}}


def tiny_aura(window: Mapping = {}, recipe: Recipe | None = None) -> Aura:
    """The model of `tiny_recipe`, whose words are any, on windows of 2 s."""
    recipe = recipe or tiny_recipe()
    values = recipe.model_dump(mode="json", include={"inputs", "towers", "objective", "embedding", "name"})
    values["towers"]["text"]["model"] = WORDS
    values["towers"]["video"]["model"] = WORDS
    config = ModelConfig(**values, step=0, window=Window(seconds=2.0, **window))
    torch.manual_seed(0)
    return Aura(config, build_module(config, list(config.towers)))
