"""Turns the published weights of another model into a checkpoint that recipes/evaluate.py reads like any other.

python tools/import_checkpoint.py unimts UniMTS.pth --out runs/unimts
python tools/import_checkpoint.py imagebind imagebind_huge.pth --out runs/imagebind --streams imu text
python tools/import_checkpoint.py unimts UniMTS.pth --out runs/unimts_5s --windows-of runs/ours   for recipes/compare.py

recipes/outside/NAME.yaml says which towers, where the weights are from and under which licence; key=value changes it, as in
training: inputs.imu='{rate_hz: 20, placements: [right wrist]}' for one sensor. Only tensors are read from the file; one that is
missing, left over or of another shape is an error that names it. What these models were trained on is not known by people or
recordings: the run says so, and every evaluation repeats it.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from aura.data.files import sha256_of, write_json
from aura.model import AuraModel
from aura.objectives.config import streams_of
from aura.tasks.leaks import record_unknown
from aura.towers.outside import imagebind, unimts
from aura.towers.outside.released import Release, Weights, read_weights, tower_weights
from aura.train.checkpoint import write_weights
from aura.train.recipe import Recipe, load_recipe, make_recipe, to_yaml
from aura.train.rundir import RunError, write_atomic
from aura.weights import find_checkpoint, stream_modules

RELEASES = {"unimts": unimts.RELEASE, "imagebind": imagebind.RELEASE}
RECIPES = Path(__file__).parents[1] / "recipes" / "outside"


def import_checkpoint(release: Release, file: Path, recipe: Recipe, out: Path) -> Path:
    """Writes a run directory with one checkpoint, and gives the checkpoint. ValueError for a file that does not fit."""
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: name another folder, or delete it")
    weights = read_weights(file)
    with torch.device("meta"):  # names and shapes alone
        model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds)
    towers: dict[str, Weights] = {}
    for stream in model.towers:
        parts = {part: module.state_dict() for part, module in stream_modules(model, stream).items()}
        if any(tensors for part, tensors in parts.items() if part != "tower"):
            raise ValueError(
                f"towers.{stream} has weights beside its tower, which the file lacks: set projection: none"
            )
        towers[stream] = parts["tower"]
    found = tower_weights(release, weights, towers)
    stored = {f"towers/{s}": {f"tower.{name}": t for name, t in tensors.items()} for s, tensors in found.items()}
    stored["shared"] = {"log_scale": log_scales(release, weights, recipe)}
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "recipe.yaml", to_yaml(recipe))
    record_unknown(out, f"what the weights were trained on ({release.trained_on})")
    write_json(out / "environment.json", {"imported": {"file": file.name, "sha256": sha256_of(file)}})
    return write_weights(out / "checkpoints", recipe, stored)


def log_scales(release: Release, weights: Weights, recipe: Recipe) -> Tensor:
    """Logarithm of what each pair's cosines were multiplied by; the recipe's own where the release has no such pair."""
    try:
        known = release.scales(weights)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing: the scale of the similarities") from error
    objective = recipe.objective
    values = [math.log(known[p]) if p in known else own for p, own in zip(objective.scales, objective.log_scale_init)]
    return torch.tensor(values, dtype=torch.float32)


def outside_recipe(
    name: str, streams: Sequence[str] = (), windows_of: Path | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """recipes/outside/NAME.yaml with these streams alone, and with the windows of another run. RecipeError, RunError."""
    recipe = load_recipe(RECIPES / f"{name}.yaml", list(overrides))
    values = recipe.model_dump(mode="json")
    if streams:
        unknown = sorted(set(streams) - set(recipe.towers))
        if unknown:
            raise ValueError(f"--streams: {name} has no {', '.join(unknown)}; it has {', '.join(recipe.towers)}")
        for section in ("inputs", "towers"):
            values[section] = {stream: values[section][stream] for stream in values[section] if stream in streams}
        pairs = values["objective"]["pairs"]
        values["objective"]["pairs"] = {p: pair for p, pair in pairs.items() if set(streams_of(p)) <= set(streams)}
    if windows_of is not None:
        values["data"]["window"] = load_recipe(find_checkpoint(windows_of) / "recipe.yaml").data.window.model_dump()
    return make_recipe(values, f"recipes/outside/{name}.yaml")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", choices=RELEASES)
    add("weights", type=Path, help="the published file")
    add("overrides", nargs="*", metavar="key=value", help="changes of the recipe")
    add("--out", required=True, type=Path, help="run directory to write")
    add("--streams", nargs="+", default=[], help="towers to import (default: all of the recipe)")
    add("--windows-of", type=Path, metavar="RUN", help="cut windows as that run or checkpoint does")
    options = parser.parse_intermixed_args(arguments)
    # What follows --streams is read as its values, overrides too.
    streams = [word for word in options.streams if "=" not in word]
    overrides = options.overrides + [word for word in options.streams if "=" in word]
    try:
        recipe = outside_recipe(options.model, streams, options.windows_of, overrides)
        found = import_checkpoint(RELEASES[options.model], options.weights, recipe, options.out)
    except (ValueError, RunError, OSError, SafetensorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {found}; evaluate it with python recipes/evaluate.py --checkpoint {options.out} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
