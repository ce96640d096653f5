"""The recipe of a fine-tuning run: the towers of a checkpoint, trained on to recognise a label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aura.data.config import Source
from aura.data.index import open_split
from aura.objectives.config import streams_of
from aura.train.recipe import Recipe, RecipeError, apply_override, load_recipe, make_recipe
from aura.weights import find_checkpoint

STEPS, BATCH = 300, 64
LR_SHARE = 0.5  # of the checkpoint's learning rate, which suits the size of its towers
POOL = 4096  # windows of an evaluation during the run


def finetune_recipe(
    checkpoint: str | Path,
    train: Sequence[Source],
    held_out: Sequence[Source],
    label: str = "activity",
    streams: Sequence[str] = (),
    overrides: Sequence[str] = (),
    from_scratch: bool = False,
) -> Recipe:
    """The recipe that trains the towers of a run or checkpoint, all their weights, and a classifier for each of `streams`.

    Windows, inputs, towers and the optimiser's other settings are those of the checkpoint; the classes are the label's
    values in `train`. A tower keeps its tuning where it has adapters, or reads stored embeddings.

    streams         sides of `Classify.streams`; none: each stream of the checkpoint but text
    from_scratch    the same run without the checkpoint's weights

    Raises RunError without a checkpoint, ShardError for shards that are not there, and RecipeError for a stream that the
    checkpoint lacks, a label with under two classes, or an override that does not fit.
    """
    found = find_checkpoint(Path(checkpoint))
    recipe = load_recipe(found / "recipe.yaml")
    sides = list(streams) or [stream for stream, input in recipe.inputs.items() if input.kind != "text"]
    used = list(dict.fromkeys(stream for side in sides for stream in streams_of(side)))
    for stream in used:
        if stream not in recipe.towers:
            raise RecipeError(f"the checkpoint {found} has no tower of {stream!r}; it has {', '.join(recipe.towers)}")
    old = recipe.model_dump(mode="json")
    inputs, towers = ({stream: old[part][stream] for stream in used} for part in ("inputs", "towers"))
    for stream, tower in towers.items():
        tower.pop("moments", None)  # compared by pairs alone
        if tower["tuning"]["kind"] != "lora" and not inputs[stream].get("stored"):
            tower["tuning"] = "full"
    values = {
        "name": f"{recipe.name}-{'scratch' if from_scratch else 'finetune'}",
        "seed": recipe.seed,
        "init": None if from_scratch else str(checkpoint),
        "data": old["data"]
        | {"sources": [source.model_dump() for source in train], "eval": [source.model_dump() for source in held_out]},
        "inputs": inputs,
        "towers": towers,
        "embedding": recipe.embedding,
        "objective": {"classify": {"label": label, "classes": classes_of(label, train), "streams": sides}},
        "train": old["train"]
        | {"steps": STEPS, "batch": BATCH, "accumulate": 1}
        | {"optimizer": old["train"]["optimizer"] | {"lr": LR_SHARE * recipe.train.optimizer.lr}},
        "eval": {"every": STEPS // 3, "pool": POOL, "batch": recipe.eval.batch},
        "checkpoint": {"every": STEPS // 3},
        "log": old["log"],
    }
    del values["train"]["warmup"]
    for override in overrides:
        apply_override(values, override)
    settings = values["train"]
    if isinstance(settings, dict) and isinstance(settings.get("steps"), int):
        settings.setdefault("warmup", settings["steps"] // 10)
    return make_recipe(values, f"fine-tuning of {found}")


def classes_of(label: str, sources: Sequence[Source]) -> list[str]:
    """The values of a label in shards, by their index, in order. RecipeError where there are under two."""
    totals = [open_split(source.path, source.split).totals["labels"] for source in sources]
    classes = sorted({value for labels in totals for value in labels.get(label, {}) if value})
    if len(classes) < 2:
        where = ", ".join(f"{source.path}:{source.split}" for source in sources)
        there = sorted({name for labels in totals for name in labels})
        raise RecipeError(
            f"the label {label!r} has {f'only the class {classes[0]!r}' if classes else 'no class'} in {where}: a classifier"
            f" tells two or more apart; labels there: {', '.join(there) or 'none'}"
        )
    return classes
