"""Shards of any data set with IMU signals on the Hugging Face Hub, read as a stream, by the YAML file of `shards/csv.py`.

    python -m shards.hub --source OWNER/NAME|DIR --config FILE.yaml --out DIR [--subset NAME] [--split NAME]
        [--revision R] [--limit N] [--workers N] [--resume]

DIR is a folder that `datasets.load_dataset` reads, such as a copy of a data set: parquet, JSON lines, arrow. A row is

- a time: columns of numbers, and subject, session and labels beside them. Rows follow one another in a file of the
  data set; a change of subject, session or label begins a new sample; or
- a window: columns of lists, one number per time, and subject, session and labels of the whole. Each is a recording.

A column of structs or of lists of lists has its parts after a point: `acc.x`, or `acc.0` of lists of three numbers a
time. Classes go by their names. Of the keys of `shards/csv_config.py`, `files` are patterns of the data set's files
(`data_files` of `datasets`); those about the layout of text (name, delimiter, header, skip_rows, missing, decimal) are
not used.

- Splits: by subject where the YAML file has `splits`; else those of the data set (validation is val); where it has but
  one, a tenth of the subjects each for val and test.
- A file of the data set is converted at once, `BLOCK_ROWS` rows at a time: a recording that goes on in the next is cut.
- A revision is looked up once, and its commit is read by all workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from datasets import ClassLabel, IterableDataset, load_dataset
from huggingface_hub import HfApi

from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.columns import absent, plain
from shards.common import convert, exit_on_fault, how_of, parser
from shards.csv_config import Table, read_table
from shards.rows import card, column_types, row_samples, words
from shards.tables import Facts, assign

pc: Any = pyarrow.compute  # makes its functions when it is imported: type checkers do not see them
OF_TEXT = ("name", "delimiter", "header", "skip_rows", "missing", "decimal")
VAL = ("validation", "valid", "dev")  # what data sets call the split val
BATCH_ROWS = 1024
BLOCK_ROWS = 1 << 20


@dataclass(frozen=True)
class Source:
    """A data set: `path` is OWNER/NAME or a folder; `files` patterns of its files."""

    path: str
    subset: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """A file of a split, by its number; and the split of the shards, or of each subject, that its rows go to.

    first   how many of the recordings in it are converted; None: all
    """

    id: str
    split: str
    number: int
    to: str | dict[str, str]
    first: int | None = None


@lru_cache(maxsize=1)
def opened(source: Source) -> dict[str, IterableDataset]:
    """The splits of a data set as streams. ShardError where it cannot be read."""
    try:
        found = load_dataset(
            source.path,
            source.subset,
            revision=source.revision,
            data_files=list(source.files) or None,
            streaming=True,
        )
    except Exception as error:  # beside its own those of its HTTP library, which are of another kind in each version
        raise ShardError(f"{source.path}: datasets cannot read it: {error}") from error
    return {str(split): stream for split, stream in found.items()}


def samples_of(recording: Recording, source: Source, table: Table) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file. ValueError, naming it, where it does not hold what the YAML file says."""
    where = f"{source.path}, split {recording.split}, file {recording.number}"
    seen = set()
    try:
        for item in _of_file(recording, source, table):
            if not isinstance(item, Dropped):
                seen.add(item[1].recording)
                if recording.first is not None and len(seen) > recording.first:
                    return
            yield item
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _of_file(recording: Recording, source: Source, table: Table) -> Iterator[tuple[str, Sample] | Dropped]:
    to = recording.to
    for name, found in _recorded(recording, source, table):
        if isinstance(found, Dropped):
            yield found
        else:
            yield from row_samples(found, table, name, {}, lambda who: to if isinstance(to, str) else to[who])


def _recorded(recording: Recording, source: Source, table: Table) -> Iterator[tuple[str, dict[str, Any] | Dropped]]:
    """Names and columns of rows that were recorded one after another."""
    types = column_types(table)
    signals = [c for s in table.sensors for signal in (s.acc, s.gyro) if signal for c in signal.columns]
    parts: list[dict[str, pa.Array]] = []
    row = blocks = 0

    def block() -> tuple[str, dict[str, Any]]:
        name = recording.id + (f"_block{blocks + 1}" if blocks else "")
        return name, {c: plain(pa.chunked_array([part[c] for part in parts])) for c in types}

    for columns in _batches(source, recording.split, recording.number, types):
        if columns[signals[0]].lengths is None:
            for name, column in columns.items():
                if column.lengths is not None:
                    raise ValueError(f"column {name!r} holds lists, column {signals[0]!r} a number a row")
            parts.append({name: column.values for name, column in columns.items()})
            if sum(len(part[signals[0]]) for part in parts) >= BLOCK_ROWS:
                yield block()
                parts, blocks = [], blocks + 1
        else:
            for found in _windows(columns, types, row):
                yield f"{recording.id}_row{row:07d}", found
                row += 1
    if parts:
        yield block()


@dataclass(frozen=True, eq=False)
class Column:
    """Values of some rows; of lists, all their items, and the length of each row's (n,)."""

    values: pa.Array
    lengths: np.ndarray | None = None


def _windows(columns: dict[str, Column], types: dict[str, Any], first: int) -> Iterator[dict[str, Any] | Dropped]:
    """The columns of each row that holds lists; what has no list holds for the whole row."""
    ends = {name: np.cumsum(c.lengths) for name, c in columns.items() if c.lengths is not None}
    for name in columns:
        if name not in ends and types[name] != pa.string():
            raise ValueError(
                f"column {name!r} has one value a row, the signals have lists: leave it out (give rate_hz)"
            )
    for i in range(len(next(iter(ends.values())))):
        spans = {name: (int(end[i - 1]) if i else 0, int(end[i])) for name, end in ends.items()}
        lengths = {name: end - begin for name, (begin, end) in spans.items()}
        count = next(iter(lengths.values()))
        if len(set(lengths.values())) > 1:
            sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"row {first + i}: its lists have different lengths: {sizes}")
        if not count:
            yield Dropped("rows with empty lists")
            continue
        found = {}
        for name, column in columns.items():
            if name in spans:
                part = column.values.slice(spans[name][0], count)
            else:
                part = pa.repeat(column.values[i], count)
            found[name] = plain(pa.chunked_array([part]))
        yield found


def _batches(source: Source, split: str, number: int, types: dict[str, Any]) -> Iterator[dict[str, Column]]:
    """Columns of the rows of a file, in pieces."""
    whole = opened(source)[split]
    stream = whole.shard(whole.num_shards, number)
    if whole.column_names:
        stream = stream.select_columns(sorted({_path(name, whole.column_names)[0] for name in types}))
    classes = whole.features or {}
    for batch in stream.with_format("arrow").iter(batch_size=BATCH_ROWS):
        assert isinstance(batch, pa.Table)
        yield {name: _column(batch, name, kind, classes) for name, kind in types.items()}


def _path(name: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """The column that a name begins with, and the parts inside of it. ValueError where there is none."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in columns:
            return ".".join(parts[:end]), parts[end:]
    raise ValueError(absent(name, columns))


def _column(batch: pa.Table, name: str, kind: pa.DataType, classes: Any) -> Column:
    """A column, or a part of one, as `kind`. ValueError naming it where it holds something else."""
    column, parts = _path(name, batch.column_names)
    array: Any = batch.column(column).combine_chunks()
    lengths = None
    try:
        for part in parts:
            array = _part(array, part)
        array = _stored(array)
        if _is_list(array.type):
            lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
            array = _stored(array.flatten())
        if _is_list(array.type) or pa.types.is_struct(array.type):
            raise ValueError(f"column {name!r} holds {array.type}: name a part of it, such as {name}.0 or {name}.x")
        feature = getattr(classes.get(column), "feature", classes.get(column))
        if isinstance(feature, ClassLabel) and kind == pa.string():
            known = pc.greater_equal(array, 0)  # -1: no class is known
            array = pc.take(pa.array(feature.names), pc.if_else(known, array, None))
        return Column(pc.cast(array, kind), lengths)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowIndexError) as error:
        raise ValueError(f"column {name!r} cannot be read as {kind}: {error}") from error


def _part(array: Any, part: str) -> Any:
    """A field of structs, or an item of lists; of lists of these, of each item."""
    array = _stored(array)
    inner = _stored(pa.nulls(0, array.type.value_type)).type if _is_list(array.type) else None
    if inner is not None and (_is_list(inner) or pa.types.is_struct(inner)):
        ends = np.cumsum([0, *np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)])
        return pa.LargeListArray.from_arrays(pa.array(ends), _part(array.flatten(), part))
    if inner is not None and part.isdecimal():
        return pc.list_element(array, int(part))
    return pc.struct_field(array, part)


def _stored(array: Any) -> Any:
    """What an array of an extension type, such as those of `datasets`, is made of."""
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def plan(source: Source, table: Table, split: str | None = None) -> list[Recording]:
    """The files of a data set, of one split or of all, with the splits of the shards that they go to."""
    found = opened(source)
    if split is not None and split not in found:
        raise ShardError(f"{source.path} has no split {split!r}: give one of {', '.join(found)} (--split)")
    found = {name: stream for name, stream in found.items() if split in (None, name)}
    numbers = [(name, number) for name, stream in found.items() for number in range(stream.num_shards)]
    ids = [f"{name}-{number:05d}" for name, number in numbers]
    try:
        for stream in found.values():
            for name in column_types(table) if stream.column_names else ():
                _path(name, stream.column_names or ())
        if not (table.splits or (len(found) == 1 and table.subject_column)):
            kept = {name: "val" if name in VAL else name for name in found}
            return [Recording(i, name, number, kept[name]) for i, (name, number) in zip(ids, numbers)]
        subjects = [_subjects(source, name, number, table.subject_column) for name, number in numbers]
    except ValueError as error:
        raise ShardError(f"{source.path}: {error}") from error
    facts = assign({f"{i} {who}": Facts(who) for i, here in zip(ids, subjects) for who in here}, subjects=table.splits)
    return [
        Recording(i, name, number, {who: facts[f"{i} {who}"].split for who in here})
        for i, (name, number), here in zip(ids, numbers, subjects)
    ]


def limited(files: Sequence[Recording], source: Source, table: Table, limit: int) -> list[Recording]:
    """The files that hold the first `limit` recordings, each with the number of its own. They are read for it."""
    kept = []
    for file in files:
        if limit <= 0:
            break
        seen = set()
        try:
            for item in samples_of(replace(file, first=limit), source, table):
                seen |= set() if isinstance(item, Dropped) else {item[1].recording}
        except ValueError:
            pass  # the conversion comes to the same place, and says so
        kept.append(replace(file, first=limit))
        limit -= len(seen)
    return kept


def _subjects(source: Source, split: str, number: int, column: str) -> list[str]:
    """Who is in a file."""
    batches = _batches(source, split, number, {column: pa.string()})
    return sorted({who for columns in batches for who in words(columns[column].values)[1]})


def run(
    source: str,
    out: Path,
    *,
    config: Path | Table,
    subset: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    **how,
) -> dict:
    """Converts a data set of the Hub or a folder; `how` goes to `shards.common.convert`. Gives the manifest."""
    table = config if isinstance(config, Table) else read_table(config)
    unused = [key for key in OF_TEXT if key in table.model_fields_set]
    if unused:
        raise ShardError(f"{', '.join(unused)}: the rows of a data set have no such key; leave it out of the YAML")
    files = table.files if "files" in table.model_fields_set else ()
    local = Path(source).exists()
    if local and revision is not None:
        raise ShardError(f"{source} is a folder, which has no revisions: leave --revision out")
    if not local:
        revision = commit(source, revision)
    asked = Source(source, subset, revision, files)
    recordings = plan(asked, table, split)
    own = all(isinstance(r.to, str) for r in recordings)
    at = "" if local else f", huggingface.co/datasets/{source} at {revision}"
    arguments = {"subset": subset, "split": split, "limit": limit, "table": table.model_dump(mode="json")}
    return convert(
        "hub",
        recordings if limit is None else limited(recordings, asked, table, limit),
        partial(samples_of, source=asked, table=table),
        out,
        card=card(
            table,
            f"{len(recordings)} files of a data set{at}. Written by `shards/hub.py`",
            "those of the data set" if own else "by subject",
        ),
        arguments=arguments | ({} if local else {"source": source, "revision": revision}),
        **how,
    )


def commit(source: str, revision: str | None) -> str:
    """The commit of a data set of the Hub that a revision, or its newest state, is. ShardError where there is none."""
    try:
        found = HfApi().dataset_info(source, revision=revision).sha
    except Exception as error:  # as above: without a network, an error of the HTTP library
        raise ShardError(
            f"{source} is neither a folder nor a data set of the Hub that can be reached (--source OWNER/NAME, --revision;"
            f" `hf auth login` for what is not public): {error}"
        ) from error
    assert found is not None  # asked for by default
    return found


def main() -> None:
    p = parser("hub", "Shards of a data set of the Hugging Face Hub: --source OWNER/NAME, or a folder with its files.")
    p.add_argument("--config", type=Path, required=True, help="YAML file that says what the rows hold")
    p.add_argument("--subset", help="configuration of the data set, where it has several")
    p.add_argument("--split", help="only this split of the data set")
    p.add_argument("--revision", help="branch, tag or commit of the data set")
    args = p.parse_args()
    if args.source is None:
        p.error("--source: give OWNER/NAME of a data set of the Hub, or a folder with its files")
    with exit_on_fault(p):
        run(
            str(args.source),
            args.out,
            config=args.config,
            subset=args.subset,
            split=args.split,
            revision=args.revision,
            limit=args.limit,
            **how_of(args),
        )


if __name__ == "__main__":
    main()
