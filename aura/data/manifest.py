"""The manifest of a folder of shards, checked before anything relies on it."""

from __future__ import annotations

import json

from aura.data.writer import FORMAT, ShardError


def read_manifest(content: bytes, where: str) -> dict:
    """A manifest whose values have the types that readers rely on. ShardError."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{where} is not JSON: {error}; copy it again") from error
    found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
    if found != FORMAT:
        raise ShardError(f"{where}: format {found!r}, this library reads {FORMAT!r}")
    wrong = ""
    converter = manifest.get("converter", {})
    if not isinstance(converter, dict) or not isinstance(converter.get("arguments", {}), dict):
        wrong = "converter"
    splits = manifest.get("splits")
    for name, about in splits.items() if isinstance(splits, dict) else [("", None)]:
        about = about if isinstance(about, dict) else {}
        shards = about.get("shards")
        kinds = {"file": str, "samples": int, "bytes": int, "sha256": str, "index_sha256": str}
        if not isinstance(shards, list) or not all(
            isinstance(shard, dict) and all(type(shard.get(key)) is kind for key, kind in kinds.items())
            for shard in shards
        ):
            wrong = f"splits.{name}.shards"
        elif not isinstance(about.get("streams"), dict) or not all(map(_is_dict, about["streams"].values())):
            wrong = f"splits.{name}.streams"
        elif not isinstance(about.get("labels"), dict) or not all(map(_is_dict, about["labels"].values())):
            wrong = f"splits.{name}.labels"
    if wrong:
        raise ShardError(f"{where} is damaged at {wrong}; copy it again")
    return manifest


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)
