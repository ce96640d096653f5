"""Files of a data set as its publisher ships it: a folder, with archives in it or unpacked."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aura.data.writer import ShardError

# What the readers of archives raise for damaged ones, beside OSError.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)
ARCHIVES = (".zip", ".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2")


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, on its own or inside an archive that can be read at any place.

    name     path in the source or in its archive, with `/`
    path     the file, or the archive that holds it
    member   of a zip: the name in it
    span     of a tar: first byte and size
    """

    name: str
    path: Path
    member: str = ""
    span: tuple[int, int] | None = None

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
            return self.path.read_bytes()
        with open(self.path, "rb") as archive:
            archive.seek(self.span[0])
            data = archive.read(self.span[1])
        if len(data) != self.span[1]:
            raise ValueError(f"{self.path.name}: ends inside {self.name}, download it again")
        return data


def on_disk(file: SourceFile, folder: Path) -> Path:
    """A path of the file's content: its own, or of a copy in `folder` where it is in an archive."""
    if not file.member and file.span is None:
        return file.path
    copy = folder / file.name.rpartition("/")[2]
    copy.write_bytes(file.read())
    return copy


def files(source: Path, endings: tuple[str, ...], cache: Path) -> list[SourceFile]:
    """All files whose name ends in one of `endings` (lower case), in order of name.

    Members of zip and tar files are read where they are. Compressed tars can only be read from their start: their members
    are unpacked to `cache`, one after another. ShardError where two files have one name or an archive is damaged.
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
                for file in _inside(path, endings, cache):
                    add(file)
            except (*DAMAGED, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise ShardError(f"{path} is truncated or damaged; download it again: {error}") from error
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


def _inside(path: Path, endings: tuple[str, ...], cache: Path) -> list[SourceFile]:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if info.filename.lower().endswith(endings)]
        return [SourceFile(_plain(name), path, member=name) for name in names]
    inside = []
    whole = path.name.lower().endswith(".tar")
    with tarfile.open(path, "r:" if whole else "r:*") as archive:
        for info in archive:
            if not info.isreg() or not info.name.lower().endswith(endings):
                continue
            name = _plain(info.name)
            if whole:
                inside.append(SourceFile(name, path, span=(info.offset_data, info.size)))
                continue
            unpacked = cache / path.name / name
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(info)
            assert content is not None  # a regular file
            with open(unpacked, "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            inside.append(SourceFile(name, unpacked))
        if not whole:
            read_to_end(archive)
    return inside


def read_to_end(archive: tarfile.TarFile) -> None:
    """Reads what follows the last member: only the end of a compressed file holds the sum that its bytes are checked by."""
    assert archive.fileobj is not None
    while archive.fileobj.read(1 << 20):
        pass


def _plain(name: str) -> str:
    """The name without what would lead out of a folder."""
    return "/".join(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/", "."))
