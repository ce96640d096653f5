"""The manifest of a folder of shards, checked before anything relies on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from aura.data.writer import FORMAT, ShardError

Word = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Some = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Shard(_Strict):
    file: Word
    samples: Some
    bytes: Some
    sha256: Sha256
    index_sha256: Sha256


class _Stream(_Strict):
    samples: Some
    seconds: Seconds = 0
    texts: Some = 1
    kinds: dict[str, Some] = {}
    rates_hz: dict[str, Some] = {}
    placements: dict[str, Some] = {}
    skeletons: dict[str, Some] = {}
    towers: dict[str, Some] = {}


class _Split(_Strict):
    shards: Annotated[list[_Shard], Field(min_length=1)]
    samples: Some
    seconds: Seconds
    subjects: list[Word]
    sessions: Count
    groups: Count
    licences: list[Word]
    labels: dict[str, dict[str, Some]]
    streams: dict[str, _Stream]


class _Converter(_Strict):
    name: Word
    version: Word
    arguments: dict[str, Any]


class _Dropped(_Strict):
    count: Count
    seconds: Seconds


class _Manifest(_Strict):
    format: str
    name: Word
    converter: _Converter
    splits: dict[Word, _Split]
    dropped: dict[str, _Dropped]


def read_manifest(content: bytes, where: str) -> dict:
    """A manifest whose values have the types that readers rely on, and do not contradict each other. ShardError.

    Nothing in it says again what its converter was (version, arguments) and what was dropped: of these the types alone
    are checked. Samples are not looked at: see tools/verify_shards.py.
    """
    try:
        manifest = from_json(content)
    except ValueError as error:
        raise ShardError(f"{where} is not JSON: {error}; copy it again") from error
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != FORMAT:
        raise ShardError(f"{where}: format {found!r}, this library reads {FORMAT!r}")
    try:
        _Manifest.model_validate(manifest)
        wrong = next(_contradictions(manifest), "")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if wrong:
        raise ShardError(f"{where} is damaged at {wrong}; copy it again")
    return manifest


def _contradictions(manifest: dict) -> Iterator[str]:
    """Values that others of the manifest say otherwise."""
    if manifest["name"] != manifest["converter"]["name"]:
        yield f"name: {manifest['name']!r}, the converter is {manifest['converter']['name']!r}"
    for name, about in manifest["splits"].items():
        samples, files = about["samples"], [shard["file"] for shard in about["shards"]]
        listed = sum(shard["samples"] for shard in about["shards"])
        if listed != samples:
            yield f"splits.{name}.samples: {samples}, its shards have {listed}"
        if files != [f"{name}-{i:06d}.tar" for i in range(len(files))]:
            yield f"splits.{name}.shards: the files are not {name}-000000.tar and so on"
        for stream, total in about["streams"].items():
            if total["samples"] > samples:
                yield f"splits.{name}.streams.{stream}.samples: {total['samples']} of {samples}"
        for label, counts in about["labels"].items():
            if sum(counts.values()) > samples:
                yield f"splits.{name}.labels.{label}: of {sum(counts.values())} samples, the split has {samples}"
        for key in ("sessions", "groups"):
            if about[key] > samples:
                yield f"splits.{name}.{key}: {about[key]} of {samples} samples"
