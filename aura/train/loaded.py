"""A run or a checkpoint, as the model that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from aura.model import AuraModel
from aura.tasks.zeroshot import Prompts
from aura.towers.stored import Tokenize
from aura.train.loop import build
from aura.train.recipe import Recipe, load_recipe
from aura.weights import RunError, find_checkpoint, read_state


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation, and what reads its data.

    tokenize       of its text tower, None without one
    precomputed    stream -> hash of the frozen tower whose stored embeddings are read
    prompts        the recipe's classes in words
    """

    checkpoint: Path
    step: int
    recipe: Recipe
    model: AuraModel
    tokenize: Tokenize | None
    precomputed: dict[str, str]
    prompts: Prompts | None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_run(path: str | Path, device: str = "cpu") -> Loaded:
    """The model of a run (its latest checkpoint) or of a checkpoint. RunError, RecipeError."""
    found = find_checkpoint(Path(path))
    state = read_state(found)
    if state is None:
        raise RunError(f"{found} is not a whole checkpoint: files that its state.json names are missing")
    recipe = load_recipe(found / "recipe.yaml")
    model, tokenize, precomputed, prompts = build(recipe, recipe.train.precision, found)
    return Loaded(found, state["step"], recipe, model.eval().to(torch.device(device)), tokenize, precomputed, prompts)
