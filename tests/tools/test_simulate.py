"""The simulation gives the rows that the reader yields, and counts what it really reads."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import aura.data.index
import aura.data.storage
from aura.data.config import DataConfig, ImuInput, MocapInput, Pose2dInput, TextInput, VideoInput
from aura.data.order import Order
from aura.data.reader import TrainReader, make_cutter, open_sources
from aura.data.storage import OpenFiles
from tests.data.samples import write_set

ROOT = Path(__file__).parents[2]
INPUTS = {"imu": ImuInput(rate_hz=50, sensors=1), "mocap": MocapInput(rate_hz=20)}
RICH = {
    "imu": ImuInput(rate_hz=50, sensors=1, orientation=True),
    "pose2d": Pose2dInput(rate_hz=15),
    "video": VideoInput(frames=2, size=32),
    "text": TextInput(),
}
LAYOUTS = [(1, 0), (1, 2), (2, 2), (4, 1), (8, 0)]


@pytest.fixture(scope="module")
def simulate():
    sys.path.insert(0, str(ROOT / "tools"))  # as for a script that lies there
    import simulate

    yield simulate
    sys.path.remove(str(ROOT / "tools"))


@pytest.fixture(scope="module")
def parts(simulate):
    import simulate_reader

    return simulate_reader


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulate")
    write_set(root / "a", 37, streams=("imu", "mocap"))
    write_set(root / "b", 11, streams=("imu",))
    write_set(root / "rich", 12, streams=("imu", "orientation", "pose2d", "video"), shard_bytes=150_000)
    write_set(root / "even", 40, seconds=2.0, streams=("imu",), texts=False, shard_bytes=60_000)
    return root


def config(folders, sources="ab", workers=0, **more):
    paths = [{"path": str(folders / name), "weight": 1 + 2 * i} for i, name in enumerate(sources.split())]
    settings = {"window": {"seconds": 2.0}, "shuffle_block": 4, "streams": 8, "max_bad": 0, **more}
    return DataConfig(sources=paths, workers=workers, **settings)


def tokenize(texts):
    return torch.zeros(len(texts), 4, dtype=torch.int64)


def simulated(parts, settings, inputs, batch, ranks, steps, start=0, seed=3):
    """(what each rank does, row -> key of its sample) of the simulation."""
    splits = open_sources(settings.sources, {}, {})
    cutter = make_cutter(settings, inputs, splits, tokenize, {}, training=True)
    sources = [parts.Folder(split, number, seed, cutter) for number, split in enumerate(splits)]
    sizes, weights = tuple(map(len, splits)), tuple(s.weight for s in settings.sources)
    order = Order(seed, sizes, weights, settings.streams, settings.shuffle_block, settings.windows)
    counters = parts.counters_at(order, batch, start)
    workers = aura.data.order.fitting_workers(settings.streams, ranks, settings.workers)
    run, rows = parts.Run(batch, ranks, workers, steps, start, counters), {}

    def visit(row, at):
        assert row not in rows
        rows[row] = splits[at.source].entry(at.sample)["key"], at.window

    return parts.simulate(order, sources, run, visit), rows, counters


@pytest.mark.parametrize(("ranks", "workers"), LAYOUTS)
@pytest.mark.parametrize("sources", ["a", "a b"])
def test_rows_are_those_that_the_reader_yields_also_after_a_restart(folders, parts, ranks, workers, sources):
    settings = config(folders, sources, workers, windows=2)
    before, after, batch = 3, 4, 16
    _, first, _ = simulated(parts, settings, INPUTS, batch, ranks, before)
    found, second, counters = simulated(parts, settings, INPUTS, batch, ranks, after, start=before)
    expected = {}
    for rank in range(ranks):
        about = {"batch": batch, "rank": rank, "ranks": ranks, "seed": 3}
        position = None
        for count in (before, after):  # a second reader goes on where the first one stopped
            reads = list(itertools.islice(TrainReader(settings, INPUTS, position=position, **about), count))
            for read, _ in reads:
                expected |= dict(zip(read.row.tolist(), read.ids))
            position = reads[-1][1]
            if count == before:
                assert position == {"step": before, "counters": counters.tolist()}
    assert sorted(expected) == list(range(16 * (before + after)))
    assert {row: key for row, (key, _) in (first | second).items()} == expected
    assert sorted(second) == list(range(16 * before, 16 * (before + after)))
    assert {rank.samples for rank in found} == {after * batch // ranks}


class Watch:
    """What readers really open and read of tars and indexes, by what each `OpenFiles` holds before and after it gives a handle:
    numbers of handles alone say nothing, the rest of the process opens and closes files too."""

    def __init__(self, monkeypatch):
        self.openings = self.reads = self.bytes = self.seeks = self.index_openings = self.index_bytes = 0
        self.most_open = 0
        self.files = {}  # handle -> [name, where the last read ended]
        self.real = {name: getattr(os, name) for name in ("pread", "preadv")}
        for name in self.real:
            monkeypatch.setattr(os, name, getattr(self, name))
        get = OpenFiles.get
        monkeypatch.setattr(OpenFiles, "get", lambda files, name: self.get(get, files, name))

    def get(self, real, files, name):
        before = dict(files.handles)
        handle = real(files, name)
        if name not in before:
            for closed in before.keys() - files.handles.keys():
                del self.files[before[closed]]
            self.files[handle] = [name, 0]
            self.most_open = max(self.most_open, len(self.files) + len(before.keys() - files.handles.keys()))
            self.openings += name.endswith(".tar")
            self.index_openings += name.endswith(".idx.json")
        return handle

    def pread(self, handle, size, offset):
        data = self.real["pread"](handle, size, offset)
        self._count(handle, offset, len(data))
        return data

    def preadv(self, handle, arrays, offset):
        size = self.real["preadv"](handle, arrays, offset)
        self._count(handle, offset, size)
        return size

    def _count(self, handle, offset, size):
        file = self.files[handle]
        if file[0].endswith(".tar"):
            self.reads, self.bytes, self.seeks = self.reads + 1, self.bytes + size, self.seeks + (offset != file[1])
        else:
            self.index_bytes += size
        file[1] = offset + size


COUNTED = ("openings", "reads", "bytes", "seeks", "index_openings", "index_bytes")


@pytest.mark.parametrize(("ranks", "workers"), LAYOUTS)
@pytest.mark.parametrize(
    ("sources", "inputs", "whole", "files"),
    [("a", INPUTS, None, 64), ("a b", INPUTS, None, 3), ("rich", RICH, 0, 64), ("a rich", RICH, 10_000, 3)],
)
def test_what_is_counted_is_what_is_read(folders, parts, monkeypatch, ranks, workers, sources, inputs, whole, files):
    monkeypatch.setattr(aura.data.storage, "OPEN_FILES", files)
    monkeypatch.setattr(aura.data.index, "FILES_OF_A_STREAM", 0)
    if whole is not None:
        monkeypatch.setattr(aura.data.index, "WHOLE_BYTES", whole)
    settings, steps, batch = config(folders, sources, workers), 5, 16
    found, _, _ = simulated(parts, settings, inputs, batch, ranks, steps)
    for rank in range(ranks):
        total, most_open = dict.fromkeys(COUNTED, 0), 0
        about = {"batch": batch, "rank": rank, "ranks": ranks, "seed": 3, "tokenize": tokenize}
        count = TrainReader(settings, inputs, **about).workers
        assert count == min(workers, 8 // ranks)
        for worker in range(max(1, count)):
            reader = TrainReader(settings, inputs, **about)  # as a process of its own: nothing is open
            with pytest.MonkeyPatch.context() as patch:
                watch = Watch(patch)
                read = list(itertools.islice(reader._parts(worker, max(1, count)), steps))
            assert all(part.error is None and not part.bad for part in read)
            total = {key: total[key] + getattr(watch, key) for key in COUNTED}
            most_open = max(most_open, watch.most_open)
        assert {key: getattr(found[rank], key) for key in COUNTED} == total
        assert found[rank].open_files == most_open
        assert total["bytes"] > 0
        assert total["openings"] > 0


def test_statistics_of_even_samples_are_those_of_the_folder(folders, parts, monkeypatch):
    settings = config(folders, "even", 2, streams=16, shuffle_block=2)
    (split,) = open_sources(settings.sources, {}, {})
    sizes, counts = {entry["size"] for entry in split.entries()}, [shard.samples for shard in split.shards]
    assert len(sizes) == 1
    assert set(counts[:-1]) == {counts[0]}
    assert len(counts) > 3
    found, rows, _ = simulated(parts, settings, {}, 16, 4, 10)
    order = Order(3, (40,), (1.0,), 16, 2)
    source = parts.Statistics(40, counts[0], sizes.pop(), 1000)
    run, again = parts.Run(16, 4, 2, 10, 0, np.zeros((16, 1), np.int64)), {}
    alike = parts.simulate(order, [source], run, lambda row, at: again.update({row: at.sample}))
    assert {row: split.entry(sample)["key"] for row, sample in again.items()} == {
        r: key for r, (key, _) in rows.items()
    }
    for key in ("samples", "bytes", "openings", "reads", "seeks", "index_openings", "idle", "uneven"):
        assert [getattr(rank, key) for rank in found] == [getattr(rank, key) for rank in alike]


def test_a_rank_with_fewer_bytes_waits(parts):
    ranks = [parts.RankCounts(), parts.RankCounts()]
    parts.waits(ranks, [np.array([10, 20]), np.array([20, 20])])
    assert [rank.idle for rank in ranks] == [0.25, 0.0]


def test_uneven_processes_are_told(parts):
    order = Order(0, (1000,), (1.0,), 8)
    source = parts.Statistics(1000, 100, 10.0, 100)
    run = parts.Run(batch=6, ranks=2, workers=2, steps=8, start=0, counters=np.zeros((8, 1), np.int64))
    for rank in parts.simulate(order, [source], run):  # three rows of a rank by two processes: two and one
        assert rank.samples == 24
        assert rank.uneven == pytest.approx(0.25)


def test_a_billion_samples_and_many_ranks(simulate, tmp_path, capsys):
    words = [
        "--samples",
        "1e9",
        "--batch",
        "1024",
        "--streams",
        "1024",
        "--workers",
        "1",
        "--ranks",
        "512",
        "--steps",
        "4",
        "--walk",
        "2",
        "--at",
        "100000",
    ]
    assert simulate.main([*words, "--out", str(tmp_path / "a.png"), "--json", str(tmp_path / "a.json")]) == 0
    text = capsys.readouterr().out
    assert "1,000,000,000 samples in 1,000,000 shards" in text
    assert "--steps 32 shows that" in text
    found = json.loads((tmp_path / "a.json").read_text())
    (line,) = found["lines"]
    assert line["samples"] == [8, 8, 8]
    assert line["idle"] == [0, 0, 0]
    assert line["index_share"] < 0.02
    assert [len(ranks) for ranks in found["ranks"]] == [2]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_takes_a_folder_and_a_recipe(folders, tmp_path):
    command = [
        sys.executable,
        "tools/simulate.py",
        "--recipe",
        "tests/train/tiny.yaml",
        "--shards",
        f"{folders / 'a'}:train",
    ]
    done = subprocess.run(
        [*command, "--ranks", "1", "2", "--steps", "2"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "37 samples in" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[4:6]] == ["1", "2"]


def test_what_cannot_be_is_refused(simulate, folders, capsys):
    assert simulate.main(["--samples", "1000", "--batch", "48", "--ranks", "5"]) == 2
    assert "5 ranks do not divide train.batch=48 and data.streams=64" in capsys.readouterr().err
    assert simulate.main(["--shards", str(folders / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    for words in ([], ["--samples", "0"], ["--samples", "10", "--shards", "x"], ["--samples", "10", "--streams", "0"]):
        with pytest.raises(SystemExit):
            simulate.main(words)
