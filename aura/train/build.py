"""What a recipe asks for before its first step: the model, and a record of what it will learn from."""

from __future__ import annotations

from pathlib import Path

import torch

from aura.data.describe import FILE as FACTS
from aura.data.describe import describe
from aura.data.files import write_json
from aura.data.index import Split
from aura.inference.config import place_of
from aura.model import AuraModel
from aura.tasks.leaks import record
from aura.tasks.zeroshot import Prompts, load_prompts
from aura.towers import make_tokenizer
from aura.towers.stored import Tokenize, stored_towers
from aura.train.checkpoint import load_towers
from aura.train.recipe import Recipe, RecipeError
from aura.train.rundir import RunDir, RunError
from aura.weights import load_weights


def keep_facts(run_dir: RunDir, recipe: Recipe, sources: list[Split], prompts: Prompts | None) -> None:
    """Writes down what the run learns from: to find it again in an evaluation, and to say it of the model."""
    anew = not run_dir.begun()
    record(run_dir.path, sources, recipe.init and place_of(recipe.init), anew=anew)
    if anew or not (run_dir.path / FACTS).exists():
        facts = describe(sources, recipe.inputs) | {"prompts": prompts.model_dump() if prompts else None}
        write_json(run_dir.path / FACTS, facts)


def build(
    recipe: Recipe, precision: str, found: Path | None
) -> tuple[AuraModel, Tokenize | None, dict[str, str], Prompts | None]:
    """The model, with the weights of the checkpoint `found`; the tokenizer; hashes of the towers whose embeddings are
    stored; the classes in words. Raises RecipeError for what the recipe asks of them and cannot have."""
    torch.manual_seed(recipe.seed)
    try:
        model = AuraModel(
            recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds, precision
        )
        if found is not None:
            load_weights(found, model)
        elif recipe.init:
            load_towers(place_of(recipe.init), model)
        tokenize = make_tokenizer(recipe.towers)
        precomputed = stored_towers(recipe.inputs, model.towers, recipe.data.window, tokenize)
        return model, tokenize, precomputed, load_prompts(recipe.eval.prompts) if recipe.eval.prompts else None
    except RunError:  # of the checkpoint
        raise
    except (ValueError, RuntimeError) as error:
        raise RecipeError(f"recipe {recipe.name}: {error}") from error
