"""Files that are whole or absent, the tar blocks of a shard, and its index."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import tarfile
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = "aura-shards/1"
LINE_ENDS = b'],"line_ends":'  # how the last line of an index begins
END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)


@contextlib.contextmanager
def atomic(path: Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """A file to write that gets its name only when the block ends well: flushed to disk, then renamed.

    `shared`: several processes may write it at once, and the last one's stays.
    A full disk is an OSError that says what to do; nothing of the file stays.
    """
    temporary = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.tmp" if shared else f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, f"disk full while writing {path}; free space there and start again") from error
        raise


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder last through a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object, *, indent: int | None = 1, shared: bool = False) -> str:
    """Writes JSON atomically and gives the SHA-256 of the file's bytes; `shared` as for `atomic`."""
    data = (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n").encode()
    with atomic(path, shared=shared) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tar_member(name: str, data: bytes) -> tuple[bytes, int]:
    """The blocks of one file of a tar, and where its data begins in them. No time, no owner: same input, same bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 0
    header = info.tobuf(tarfile.GNU_FORMAT)
    return header + data + bytes(-len(data) % tarfile.BLOCKSIZE), len(header)


def pack(key: str, files: Mapping[str, tuple[bytes, list]]) -> tuple[bytes, dict[str, list], dict[str, str]]:
    """Tar blocks of a sample's files, in this order, and what its index entry says of them: `members` and `sha256`.

    files    rest of the name -> content, and of an array its dtype and shape
    """
    blocks, position, members, digests = [], 0, {}, {}
    for rest, (data, layout) in files.items():
        block, start = tar_member(f"{key}.{rest}", data)
        members[rest] = [position + start, len(data), *layout]
        digests[rest.rpartition(".")[0] or rest] = hashlib.sha256(data).hexdigest()
        blocks.append(block)
        position += len(block)
    return b"".join(blocks), members, digests


def index_bytes(shard: str, entries: list[dict]) -> bytes:
    """An index file: JSON with one sample a line, so that a reader parses only the lines it needs.

    The last line says where the others end, in bytes, so that a line is found without reading the rest.
    """
    lines = [json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() for entry in entries]
    head = json.dumps({"format": FORMAT, "shard": shard}, separators=(",", ":"))[:-1].encode() + b',"samples":['
    pieces = [head, *(line + b"," for line in lines[:-1]), *lines[-1:]]
    ends = list(accumulate(len(piece) + 1 for piece in pieces))
    last = LINE_ENDS + json.dumps([end - 1 for end in ends], separators=(",", ":")).encode() + b"}\n"
    return b"\n".join([*pieces, last])


def differences(before: dict, now: dict, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Key (`config.columns.x`), value before and value now of what differs, of mappings inside of mappings alone."""
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new
