"""A run or a checkpoint, as the model that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from aura.data.files import sha256_of
from aura.inference.config import CONFIG, place_of
from aura.inference.model import Aura
from aura.model import AuraModel
from aura.tasks.zeroshot import Prompts
from aura.towers.stored import Tokenize, stored_towers
from aura.train.build import build
from aura.train.recipe import Recipe, load_recipe, make_recipe
from aura.train.rundir import read_environment
from aura.weights import RunError, find_checkpoint, read_state


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation, and what reads its data.

    tokenize       of its text tower, None without one
    precomputed    stream -> hash of the frozen tower whose stored embeddings are read
    prompts        the recipe's classes in words
    recipe_sha256  of the file of the recipe ("": not known, of a released model); git: the commit that trained it
    """

    checkpoint: Path
    step: int
    recipe: Recipe
    model: AuraModel
    tokenize: Tokenize | None
    precomputed: dict[str, str]
    prompts: Prompts | None
    recipe_sha256: str
    git: str

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_run(path: str | Path, device: str = "cpu") -> Loaded:
    """The model of a run (its latest checkpoint), of a checkpoint, or of a folder that `save_pretrained` wrote. RunError,
    RecipeError."""
    path = place_of(path)
    if (path / CONFIG).is_file():
        return _load_release(path, device)
    found = find_checkpoint(path)
    state = read_state(found)
    if state is None:
        raise RunError(f"{found} is not a whole checkpoint: files that its state.json names are missing")
    file = found / "recipe.yaml"
    recipe = load_recipe(file)
    model, tokenize, stored, prompts = build(recipe, recipe.train.precision, found)
    git = read_environment(found).get("git", "unknown")
    model = model.eval().to(torch.device(device))
    return Loaded(found, state["step"], recipe, model, tokenize, stored, prompts, sha256_of(file), git)


def _load_release(folder: Path, device: str) -> Loaded:
    model = Aura.from_pretrained(folder, device=device)
    config, rest = model.config, dict(model.config.training.get("recipe", {}))
    own = config.model_dump(mode="json", include={"name", "inputs", "towers", "objective", "embedding"})
    rest["data"] = rest.get("data", {}) | {"window": config.window.model_dump(mode="json")}
    rest["eval"] = rest.get("eval", {}) | {"prompts": None}
    recipe = make_recipe(rest | own | {"init": None}, str(folder / CONFIG))
    stored = stored_towers(recipe.inputs, model.module.towers, recipe.data.window, model.tokenize)
    digest, git = config.training.get("recipe_sha256", ""), config.training.get("git") or "unknown"
    return Loaded(folder, config.step, recipe, model.module, model.tokenize, stored, config.prompts, digest, git)
