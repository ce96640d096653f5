"""Bytes of a folder, local or behind a URL that fsspec understands. What cannot be reached is tried again, then an error."""

from __future__ import annotations

import os
import resource
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
WAITS_S = (0.2, 1.0, 4.0)  # before the second, third and fourth try
OPEN_FILES = 64
STALLED_S = 30.0  # a web server that sends nothing for so long is tried again


class StorageError(OSError):
    """Storage that stays unreachable or gives other bytes than asked; the message names the file."""


def files_to_keep(wanted: int, shares: int) -> int:
    """How many files a storage keeps open of which so many are wanted in turns, where as many as `shares` storages do: not
    fewer than usual, as far as the system lets the process (`ulimit -n`, a quarter of which is left to the rest)."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = max(OPEN_FILES, wanted)
    return wanted if allowed == resource.RLIM_INFINITY else max(2, min(wanted, allowed * 3 // 4 // shares))


class OpenFiles:
    """Files that a process keeps open, by name: past `limit` the one that was longest unused is closed.

    open, close    from a name to a handle; ends one
    """

    def __init__(self, open: Callable[[str], int], close: Callable[[int], None], limit: int = OPEN_FILES) -> None:
        self.open, self.close, self.limit = open, close, limit
        self.handles: OrderedDict[str, int] = OrderedDict()

    def get(self, name: str) -> int:
        handle = self.handles.get(name)
        if handle is None:
            handle = self.handles[name] = self.open(name)
            while len(self.handles) > self.limit:
                self.close(self.handles.popitem(last=False)[1])
        else:
            self.handles.move_to_end(name)
        return handle

    def __del__(self) -> None:
        for handle in self.handles.values():
            with suppress(OSError):
                self.close(handle)


class Storage:
    """A folder: `root` is a local path or a URL. Safe to pickle and to fork: handles belong to one process."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"
        self.local = "://" not in root or root.startswith("file://")
        self.folder = Path(root.removeprefix("file://"))
        self._files = OpenFiles(self._open, os.close)
        self._remote: tuple[Any, str] | None = None
        self._pid = os.getpid()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": self._files.limit, "_remote": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _files=OpenFiles(self._open, os.close, state["_files"]))

    def keep_open(self, files: int) -> None:
        """Keeps so many local files open, those that were used last."""
        self._files.limit = files

    @property
    def kept_open(self) -> int:
        return self._files.limit

    def where(self, name: str) -> str:
        """The full path or URL of a file, for messages."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        if self.local:
            return (self.folder / name).exists()
        if self._web:  # whose fsspec says of a server that fails that the file is not there
            return self._retried(name, lambda: self._info(name)) is not None
        return self._retried(name, lambda: self._fs[0].exists(self._path(name)))

    def names(self, pattern: str) -> list[str]:
        """Names of the files that match a glob pattern, sorted; of a web server's folder, as its page lists them."""
        if self.local:
            return sorted(path.name for path in self.folder.glob(pattern))
        fs, root = self._fs
        found = self._retried(pattern, lambda: fs.glob(f"{root}/{pattern}"))
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each file; None where there is none."""
        if self.local:
            paths = [self.folder / name for name in names]
            return [path.stat().st_size if path.is_file() else None for path in paths]
        fs = self._fs[0]
        try:
            return fs.sizes([self._path(name) for name in names])  # many requests at once, where the protocol can
        except Exception:  # one is missing, or the network failed: each by itself says which
            pass

        found = [self._retried(name, lambda name=name: self._info(name)) for name in names]
        return [None if info is None else info["size"] for info in found]

    def _info(self, name: str) -> dict | None:
        """What fsspec says of a remote file; None where the storage says that there is none."""
        try:
            return self._fs[0].info(self._path(name))
        except FileNotFoundError as error:
            if self._web and getattr(error.__cause__, "status", None) not in (403, 404, 410):
                raise  # a server out of reach or in trouble: fsspec calls that, too, a file that is not found
            return None

    def fingerprint(self, name: str) -> str:
        """Changes when the file does: for caches."""
        if self.local:
            stat = (self.folder / name).stat()
            return f"{self.folder.absolute() / name}:{stat.st_size}:{stat.st_mtime_ns}"
        info = self._retried(name, lambda: self._fs[0].info(self._path(name)))
        stamps = [
            str(info.get(key)) for key in ("size", "ETag", "etag", "mtime", "LastModified", "last_modified", "sha")
        ]
        return ":".join([self.where(name), *stamps])

    def read(self, name: str) -> bytes:
        """A whole file. StorageError where it is not there."""
        if self.local:
            return self._retried(name, (self.folder / name).read_bytes)
        return self._retried(name, lambda: self._fs[0].cat_file(self._path(name)))

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pieces (offset, size) of one file. StorageError where one is shorter."""
        if self.local:
            data = self._retried(
                name, lambda: [os.pread(self._files.get(name), size, offset) for offset, size in spans]
            )
        else:
            fs, path = self._fs[0], self._path(name)
            starts, ends = zip(*((offset, offset + size) for offset, size in spans))

            def fetch() -> list[bytes]:
                if len(spans) == 1:
                    pieces = [fs.cat_file(path, start=starts[0], end=ends[0])]
                else:
                    pieces = fs.cat_ranges([path] * len(spans), list(starts), list(ends))
                for (offset, size), piece in zip(spans, pieces):
                    if len(piece) < size:  # a server that breaks off may do better the next time
                        raise self._wrong_size(name, offset, size, len(piece))
                return pieces

            data = self._retried(name, fetch)
        for (offset, size), piece in zip(spans, data):
            if len(piece) != size:
                raise self._wrong_size(name, offset, size, len(piece))
        return data

    def read_into(self, name: str, parts: Sequence[tuple[int, np.ndarray]]) -> None:
        """Fills arrays, each one piece of memory, with the bytes of a file from an offset each. StorageError as `ranges`."""
        if not self.local:
            pieces = self.ranges(name, [(offset, array.nbytes) for offset, array in parts])
            for (_, array), piece in zip(parts, pieces):
                array[...] = np.frombuffer(piece, array.dtype).reshape(array.shape)
            return
        sizes = self._retried(name, lambda: [os.preadv(self._files.get(name), [array.data], at) for at, array in parts])
        for (offset, array), size in zip(parts, sizes):
            if size != array.nbytes:
                raise self._wrong_size(name, offset, array.nbytes, size)

    def open(self, name: str) -> Any:
        """A seekable binary file."""
        if self.local:
            return open(self.folder / name, "rb")
        return self._fs[0].open(self._path(name), "rb", block_size=1 << 20, cache_type="readahead")

    def _wrong_size(self, name: str, offset: int, asked: int, came: int) -> StorageError:
        cause = (
            "the server does not honour range requests"
            if came > asked
            else "the file is truncated, or was replaced after it was indexed"
        )
        return StorageError(f"{self.where(name)}: {came} bytes came instead of {asked} at {offset}: {cause}")

    @property
    def _fs(self) -> tuple[Any, str]:
        """fsspec's file system and the root in it, made anew in each process: its threads do not survive a fork."""
        if self._remote is None or self._pid != os.getpid():
            import fsspec

            protocol = self.root.partition("://")[0]
            options: dict[str, Any] = {} if protocol == "memory" else {"skip_instance_cache": True}
            if self._web:
                import aiohttp

                # fsspec's own is five minutes for a whole file, however it comes.
                timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALLED_S, sock_read=STALLED_S)
                options["client_kwargs"] = {"timeout": timeout}
            self._remote = fsspec.url_to_fs(self.root, **options)
            self._pid = os.getpid()
        return self._remote

    @property
    def _web(self) -> bool:
        return self.root.startswith(("http://", "https://"))

    def _path(self, name: str) -> str:
        return f"{self._fs[1].rstrip('/')}/{name}"

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC)

    def _retried(self, name: str, action: Callable[[], T]) -> T:
        for wait in (*WAITS_S, None):
            try:
                return action()
            except Exception as error:
                # Remote libraries raise what they like; nothing but the network or the disk can fail here.
                if wait is None:
                    raise StorageError(
                        f"{self.where(name)} cannot be read after {len(WAITS_S) + 1} tries:"
                        f" {type(error).__name__}: {error}"
                    ) from error
                time.sleep(wait)
        raise AssertionError("unreachable")
