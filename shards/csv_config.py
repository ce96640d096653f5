"""What a folder of CSV files holds, as its owner writes it down: `shards/csv.py` shows an example."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from aura.body.placements import placement_id
from aura.data.config import CHANNEL
from aura.data.units import ACC, GYRO, canonical
from aura.data.writer import ShardError

GROUPS = ("subject", "session", "group", "split")  # of a file's name; other groups are labels
UNITS = ACC | GYRO
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "iso": 1e-9}


class Config(BaseModel):
    """Base of every part: an unknown key is an error, and numbers may stand where names are wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def _placed(name: str) -> str:
    placement_id(name)
    return name


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


class Time(Config):
    """The column of time stamps. `iso`: 2026-01-31T12:00:00.123, with or without a zone; the others count units."""

    column: str
    unit: Literal["s", "ms", "us", "ns", "iso"]


class Acc(Config):
    """Columns x, y, z of an accelerometer: specific force, so gravity is in it. `range`: full scale in `unit`."""

    columns: tuple[str, str, str]
    unit: Annotated[Literal["m/s^2", "g", "mg"], BeforeValidator(canonical)]
    range: float = Field(default=0.0, ge=0)


class Gyro(Config):
    """Columns x, y, z of a gyroscope. `range`: full scale in `unit`."""

    columns: tuple[str, str, str]
    unit: Annotated[Literal["rad/s", "deg/s"], BeforeValidator(canonical)]
    range: float = Field(default=0.0, ge=0)


class Sensor(Config):
    """A sensor and where it is worn: a name of `aura.body.placements`, or unknown."""

    placement: Annotated[str, AfterValidator(_placed)]
    acc: Acc | None = None
    gyro: Gyro | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Sensor:
        if self.acc is None and self.gyro is None:
            raise ValueError("needs acc or gyro")
        return self


class Signals(Config):
    """Columns of other signals over time, as the stream `series_NAME`: one for all signals of a rate.

    columns  channel, a name and a unit ("heart_rate bpm") -> column
    rate_hz  values a second, where that is fewer than rows: the other rows have none
    """

    columns: dict[str, str] = Field(min_length=1)
    rate_hz: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _named(self) -> Signals:
        for channel in self.columns:
            if CHANNEL.fullmatch(channel) is None:
                raise ValueError(
                    f"columns: {channel!r} is no name and unit with a space between, such as heart_rate bpm"
                )
        return self


class Label(Config):
    """A label, of a column or of the group of the same name in `name`.

    names    value in the data -> value of the label; what is not listed stays as it is
    ignore   values in the data whose rows are left out (and counted)
    """

    column: str = ""
    names: dict[str, str] = {}
    ignore: tuple[str, ...] = ()


class Text(Config):
    """A column that says in words what happens; it holds from row to row."""

    column: str
    kind: Literal["description", "commentary", "paraphrase"] = "description"


class Table(Config):
    """The YAML file.

    files         patterns of paths in the source, `*` for anything
    name          regular expression that is searched for in each path; groups subject, session, group, split; any other
                  group is a label
    delimiter     default: a tab in .tsv files, else a comma
    header        names of the columns, where the files do not begin with them
    time          may be absent where `rate_hz` tells the rate; with both, `rate_hz` is the rate of the shards
    splits        split -> subjects; all others train. Default: a tenth of the subjects each for val and test
    descriptions  value of the label activity -> sentences
    """

    dataset: str = Field(pattern=r"[A-Za-z0-9_-]+")
    licence: str = Field(min_length=1)
    source: str = ""
    citation: str = ""
    files: tuple[str, ...] = ("*.csv", "*.tsv")
    name: Annotated[str, AfterValidator(_pattern)] = ""
    delimiter: str = Field(default="", max_length=1)
    header: tuple[str, ...] | None = None
    skip_rows: int = Field(default=0, ge=0)
    missing: tuple[str, ...] = ("", "NaN", "nan", "NA", "null")
    decimal: Literal[".", ","] = "."
    time: Time | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    sensors: tuple[Sensor, ...] = Field(min_length=1)
    series: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Signals] = {}
    subject_column: str = ""
    session_column: str = ""
    labels: dict[str, Label] = {}
    texts: tuple[Text, ...] = ()
    descriptions: dict[str, tuple[str, ...]] = {}
    splits: dict[str, tuple[str, ...]] = {}
    max_gap_s: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _fits(self) -> Table:
        if self.time is None and self.rate_hz is None:
            raise ValueError("needs time (column and unit) or rate_hz")
        groups = re.compile(self.name).groupindex
        for name, label in self.labels.items():
            if not label.column and name not in groups:
                raise ValueError(f"labels.{name}: give its column, or a group (?P<{name}>...) in name")
            if label.column and name in groups:
                raise ValueError(f"labels.{name}: is both column {label.column!r} and a group of name; keep one")
        for name in ("subject", "session"):
            if getattr(self, f"{name}_column") and name in groups:
                raise ValueError(f"{name}_column: name has a group {name} too; keep one")
        if self.splits and not self.subject_column and "subject" not in groups:
            raise ValueError("splits: subjects are not known; give subject_column or a group (?P<subject>...) in name")
        if strange := sorted(self.splits.keys() - {"train", "val", "test"}):
            raise ValueError(f"splits: {strange[0]!r} is no split; give train, val or test")
        if any("." not in pattern for pattern in self.files):
            raise ValueError("files: each pattern must have an ending, such as *.csv")
        return self


def read_table(path: Path) -> Table:
    """The configuration in a YAML file. ShardError naming the file, the key and what is right."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ShardError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ShardError(f"{path}: must be keys and values, such as dataset: my_study")
    try:
        return Table.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        places = [one["loc"] for one in found]
        # A list of one faulty item counts as too short besides.
        own = [one for one in found if one["type"] != "too_short" or not any(_within(p, one["loc"]) for p in places)]
        raise ShardError(f"{path}: " + "; ".join(_fault(dict(one)) for one in own)) from error


def _within(place: tuple, other: tuple) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _fault(found: dict) -> str:
    place = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        models = (Table, Time, Acc, Gyro, Sensor, Signals, Label, Text)
        known = sorted({name for model in models for name in model.model_fields})
        near = difflib.get_close_matches(str(found["loc"][-1]), known, n=1, cutoff=0.0)
        return f"{place}: there is no such key; the nearest is {near[0]!r}"
    message = found["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
