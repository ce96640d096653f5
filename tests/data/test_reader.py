"""Readers give the same rows on any number of ranks and processes, go on where they stopped, and pass over bad samples."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch

import aura.data.storage
from aura.data.config import DataConfig, ImuInput, MocapInput, Pose2dInput, TextInput, VideoInput
from aura.data.handover import flatten
from aura.data.index import open_split
from aura.data.order import OrderError
from aura.data.reader import EvalReader, ReadError, TrainReader, merge_positions, plan
from aura.data.storage import StorageError
from aura.data.writer import ShardError
from tests.data.samples import make_sample, write_set

INPUTS = {"imu": ImuInput(rate_hz=50, sensors=2, augment={"gain": 0.1}), "mocap": MocapInput(rate_hz=20)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("reader")
    held_out = [("val", make_sample(90 + i, seconds=s)) for i, s in enumerate((6.0, 3.0, 1.5, 6.0, 2.0))]
    write_set(root / "a", 37, also=held_out, streams=("imu", "mocap"))
    write_set(root / "b", 11, streams=("imu",), texts=False)
    return root


def config(folders, *, workers=0, streams=8, sources=("a",), **more):
    paths = [{"path": str(folders / name), "weight": 1 + 2 * i} for i, name in enumerate(sources)]
    settings = {"window": {"seconds": 2.0}, "shuffle_block": 4, **more}
    return DataConfig(sources=paths, workers=workers, streams=streams, **settings)


def steps_of(reader, count):
    batches = list(itertools.islice(iter(reader), count))
    return [batch for batch, _ in batches], [position for _, position in batches]


def merged(ranks):
    """The global batches of all ranks' batches, rows in order."""
    out = []
    for step in zip(*ranks):
        order = np.argsort([row for batch in step for row in batch.row.tolist()], kind="stable")
        tensors = {}
        for name in flatten(step[0])[0]:
            joined = torch.cat([flatten(batch)[0][name] for batch in step])
            tensors[name] = joined[order.tolist()]
        ids = [[i for batch in step for i in batch.ids][k] for k in order]
        out.append((tensors, ids))
    return out


def same(a, b):
    for (x, x_ids), (y, y_ids) in zip(a, b, strict=True):
        assert x_ids == y_ids
        assert x.keys() == y.keys()
        for name in x:
            torch.testing.assert_close(x[name], y[name], rtol=0, atol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("ranks", "workers", "sources"),
    [(1, 2, "a"), (2, 0, "a"), (2, 2, "a"), (8, 0, "a"), (2, 2, "ab"), (4, 0, "ab")],
)
def test_ranks_and_workers_change_nothing(folders, ranks, workers, sources):
    count = 7
    reference, _ = steps_of(TrainReader(config(folders, sources=sources), INPUTS, batch=16, seed=3), count)
    parts = []
    for rank in range(ranks):
        settings = config(folders, workers=workers, sources=sources)
        reader = TrainReader(settings, INPUTS, batch=16, rank=rank, ranks=ranks, seed=3)
        parts.append(steps_of(reader, count)[0])
        assert all(row % ranks == rank for batch in parts[-1] for row in batch.row.tolist())
    same(merged([reference]), merged(parts))
    assert [row for batch in reference for row in batch.row.tolist()] == list(range(16 * count))


def test_every_pass_sees_every_sample_once(folders):
    batches, _ = steps_of(TrainReader(config(folders), INPUTS, batch=8, seed=1), 37 * 3 // 8 + 1)
    ids = [name for batch in batches for name in batch.ids]
    for number in range(3):
        assert sorted(ids[37 * number : 37 * (number + 1)]) == [f"clip-{i:04d}" for i in range(37)]
    assert ids[:37] != ids[37:74]
    other, _ = steps_of(TrainReader(config(folders), INPUTS, batch=8, seed=2), 4)
    assert [name for batch in other for name in batch.ids] != ids[:32]


@pytest.mark.parametrize(
    ("sources", "ranks", "workers", "then_ranks", "then_workers"),
    [("a", 1, 0, 2, 2), ("a", 4, 0, 1, 2), ("ab", 2, 2, 1, 0), ("ab", 1, 0, 4, 0)],
)
def test_restart_goes_on_with_the_very_next_row(folders, sources, ranks, workers, then_ranks, then_workers):
    whole, positions = steps_of(TrainReader(config(folders, sources=sources), INPUTS, batch=16, seed=5), 9)
    first = []
    for rank in range(ranks):
        settings = config(folders, workers=workers, sources=sources)
        reader = TrainReader(settings, INPUTS, batch=16, rank=rank, ranks=ranks, seed=5)
        first.append(steps_of(reader, 4)[1][-1])
    position = json.loads(json.dumps(merge_positions(first)))
    assert position == positions[3]
    assert position == first[0]  # without bad samples every rank knows the whole position
    rest = []
    for rank in range(then_ranks):
        settings = config(folders, workers=then_workers, sources=sources)
        reader = TrainReader(settings, INPUTS, batch=16, rank=rank, ranks=then_ranks, seed=5, position=position)
        rest.append(steps_of(reader, 5)[0])
    same(merged([whole[4:]]), merged(rest))


def test_windows_of_a_visit(folders):
    batches, _ = steps_of(TrainReader(config(folders, windows=2), INPUTS, batch=8), 4)
    for first, second in ((0, 1), (2, 3)):
        assert batches[first].ids == batches[second].ids
        assert batches[first].start_s.tolist() != batches[second].start_s.tolist()


def damage(folder, copy, keys):
    """A copy of a folder in which the JSON of some samples cannot be read; sizes and the index stay."""
    shutil.copytree(folder, copy)
    split = open_split(str(copy), "train")
    for i, entry in enumerate(split.entries()):
        if entry["key"] in keys:
            shard, _ = split.locate(i)
            with open(copy / shard.file, "r+b") as file:
                file.seek(entry["offset"] + entry["members"]["json"][0])
                file.write(b"#")
    return copy


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_replaced_counted_and_named(folders, tmp_path, workers, caplog):
    bad = {"clip-0003", "clip-0017", "clip-0018"}
    damage(folders / "a", tmp_path / "c", bad)
    settings = config(tmp_path, workers=workers, sources=("c",))
    reader = TrainReader(settings, INPUTS, batch=8, seed=1)
    batches, positions = steps_of(reader, 20)
    ids = [name for batch in batches for name in batch.ids]
    assert not bad & set(ids)
    assert len(reader.bad) == 3
    assert sorted(key for key in bad if any(key in message for message in reader.bad.values())) == sorted(bad)
    assert sum("bad sample passed over" in message for message in caplog.messages) == 3
    # A pass has the good samples once each: 34 rows a pass, up to where streams stand in it.
    counts = np.unique(ids, return_counts=True)[1]
    assert counts.max() - counts.min() <= 2
    # The same with two ranks, whose positions know of their own bad samples alone; resumed by one.
    parts = [TrainReader(settings, INPUTS, batch=8, seed=1, rank=rank, ranks=2) for rank in range(2)]
    runs = [steps_of(part, 10) for part in parts]
    same(merged([batches[:10]]), merged([run[0] for run in runs]))
    position = merge_positions([run[1][-1] for run in runs])
    assert position == positions[9]
    rest, _ = steps_of(TrainReader(settings, INPUTS, batch=8, seed=1, position=position), 5)
    same(merged([batches[10:15]]), merged([rest]))


def test_a_sample_that_is_bad_in_part_does_not_change_the_order(folders, tmp_path):
    """Its windows before the fault are rows: what a process remembers of the fault must not keep them out."""
    shutil.copytree(folders / "a", tmp_path / "c")
    split = open_split(str(tmp_path / "c"), "train")
    for i in range(0, 37, 2):
        shard, _ = split.locate(i)
        entry = split.entry(i)
        start, size = entry["members"]["mocap.npy"][:2]
        with open(tmp_path / "c" / shard.file, "r+b") as file:
            file.seek(entry["offset"] + start + size - 12)
            file.write(np.full(3, np.nan, np.float32).tobytes())
    alone = TrainReader(config(tmp_path, sources=("c",)), INPUTS, batch=8, seed=1)
    batches, positions = steps_of(alone, 30)
    assert alone.bad
    faulty = {split.entry(i)["key"] for i in range(0, 37, 2)}
    seen = {name for batch in batches for name in batch.ids}
    assert seen & faulty, "windows that end before the fault"
    workers = TrainReader(config(tmp_path, sources=("c",), workers=2), INPUTS, batch=8, seed=1)
    same(merged([batches]), merged([steps_of(workers, 30)[0]]))
    for step in (7, 19):
        again = TrainReader(config(tmp_path, sources=("c",)), INPUTS, batch=8, seed=1, position=positions[step])
        same(merged([batches[step + 1 :]]), merged([steps_of(again, 29 - step)[0]]))


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_samples_end_the_run_with_their_list(folders, tmp_path, workers):
    bad = {f"clip-{i:04d}" for i in range(5, 15)}
    damage(folders / "a", tmp_path / "c", bad)
    settings = config(tmp_path, workers=workers, sources=("c",), max_bad=4)
    with pytest.raises(ReadError, match=r"(?s)max_bad=4.*clip-00"):
        steps_of(TrainReader(settings, INPUTS, batch=8), 30)
    damage(folders / "b", tmp_path / "d", {f"clip-{i:04d}" for i in range(11)})
    settings = config(tmp_path, workers=workers, sources=("d",))
    with pytest.raises(ReadError, match="every sample of"):
        steps_of(TrainReader(settings, {"imu": INPUTS["imu"]}, batch=8), 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreachable_storage_is_no_bad_sample(folders, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(aura.data.storage, "WAITS_S", (0.0,))
    shutil.copytree(folders / "a", tmp_path / "c")
    reader = TrainReader(config(tmp_path, workers=workers, sources=("c",)), INPUTS, batch=8)
    for path in (tmp_path / "c").glob("train-*.tar"):
        path.unlink()
    with pytest.raises(StorageError, match=r"train-\d+\.tar cannot be read after 2 tries"):
        steps_of(reader, 2)
    assert reader.bad == {}


def test_refused_before_the_first_step(folders, tmp_path):
    with pytest.raises(OrderError, match=r"3 ranks do not divide"):
        TrainReader(config(folders), INPUTS, batch=16, ranks=3)
    inputs = {"imu": ImuInput(), "pose2d": Pose2dInput()}
    with pytest.raises(
        ReadError, match=r"no source has the stream 'pose2d'.*a train has imu, mocap, text; .*b train has imu\."
    ):
        TrainReader(config(folders, sources=("a", "b")), inputs, batch=8)
    TrainReader(config(folders, sources=("a", "b")), INPUTS, batch=8)  # one of the two has mocap: enough
    with pytest.raises(ReadError, match="tokenizer"):
        TrainReader(config(folders), {"text": TextInput()}, batch=8)
    with pytest.raises(ReadError, match="precompute"):
        TrainReader(config(folders), {"text": TextInput()}, batch=8, precomputed={"text": "abc"})
    with pytest.raises(ShardError, match=r"no split 'trian'; it has train, val"):
        TrainReader(DataConfig(sources=[{"path": str(folders / "a"), "split": "trian"}]), INPUTS, batch=8)
    with pytest.raises(ReadError, match="streams of order"):
        TrainReader(config(folders), INPUTS, batch=8, position={"step": 1, "counters": [[0]] * 4})
    with pytest.raises(ReadError, match=r"data\.eval"):
        EvalReader(config(folders), INPUTS, batch=8)


def test_stored_embeddings_of_another_tower_are_refused(tmp_path):
    sample = make_sample(0, streams=("imu", "video"))
    sample.arrays["video.emb"] = np.ones((30, 8), np.float16)
    sample.streams["video.emb"] = {"tower": "abc", "rate_hz": 5.0, "start_s": 0.0, "length": 30}
    write_set(tmp_path / "a", 0, also=[("train", sample)])
    inputs = {"imu": ImuInput(), "video": VideoInput(frames=3)}
    with pytest.raises(ReadError, match=r"of tower abc, the recipe's is xyz; run tools/precompute\.py"):
        TrainReader(config(tmp_path), inputs, batch=8, precomputed={"video": "xyz"})
    batches, _ = steps_of(TrainReader(config(tmp_path), inputs, batch=8, precomputed={"video": "abc"}), 1)
    assert batches[0].streams["video"].values.shape == (8, 3, 8)


def test_processes_leave_signals_to_the_trainer_and_end_with_it(folders):
    reader = TrainReader(config(folders, workers=2), INPUTS, batch=8)
    before = set(multiprocessing.active_children())  # of other tests, on their way out
    iterator = iter(reader)
    first, _ = next(iterator)
    children = set(multiprocessing.active_children()) - before
    assert len(children) == 2
    for child in children:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(child.pid, number)
    time.sleep(0.2)
    assert all(child.is_alive() for child in children)
    rows = [row for _ in range(6) for row in next(iterator)[0].row.tolist()]
    assert first.row.tolist() + rows == list(range(56))
    iterator.close()
    for child in children:
        child.join(600)
    assert not any(child.is_alive() for child in children)


def test_killed_process_is_an_error_not_a_hang(folders):
    before = set(multiprocessing.active_children())
    iterator = iter(TrainReader(config(folders, workers=2), INPUTS, batch=8))
    next(iterator)
    # torch's own handler of dead children would speak first, wherever this process is: in pytest too.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    children = set(multiprocessing.active_children()) - before
    try:
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ReadError, match=r"a reading process died.*data\.workers"):
            list(itertools.islice(iterator, 50))
    finally:
        for child in children:  # one that ends later would speak to the handler
            child.join(600)
        signal.signal(signal.SIGCHLD, handler)


def test_plan_says_passes_of_each_source(folders):
    reader = TrainReader(config(folders, sources=("a", "b")), INPUTS, batch=8)
    lines = plan(reader.config, 8, 37, reader)
    assert "37 steps of 8 rows, 8 streams of order" in lines[0]
    assert "a train: 37 samples, 25% of the rows, 2.00 passes (18.5 steps a pass)" in lines[1]
    assert "b train: 11 samples, 75% of the rows, 20.18 passes" in lines[2]
    assert set(reader.shards()) == {f"{folders / n}:train" for n in "ab"}


def held_out(folders, **more):
    return config(folders, eval=[{"path": str(folders / "a")}], **more)


@pytest.mark.parametrize(("ranks", "workers", "batch"), [(1, 0, 4), (2, 0, 2), (3, 2, 2), (4, 0, 5)])
def test_evaluation_sees_each_window_once(folders, ranks, workers, batch):
    readers = [
        EvalReader(held_out(folders, workers=workers), INPUTS, batch=batch, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    # Windows of 2 s: 3 of each clip of 6 s, 1 of the clips of 3, 1.5 and 2 s.
    assert {reader.windows for reader in readers} == {9}
    runs = [list(reader) for reader in readers]
    assert {len(run) for run in runs} == {len(readers[0])} == {-(-9 // (ranks * batch))}
    rows = {}
    for rank, run in enumerate(runs):
        for b in run:
            assert len(b) == batch
            for i, row in enumerate(b.row.tolist()):
                if row < 0:
                    assert b.weight[i] == 0
                    assert not b.streams["imu"].present[i]
                else:
                    assert row % ranks == rank
                    assert b.weight[i] == 1
                    assert row not in rows
                    rows[row] = (b.ids[i], round(b.start_s[i].item(), 6))
    assert [rows[i] for i in range(9)] == [
        *(("clip-0090", 9000.0 + 2 * k) for k in range(3)),
        ("clip-0091", 9100.0),
        ("clip-0092", 9200.0),
        *(("clip-0093", 9300.0 + 2 * k) for k in range(3)),
        ("clip-0094", 9400.0),
    ]


def test_evaluation_is_the_same_each_time_and_limited_evenly(folders):
    reader = EvalReader(held_out(folders, workers=2), INPUTS, batch=4)
    same(merged([list(reader)]), merged([list(reader)]))
    few = EvalReader(held_out(folders), INPUTS, batch=2, limit=3)
    assert [row for b in few for row in b.row.tolist()] == [0, 3, 6, -1]
    assert (few.windows, few.total, len(few)) == (3, 9, 2)


def test_each_rank_looks_at_its_share_of_the_shards(folders, tmp_path):
    shutil.copytree(folders / "a", tmp_path / "a")
    shards = open_split(str(tmp_path / "a"), "train").shards
    assert len(shards) > 3
    (tmp_path / "a" / shards[3].file).unlink()
    for rank, ranks in ((0, 1), (1, 2), (3, 4)):
        with pytest.raises(ShardError, match=f"{shards[3].file} is missing"):
            TrainReader(config(tmp_path), INPUTS, batch=8, rank=rank, ranks=ranks)
    for rank, ranks in ((0, 2), (0, 4), (1, 4), (2, 4)):
        TrainReader(config(tmp_path), INPUTS, batch=8, rank=rank, ranks=ranks)


def test_bad_sample_in_evaluation_has_no_weight(folders, tmp_path):
    shutil.copytree(folders / "a", tmp_path / "a")
    split = open_split(str(tmp_path / "a"), "val")
    shard, _ = split.locate(1)
    with open(tmp_path / "a" / shard.file, "r+b") as file:
        file.seek(split.entry(1)["offset"] + split.entry(1)["members"]["json"][0])
        file.write(b"#")
    reader = EvalReader(held_out(tmp_path), INPUTS, batch=4)
    rows = [row for b in reader for row in b.row.tolist()]
    assert rows == [0, 1, 2, -1, 4, 5, 6, 7, 8, -1, -1, -1]
    assert "clip-0091" in reader.bad[0, 1]


def test_invalid_entries_are_zero(folders):
    batch = next(iter(EvalReader(held_out(folders), INPUTS, batch=9)))
    imu = batch.streams["imu"]
    assert (~imu.valid).any()
    assert not imu.values[~imu.valid].any()
    short = batch.ids.index("clip-0092")  # 1.5 s of a window of 2 s
    assert imu.valid[short].sum(1).tolist() == [75, 75]
