"""A recipe: everything that decides a run, read from YAML, changed on the command line, written back resolved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from aura.data.config import Config, DataConfig, Input, kind_of
from aura.data.faults import explain
from aura.objectives.config import Objective
from aura.towers import TowerConfig


class RecipeError(ValueError):
    """A recipe or an override that cannot be used; the message names the key and the remedy."""


class TowerOptimizer(Config):
    """How one stream's tower, projection and head of fine pairs are trained otherwise than the rest."""

    lr: float | None = Field(default=None, gt=0, description="learning rate; null: the recipe's")
    weight_decay: float | None = Field(default=None, ge=0, description="null: the recipe's")
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="each layer of the tower learns at this share of the rate of the one above it: pretrained weights near the"
        " input change less",
    )


class Optimizer(Config):
    name: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(
        default=0.05, ge=0, description="on matrices only; never on temperatures, biases and norms"
    )
    amsgrad: bool = False
    towers: dict[str, TowerOptimizer] = Field(default_factory=dict, description="by stream")


class Train(Config):
    steps: int = Field(gt=0, description="updates of the parameters")
    optimizer: Optimizer = Optimizer()
    batch: int = Field(gt=1, description="rows contrasted together, over all ranks")
    chunk: int | None = Field(
        default=None, gt=0, description="rows of one forward on a rank; changes memory and time, not the result"
    )
    accumulate: int = Field(
        default=1, ge=1, description="batches summed into one update: another loss than a bigger batch"
    )
    warmup: int = Field(default=0, ge=0, description="steps of linear warm-up")
    schedule: Literal["cosine", "constant"] = "cosine"
    min_lr: float = Field(default=0.01, ge=0, le=1, description="end of the cosine, as a share of the learning rate")
    clip: float | None = Field(default=1.0, gt=0, description="bound of the gradient's norm; null: none")
    precision: Literal["no", "bf16"] = Field(
        default="no", description="bf16: autocast around the towers; parameters stay float32"
    )
    compile: bool = Field(default=False, description="torch.compile of the towers")
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an average of the weights over the steps, such as 0.999, which is evaluated, saved and given away in"
        " their place; not with ZeRO-3; null: none",
    )


class Eval(Config):
    every: int = Field(default=0, ge=0, description="steps between evaluations; 0: at the end only")
    pool: int = Field(default=512, ge=2, description="windows of one retrieval gallery")
    batch: int = Field(default=64, ge=1, description="windows of one forward on a rank")
    prompts: str | None = Field(
        default=None,
        description="file of zero-shot classes in words, from here or beside the recipe; default: the label's own values",
    )


class Checkpoint(Config):
    every: int = Field(default=500, gt=0)
    keep: int = Field(default=2, ge=1, description="the last ones that stay; the best one stays too")
    best: str | None = Field(
        default=None,
        description="metric of the evaluation that decides the best; default: mean R@1, without pairs mean accuracy",
    )


class Log(Config):
    row_ids: bool = Field(default=False, description="write the ids of every row into metrics.jsonl")
    tensorboard: bool = True
    wandb: str | None = Field(default=None, description="a Weights & Biases project (extra `wandb`)")


class Hub(Config):
    repo: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", description="user/name on the Hugging Face Hub")
    push_every: int = Field(
        default=0, ge=0, description="steps between pushes, each of the next checkpoint; 0: at the end alone"
    )
    private: bool = Field(
        default=True, description="of a repository that the first push makes; a public one is refused"
    )


class Recipe(Config):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    run_dir: str = ""
    seed: int = Field(default=0, ge=0)
    init: str | None = Field(
        default=None,
        description="a run, a checkpoint or a released model (`aura-mini` too) whose towers, by stream, this run starts with",
    )
    data: DataConfig
    inputs: dict[str, Input] = Field(min_length=1)
    towers: dict[str, TowerConfig]
    embedding: int = Field(default=256, gt=0, description="width of the shared space")
    objective: Objective
    train: Train
    eval: Eval = Eval()
    checkpoint: Checkpoint = Checkpoint()
    log: Log = Log()
    hub: Hub | None = Field(
        default=None, description="where the run pushes its model to, while it goes on and at its end"
    )

    @model_validator(mode="before")
    @classmethod
    def _kinds_from_names(cls, values: object) -> object:
        """A stream's kind is the start of its name, and `run_dir` follows the recipe's name."""
        if isinstance(values, dict):
            values = dict(values)
            if isinstance(values.get("inputs"), dict):
                values["inputs"] = {
                    stream: {"kind": kind_of(str(stream)), **settings} if isinstance(settings, dict) else settings
                    for stream, settings in ((s, {} if v is None else v) for s, v in values["inputs"].items())
                }
            if not values.get("run_dir") and values.get("name"):
                values["run_dir"] = f"runs/{values['name']}"
        return values

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        needed = self.objective.streams
        for section, keys in (("inputs", self.inputs), ("towers", self.towers)):
            for stream in needed:
                if stream not in keys:
                    raise ValueError(f"objective names the stream {stream!r}, which {section} lacks: {sorted(keys)}")
            for stream in keys:
                if stream not in needed:
                    raise ValueError(f"{section}.{stream}: nothing in objective uses this stream")
        for stream in self.train.optimizer.towers:
            if stream not in self.towers:
                raise ValueError(
                    f"train.optimizer.towers.{stream}: there is no such tower; there are {sorted(self.towers)}"
                )
        window = self.data.window
        for stream in {stream for name in self.objective.fine for stream in name.split(":")} if window.shift_s else ():
            token_s = getattr(self.towers[stream], "token_s", window.shift_step_s)
            if abs(token_s - window.shift_step_s) > 1e-6:
                raise ValueError(
                    f"data.window.shift_step_s {window.shift_step_s:g} must be towers.{stream}.token_s {token_s:g}:"
                    " windows that are aligned by tokens are cut whole tokens apart"
                )
        if self.train.warmup >= self.train.steps:
            raise ValueError(f"train.warmup {self.train.warmup} is not below train.steps {self.train.steps}")
        return self


# What may differ when a run goes on: it changes where, how fast and how often, never the result.
FREE = ("run_dir", "data.workers", "train.chunk", "eval", "checkpoint", "log", "hub")


def load_recipe(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe and applies `key.sub=value` overrides (values are YAML). Raises `RecipeError`."""
    path = Path(path)
    if not path.is_file():
        beside = [*path.parent.glob("*.yaml"), *Path("recipes").glob("*.yaml")]
        there = sorted({str(p) for p in beside if not p.name.startswith("accelerate_config")})
        raise RecipeError(f"no recipe at {path}" + (f"; there are {', '.join(there)}" if there else ""))
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also of text that is not UTF-8, of a 31st of June
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, found {type(values).__name__}")
    for override in overrides:
        apply_override(values, override)
    evaluation = values.get("eval")
    if isinstance(evaluation, dict) and isinstance(evaluation.get("prompts"), str):
        prompts = Path(evaluation["prompts"])
        if not prompts.exists() and (path.parent / prompts).exists():
            values["eval"] = evaluation | {"prompts": str(path.parent / prompts)}
    return make_recipe(values, str(path))


def apply_override(values: dict[str, Any], override: str) -> None:
    """Sets `key.sub=value` in nested `values`; numbers in a key index lists (`data.sources.0.path=...`)."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r}: write key.sub=value, such as train.steps=100")
    try:
        value = yaml.safe_load(text) if text else ""
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"override {override!r}: the value is not YAML: {error}") from error
    *parents, last = key.split(".")
    place: Any = values
    for i, name in enumerate(parents):
        if isinstance(place, list):
            place = place[_list_index(place, name, key)]
        else:
            if place.get(name) is None:
                place[name] = {}
            place = place[name]
        if not isinstance(place, dict | list):
            raise RecipeError(f"override {override!r}: {'.'.join(parents[: i + 1])} is a value, not a section")
    if isinstance(place, list):
        place[_list_index(place, last, key)] = value
    else:
        place[last] = value


def _list_index(place: list, name: str, key: str) -> int:
    if not name.isdigit() or int(name) >= len(place):
        raise RecipeError(f"override {key}: {name!r} is no place in a list of {len(place)} (counted from 0)")
    return int(name)


def make_recipe(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """A checked recipe from nested values. Raises `RecipeError` with one line per fault."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [explain(fault, Recipe) for fault in error.errors()]
        raise RecipeError(f"{where}:\n  " + "\n  ".join(lines)) from None


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe, every default in it; reading it back gives an equal recipe."""
    return yaml.safe_dump(TypeAdapter(Recipe).dump_python(recipe, mode="json"), sort_keys=False)


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Keys that decide the result and differ between two recipes, with both values."""

    def flat(value: Any, key: str, out: dict[str, Any]) -> dict[str, Any]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
        if items is None or not value:
            out[key] = value
        else:
            for name, inner in items:
                flat(inner, f"{key}.{name}" if key else str(name), out)
        return out

    a, b = (flat(recipe.model_dump(mode="json"), "", {}) for recipe in (old, new))
    free = lambda key: any(key == f or key.startswith(f + ".") for f in FREE)  # noqa: E731
    changed = [key for key in {**a, **b} if not free(key) and a.get(key) != b.get(key)]
    return [f"{key}: {a.get(key)} there, {b.get(key)} here" for key in changed]
