"""Files of a data set as its publisher ships it: a folder, with archives in it or unpacked."""

from __future__ import annotations

import fcntl
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aura.data.writer import ShardError

# What the readers of archives raise for damaged ones, beside OSError.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)
ARCHIVES = (".zip", ".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2")


@dataclass(frozen=True)
class Packed:
    """A compressed tar, whose files of these endings can only be read once it is unpacked to `folder`."""

    path: Path
    endings: tuple[str, ...]
    folder: Path

    def unpack(self) -> None:
        """Unpacks it, unless this or another process has. ValueError where it is damaged."""
        if self.folder.exists():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.with_name(self.folder.name + ".lock"), "w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if not self.folder.exists():
                part = self.folder.with_name(self.folder.name + ".part")
                shutil.rmtree(part, ignore_errors=True)  # left by a worker that was ended
                unpack(self.path, lambda name: name.lower().endswith(self.endings), part)
                part.rename(self.folder)


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, on its own or inside an archive.

    name     path in the source or in its archive, with `/`
    path     the file, or the archive that holds it; of a compressed tar: where the file lies once `read` or `on_disk`
             was asked for it or for another file of the same archive
    member   of a zip: the name in it
    span     of a tar: first byte and size
    packed   the compressed tar that holds it
    """

    name: str
    path: Path
    member: str = ""
    span: tuple[int, int] | None = None
    packed: Packed | None = None

    def read(self) -> bytes:
        """The file's bytes. ValueError where its archive is damaged; its words are the same wherever the archive lies."""
        if self.member:
            try:
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(self.member)
            except DAMAGED as error:
                raise ValueError(
                    f"{self.path.name}: {self.member} cannot be read, download it again: {error}"
                ) from error
        if self.span is None:
            return self.unpacked().read_bytes()
        with open(self.path, "rb") as archive:
            archive.seek(self.span[0])
            data = archive.read(self.span[1])
        if len(data) != self.span[1]:
            raise ValueError(f"{self.path.name}: ends inside {self.name}, download it again")
        return data

    def unpacked(self) -> Path:
        """The path of a file that is in no zip or plain tar; a compressed tar is unpacked when its first file is asked for."""
        if self.packed is not None:
            self.packed.unpack()
        return self.path


def on_disk(file: SourceFile, folder: Path) -> Path:
    """A path of the file's content: its own, or of a copy in `folder` where it is in an archive."""
    if not file.member and file.span is None:
        return file.unpacked()
    copy = folder / file.name.rpartition("/")[2]
    copy.write_bytes(file.read())
    return copy


def files(source: Path, endings: tuple[str, ...], cache: Path) -> list[SourceFile]:
    """All files whose name ends in one of `endings` (lower case), in order of name.

    Members of zip and tar files are read where they are. Compressed tars can only be read from their start: each is
    unpacked to `cache` as a whole when the first of its files is read, so those of which none is read take no room.
    ShardError where two files have one name or an archive is damaged.
    """
    if not source.exists():
        raise ShardError(f"{source} does not exist: give the folder or archive of the data as --source")
    within = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    found: dict[str, SourceFile] = {}

    def add(file: SourceFile) -> None:
        if file.name in found:
            raise ShardError(
                f"{file.name} is there twice, in {found[file.name].path} and {file.path}: keep one of them in {source}"
            )
        found[file.name] = file

    for path in within:
        if path.name.lower().endswith(endings):
            add(SourceFile(path.relative_to(source).as_posix() if path != source else path.name, path))
        elif path.name.lower().endswith(ARCHIVES):
            try:
                below = path.name if path == source else path.relative_to(source)
                for file in _inside(path, endings, cache / below):
                    add(file)
            except (*DAMAGED, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise ShardError(f"{path} is truncated or damaged; download it again: {_why(error)}") from error
    return [found[name] for name in sorted(found)]


def files_within(source: Path, endings: tuple[str, ...], cache: Path) -> list[SourceFile]:
    """As `files`, and those of zips inside of zips, which are unpacked to `cache`, in order of place."""
    found = files(source, endings, cache)
    for number, path in enumerate([source] if source.is_file() else sorted(source.rglob("*"))):
        if path.suffix.lower() != ".zip":
            continue
        with zipfile.ZipFile(path) as archive:
            for name in (name for name in archive.namelist() if name.lower().endswith(".zip")):
                unpacked = cache / f"zip{number}" / _plain(name)
                unpacked.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with archive.open(name) as stream, open(unpacked, "wb") as copy:
                        shutil.copyfileobj(stream, copy, 1 << 20)
                except DAMAGED as error:
                    raise ShardError(f"{path}: {name} cannot be read, download it again: {error}") from error
                found += files(unpacked, endings, cache)
    return found


def _inside(path: Path, endings: tuple[str, ...], folder: Path) -> list[SourceFile]:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if info.filename.lower().endswith(endings)]
        return [SourceFile(_plain(name), path, member=name) for name in names]
    whole = path.name.lower().endswith(".tar")
    packed = None if whole else Packed(path, endings, folder)
    inside = []
    with tarfile.open(path, "r:" if whole else "r:*") as archive:
        for info in archive:
            if not info.isreg() or not info.name.lower().endswith(endings):
                continue
            name = _plain(info.name)
            if packed is None:
                inside.append(SourceFile(name, path, span=(info.offset_data, info.size)))
            else:
                inside.append(SourceFile(name, packed.folder / name, packed=packed))
        if packed is not None:
            _read_to_end(archive)
    return inside


def unpack(path: Path, wanted: Callable[[str], bool], folder: Path) -> list[SourceFile]:
    """Unpacks the files of a tar, compressed or not, whose names are wanted. ValueError where it is damaged."""
    found = []
    folder.mkdir(parents=True)
    try:
        with tarfile.open(path) as archive:
            for info in archive:
                name = _plain(info.name)
                if not info.isreg() or not wanted(name):
                    continue
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(info)
                assert content is not None  # a regular file
                with open(folder / name, "wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                found.append(SourceFile(name, folder / name))
            _read_to_end(archive)
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise ValueError(f"{path.name} is truncated or damaged; download it again: {_why(error)}") from error
    return found


def _read_to_end(archive: tarfile.TarFile) -> None:
    """Reads what follows the last member: only the end of a compressed file holds the sum that its bytes are checked by."""
    assert archive.fileobj is not None
    while archive.fileobj.read(1 << 20):
        pass


def _why(error: Exception) -> str:
    """The first line of what is wrong: for what is no tar, `tarfile` tells of each compression that it tried."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(":")


def _plain(name: str) -> str:
    """The name without what would lead out of a folder."""
    return "/".join(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/", "."))
