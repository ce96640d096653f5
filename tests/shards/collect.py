"""What tests of converters share: the items of a recording, sorted; where real recordings are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from aura.data.sample import Sample, validate
from aura.data.writer import Dropped


def collect(items: Iterable[tuple[str, Sample] | Dropped]) -> tuple[list[tuple[str, Sample]], dict[str, Dropped]]:
    """The valid samples with their splits, in order, and the notes summed by reason."""
    found, notes = [], {}
    for item in items:
        if isinstance(item, Dropped):
            before = notes.get(item.reason, Dropped(item.reason, 0.0, 0))
            notes[item.reason] = Dropped(item.reason, before.seconds + item.seconds, before.count + item.count)
        else:
            validate(item[1])
            found.append(item)
    return found, notes


def real_data(name: str) -> Path:
    """A folder of real recordings; the test is skipped where it is absent."""
    folder = Path(os.environ.get("AURA_DATA", Path(__file__).parents[3] / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set AURA_DATA to the folder that holds {name}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder of shards."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
