"""config.json of a released model: all that is needed to build it, to read recordings as in training, and to say where it is
from."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import aura
from aura import hub
from aura.data.config import KINDS, Config, Input, Window
from aura.data.describe import FILE as FACTS
from aura.data.faults import explain
from aura.data.files import sha256_of
from aura.hub import FORMAT, wanted_streams
from aura.objectives.config import Objective
from aura.tasks.zeroshot import Prompts, load_prompts
from aura.towers import TowerConfig
from aura.towers.released import TOKENIZER, unsafe
from aura.weights import RunError

CONFIG = "config.json"
OWN = ("inputs", "towers", "objective", "embedding", "name")  # keys of a recipe that stand in the configuration itself
SHOWN = 3  # faults of a file
BUNDLED = {"aura-mini": Path(aura.__file__).parent / "mini"}  # models that come with the library
# Of the evaluation in training.
TOLD = re.compile(r"retrieval/.+(?<!chance)/(R@1|chance|pool)|(zeroshot|classify)/.+(?<!chance)/(accuracy|chance|n)")
NAME = re.compile(rf"({'|'.join(KINDS)})(_[a-z0-9_]+)?")


class Referenced(Config):
    """Weights that were not trained here and are not in the folder: where they are from, and a hash that they must have."""

    source: str
    revision: str = ""
    sha256: str


class _Told(BaseModel):
    """What a model's card reads of its training, whatever else stands there: it may be a stranger's."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Source(_Told):
    name: str
    split: str = ""
    licences: list[str] = []
    samples: int | None = None
    hours: float | None = None
    subjects: int | None = None
    streams: list[str] = []


class _Evaluated(_Told):
    path: str


class _Data(_Told):
    eval: list[_Evaluated] = []


class _Recipe(_Told):
    data: _Data = _Data()


class _Training(_Told):
    recipe: _Recipe = _Recipe()
    recipe_sha256: str = ""
    git: str | None = None
    evaluation: dict[str, float] = {}
    datasets: list[_Source] = []
    unknown: str = ""
    began_with: dict[str, str] = {}


class ModelConfig(Config):
    """What config.json holds.

    version      of aura that wrote it
    precision    of the towers in training: `no` or `bf16` (autocast)
    referenced   stream -> the frozen weights of its tower that are not in the folder
    phrases      texts whose embeddings are in phrases.safetensors, row by row
    statistics   stream -> what its signals look like in training, see `aura.data.describe`
    training     recipe: what else of the recipe; recipe_sha256: of its file, which tells one run from another; git;
                 evaluation: `TOLD` of the metrics that the run itself measured at this step;
                 datasets, see `aura.data.describe`; unknown: why these are missing
    """

    format: Literal["aura-model/1"] = FORMAT
    library: Literal["aura"] = "aura"
    version: str = aura.__version__
    name: str
    step: int = Field(ge=0)
    inputs: dict[str, Input] = Field(min_length=1)
    towers: dict[str, TowerConfig]
    objective: Objective
    embedding: int = Field(gt=0)
    window: Window
    precision: Literal["no", "bf16"] = "no"
    referenced: dict[str, Referenced] = Field(default_factory=dict)
    prompts: Prompts | None = None
    phrases: tuple[str, ...] = ()
    statistics: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        try:
            _Training.model_validate(self.training)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(f"training.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        for stream in (*self.inputs, *self.towers):
            if not NAME.fullmatch(stream):
                raise ValueError(f"{stream!r} is no name of a stream")
        if missing := sorted(self.towers.keys() - self.inputs.keys()):
            raise ValueError(f"towers of {', '.join(missing)} have no inputs")
        return self

    def streams_of(self, modalities: Sequence[str] | None) -> list[str]:
        """Streams of the model that are of these names or kinds (`video` is every stream of video); None: all, but for a text
        whose package is not installed: the stored phrases stand for it. ValueError for what the model lacks."""
        if modalities is None:
            return [name for name in self.towers if name != "text" or not self.phrases or not self.lacks]
        return wanted_streams(self.towers, modalities, self.name)

    @property
    def lacks(self) -> str:
        """The package that the tower of text needs and that is not installed; "": it has what it needs."""
        model = getattr(self.towers.get("text"), "model", "")
        package = model.removeprefix("package:").partition("/")[0] if str(model).startswith("package:") else ""
        return package if package and importlib.util.find_spec(package) is None else ""


def place_of(path: str | Path) -> Path:
    """The folder that is meant: of that name, else of a model that comes with the library."""
    folder = Path(path).expanduser()
    return folder if folder.exists() else BUNDLED.get(str(path), folder)


def read_config(folder: Path) -> ModelConfig:
    """config.json of a released model. RunError where it is none, of a version that is not known here, or damaged."""
    file = folder / CONFIG
    try:
        values = hub.read_config(file, str(folder))
    except hub.HubError as error:
        raise RunError(str(error)) from error
    config = check_config(values, str(file))
    for stream, tower in config.towers.items():
        if what := unsafe(tower):
            raise RunError(f"{file}: towers.{stream}.{what}: no model that is given away needs that, it is not loaded")
    # The tokenizer that the folder brings, by its place here.
    brought = {n: t for n, t in config.towers.items() if getattr(t, "tokenizer", None) == TOKENIZER}
    placed = {n: t.model_copy(update={"tokenizer": str(folder / TOKENIZER)}) for n, t in brought.items()}
    return config.model_copy(update={"towers": config.towers | placed}) if placed else config


def check_config(values: Mapping[str, Any], where: str) -> ModelConfig:
    """The configuration of a model from the content of its file."""
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        found = [explain(fault, ModelConfig) for fault in error.errors()]
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise RunError(
            f"{where}, written by aura {values.get('version', '?')}, cannot be used by aura {aura.__version__}:"
            f" {'; '.join(found[:SHOWN])}{more}"
        ) from error


def config_of_checkpoint(checkpoint: Path, step: int, metrics: Mapping[str, float]) -> ModelConfig:
    """The configuration of a model in training, from its checkpoint and what its run keeps beside; metrics: of the run's own
    evaluation at this step, if there was one. RunError."""
    file = checkpoint / "recipe.yaml"
    try:
        recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
        rest = {key: value for key, value in recipe.items() if key not in OWN}
        data, run = rest["data"], checkpoint.parent.parent
        values = {
            **{key: recipe[key] for key in OWN},
            "step": step,
            "window": data["window"],
            "precision": rest["train"]["precision"],
        }
        prompts = rest.get("eval", {}).get("prompts")
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is no recipe of a run: {type(error).__name__} {error}") from error
    facts = _read_json(run / FACTS)
    training: dict[str, Any] = {
        "recipe": without_paths(rest),
        "recipe_sha256": sha256_of(file),
        "git": _read_json(run / "environment.json").get("git", ""),
    }
    training["evaluation"] = {key: round(value, 4) for key, value in metrics.items() if TOLD.fullmatch(key)}
    training["datasets"] = facts.get("datasets", [])
    if not facts:
        training["unknown"] = f"the run kept no {FACTS}: what it was trained on must be asked of those who trained it"
    elif rest.get("init"):
        training["unknown"] = "its towers began with those of another model, whose training data are not listed here"
    values |= {"statistics": facts.get("statistics", {}), "training": training}
    if "prompts" in facts:
        values["prompts"] = facts["prompts"]
    elif prompts and Path(prompts).is_file():
        values["prompts"] = load_prompts(prompts).model_dump()
    return check_config({"format": FORMAT, **values}, str(file))


def without_paths(value: Any, key: str = "") -> Any:
    """A recipe without the folders of the machine it was written on: their last names stay."""
    if isinstance(value, dict):
        return {name: without_paths(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner, key) for inner in value]
    if key in ("path", "run_dir", "init", "prompts") and isinstance(value, str) and "://" not in value:
        return Path(value).name
    return value


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
