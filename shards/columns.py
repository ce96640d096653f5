"""Columns of delimited text, fast and in bounded memory: pyarrow parses blocks, and only what is asked for is converted."""

from __future__ import annotations

import difflib
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from aura.data.writer import ShardError
from shards.archives import SourceFile

BLOCK_BYTES = 4 << 20
PART_BYTES = 1 << 18  # parsed at a time: the cells of all columns, wanted or not, stay in the caches of a core


@dataclass(frozen=True)
class Layout:
    """How a text file holds its table.

    names      of its columns; None: the first line says them
    skip_rows  lines before the table (and before the line of names)
    missing    cells that say that there is no value
    quotes     cells may be in double quotes; newlines inside of quotes are not supported
    """

    delimiter: str = ","
    names: tuple[str, ...] | None = None
    skip_rows: int = 0
    missing: tuple[str, ...] = ("", "NaN", "nan", "NA", "null")
    decimal: str = "."
    quotes: bool = True


@contextmanager
def open_source(file: SourceFile) -> Iterator[BinaryIO]:
    """A file of a source as a stream, for those too large for memory. ShardError where its archive is damaged."""
    if not file.member:
        with open(file.unpacked(), "rb") if file.span is None else io.BytesIO(file.read()) as stream:
            yield stream
        return
    try:
        with zipfile.ZipFile(file.path) as archive, archive.open(file.member) as stream:
            yield cast(BinaryIO, stream)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ShardError(f"{file.path.name}: {file.member} cannot be read, download it again: {error}") from error


def read_columns(
    file: BinaryIO, types: Mapping[str, pa.DataType], layout: Layout, *, threads: bool = True
) -> tuple[dict[str, Any], int]:
    """Columns by name, and how many lines were left out for having another number of cells.

    Real and whole numbers come as arrays (n,), missing reals as NaN; strings and times as `pyarrow.Array`. Memory beside the
    result is a few blocks of 4 MiB, whatever the file's size. ValueError where a column is absent or a cell cannot be
    read as its type.
    """
    names = layout.names
    for _ in range(layout.skip_rows):
        file.readline()
    if names is None:
        names = _header(file.readline(), layout)
        if not names:
            raise ValueError("has no first line with names of columns: it is empty, or that line is")
    for name in types:
        if name not in names:
            raise ValueError(absent(name, names))
    skipped = 0

    def skip(row: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    options: dict[str, Any] = {
        "read_options": arrow_csv.ReadOptions(use_threads=threads, block_size=PART_BYTES, column_names=list(names)),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=layout.delimiter, quote_char='"' if layout.quotes else False, invalid_row_handler=skip
        ),
        "convert_options": arrow_csv.ConvertOptions(
            include_columns=list(types),
            column_types=dict(types),
            null_values=list(layout.missing),
            strings_can_be_null=True,
            decimal_point=layout.decimal,
        ),
    }
    tables = []
    for block in _blocks(file):
        try:
            tables.append(arrow_csv.read_csv(pa.BufferReader(block), **options))
        except pa.ArrowInvalid as error:
            raise ValueError(f"cannot be read as a table: {error}") from error
    table = pa.concat_tables(tables) if tables else pa.schema(dict(types)).empty_table()
    return {name: plain(table.column(name)) for name in types}, skipped


def absent(name: str, names: Sequence[str]) -> str:
    """What is wrong with a column that is not among those of a table."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    return f"has no column {name!r} (its columns: {', '.join(names) or 'none'}){hint}"


def _header(line: bytes, layout: Layout) -> tuple[str, ...]:
    """Names of the columns in a first line."""
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"its first line is no UTF-8 text: {error}") from error
    names = tuple(name.strip().strip('"') for name in text.split(layout.delimiter)) if text else ()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"has several columns {twice[0]!r}: name the columns yourself")
    return names


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file in blocks that end with a line."""
    while data := file.read(BLOCK_BYTES):
        if not data.endswith(b"\n"):
            data += file.readline()
        if not data.isspace():
            yield data


def plain(column: pa.ChunkedArray) -> Any:
    """An array of numbers, reals with NaN where there is no value; other types as they are.

    By way of DLPack: `to_numpy` imports pandas where that is installed.
    """
    if not pa.types.is_floating(column.type):
        whole = pa.types.is_integer(column.type) and not column.null_count
        array = column.combine_chunks()
        return np.from_dlpack(array) if whole else array
    filled = column.fill_null(float("nan")) if column.null_count else column
    parts = [np.from_dlpack(chunk) for chunk in filled.chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.zeros(0, column.type.to_pandas_dtype())
