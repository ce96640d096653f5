"""Folders of shards as tests look at them."""

from __future__ import annotations

import json
import tarfile
from itertools import groupby
from pathlib import Path

import numpy as np

from aura.data.sample import Sample, from_members
from tools.verify_shards import table, verify


def samples_in(folder: Path) -> dict[str, tuple[str, Sample]]:
    """Key -> (split, sample) of a folder in which nothing is wrong."""
    faults, _, _ = verify(folder)
    assert not faults, table(faults)
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            files = [(info.name, tar.extractfile(info).read()) for info in tar]  # pyright: ignore[reportOptionalMemberAccess]
        for key, members in groupby(files, lambda file: file[0].partition(".")[0]):
            found[key] = path.name.partition("-")[0], from_members(members)
    return found


def array(sample: Sample, name: str) -> np.ndarray:
    """An array of a sample."""
    value = sample.arrays[name]
    assert isinstance(value, np.ndarray)
    return value


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def dropped(folder: Path) -> dict[str, dict]:
    """Reason -> count and seconds, of the manifest."""
    return json.loads((folder / "manifest.json").read_text())["dropped"]
