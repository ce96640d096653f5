"""The index of a tar that has none."""

from __future__ import annotations

import json
import math
import tarfile
from typing import Any

import numpy as np

from aura.data.storage import Storage, StorageError
from aura.data.writer import FORMAT, ShardError, totals


def index_tar(storage: Storage, name: str) -> list[tuple[dict, dict]]:
    """(index entry, KEY.json) of each sample of a tar, by webdataset's grammar: files that share the name up to the dot.

    Only headers and KEY.json are read, where the storage can seek. ShardError where the tar is truncated, or a sample
    has no KEY.json of ours, or is not in one place.
    """
    from webdataset.tariterators import base_plus_ext

    where = storage.where(name)
    groups: dict[str, dict[str, list]] = {}
    spans: dict[str, list[int]] = {}
    heads: dict[str, dict] = {}
    last = None
    size = storage.sizes([name])[0] or 0
    try:
        with storage.open(name) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                key, rest = base_plus_ext(info.name)
                if not info.isreg() or key is None or rest is None:
                    continue
                end = info.offset_data + info.size + (-info.size % tarfile.BLOCKSIZE)
                if info.size < 0 or end > size:
                    raise ShardError(f"{where} is truncated: {info.name} ends beyond its {size} bytes; copy it again")
                if key != last and key in groups:
                    raise ShardError(f"{where}: the files of {key!r} are not together; write the tar in order of name")
                members = groups.setdefault(key, {})
                if rest in members:
                    raise ShardError(f"{where}: {info.name} is there twice")
                last = key
                spans.setdefault(key, [info.offset, end])[1] = end
                members[rest] = [info.offset_data - spans[key][0], info.size]
                if rest == "json":
                    file.seek(info.offset_data)
                    heads[key] = json.loads(file.read(info.size))
                elif rest.endswith(".npy"):
                    file.seek(info.offset_data)
                    members[rest] += _npy_layout(file, info.size, f"{where}: {info.name}")
    except (ShardError, StorageError):
        raise
    except OSError as error:
        raise ShardError(f"{where} cannot be read: {error}") from error
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ShardError(f"{where} cannot be indexed: {type(error).__name__}: {error}") from error
    rows = []
    for key, members in groups.items():
        try:
            rows.append(_row(key, heads.get(key, {}), spans[key], members))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ShardError(f"{where}: {key}.json {error}") from error
    if not rows:
        raise ShardError(f"{where} holds no sample")
    return rows


def _row(key: str, head: Any, span: list[int], members: dict[str, list]) -> tuple[dict, dict]:
    """Index entry and completed KEY.json of one sample. ValueError, TypeError or AttributeError where that is none of ours."""
    if not isinstance(head, dict):
        raise ValueError("is not an object")
    missing = [field for field in ("id", "recording", "duration_s", "streams") if field not in head]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}: not a sample of {FORMAT}")
    head = {"texts": [], "labels": {}, **head}
    for optional in ("subject", "session", "group", "licence"):
        head.setdefault(optional, "")
    entry = {
        "key": head["id"],
        "offset": span[0],
        "size": span[1] - span[0],
        **{n: head[n] for n in ("subject", "session", "group", "recording")},
        "start_s": float(head.get("start_s", 0.0)),
        "duration_s": float(head["duration_s"]),
        "streams": sorted(head["streams"]) + (["text"] if head["texts"] else []),
        "labels": head["labels"],
        "members": members,
    }
    if not all(isinstance(head[n], str) for n in ("id", "recording", "subject", "session", "group", "licence")):
        raise ValueError("has an id, recording, subject, session, group or licence that is no string")
    totals([head])  # counts what it says, and so finds what cannot be counted
    return entry, head


def _npy_layout(file: Any, size: int, where: str) -> list:
    """[dtype, shape] of the npy file of `size` bytes that begins at the file's position."""
    start = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # numpy parses the header as Python, and raises of all kinds
        raise ShardError(f"{where}: not an npy file: {type(error).__name__}: {error}") from error
    if fortran or dtype.hasobject:
        raise ShardError(f"{where}: arrays must be plain numbers in C order")
    if file.tell() - start + math.prod(shape) * dtype.itemsize != size:
        raise ShardError(f"{where}: {size} bytes are not an array of {dtype} {shape}: it is truncated")
    return [dtype.str, list(shape)]
