"""What training and evaluation share, by index files alone."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

import aura.tasks.leaks
from aura.data.index import Shard, Split, open_folder, open_split
from aura.data.storage import Storage
from aura.data.writer import ShardWriter, index_bytes
from aura.tasks.leaks import (
    FILE,
    KINDS,
    LeakError,
    contents,
    leaks,
    publish,
    record,
    record_unknown,
    stored,
    training_contents,
)
from tests.data.samples import make_sample


def write(folder, samples, dataset="study"):
    """Shards of (split, sample)."""
    with ShardWriter(folder, name=dataset) as writer:
        for split, sample in samples:
            writer.write(split, sample)
    return folder


def sample(number, subject, recording=None, **changes):
    one = make_sample(number, seconds=1.0, streams=("imu",))
    recording = recording or f"take{number}"
    changes = {"session": f"day {subject}" if subject else "", "group": "", **changes}
    return replace(one, id=f"k{number}", subject=subject, recording=recording, **changes)


@pytest.fixture
def folder(tmp_path):
    """Subject s2 and the recording take3 are in both splits; k9 is a copy of k1 under other names."""
    copy = replace(sample(1, "s1"), id="k9", subject="s9", recording="take9", session="")
    return write(
        tmp_path / "shards",
        [
            *(("train", sample(i, f"s{i}")) for i in (1, 2, 3)),
            ("test", sample(4, "s2", session="")),
            ("test", sample(5, "s5", "take3")),
            ("test", sample(6, "s6")),
            ("test", sample(7, "")),
            ("test", copy),
        ],
    )


def test_of_a_vast_split_the_people_are_known(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(aura.tasks.leaks, "LISTED", 2)
    train, test = open_split(folder, "train"), open_split(folder, "test")
    monkeypatch.setattr(Split, "entries", None)  # no index is read
    record(tmp_path, [train])
    monkeypatch.undo()
    lines = leaks(training_contents(tmp_path), [test]).lines()
    assert lines[0] == "1 of 4 subjects were in training (1 of 5 samples): study s2"
    assert lines[1] == (
        f"not compared: sessions, groups, recordings, bytes and the nameless of {folder}:train, whose 3 samples are too many"
        " to be listed"
    )


def test_people_recordings_and_bytes_that_are_in_both(folder):
    found = leaks(contents([open_split(folder, "train")]), [open_split(folder, "test")])
    shared = {kind: (o.shared, o.of, o.samples, o.examples) for kind, o in found.overlaps.items()}
    assert shared == {
        "subject": (1, 4, 1, ("study s2",)),
        "session": (0, 2, 0, ()),
        "group": (0, 0, 0, ()),
        "recording": (1, 5, 1, ("study take3",)),
        "content": (1, 5, 1, ("study k9",)),
    }
    assert (found.samples, found.nameless) == (5, 1)
    assert found.lines() == [
        "1 of 4 subjects were in training (1 of 5 samples): study s2",
        "1 of 5 recordings were in training (1 of 5 samples): study take3",
        "1 of 5 streams of the same bytes were in training (1 of 5 samples): study k9",
        "people cannot be compared everywhere: 1 of 5 samples, and 0 of 3 in training, name no subject",
    ]


def test_splits_apart_have_nothing_to_tell(tmp_path):
    folder = write(tmp_path / "a", [("train", sample(1, "s1")), ("test", sample(2, "s2"))])
    assert leaks(contents([open_split(folder, "train")]), [open_split(folder, "test")]).lines() == []


def test_names_count_within_a_data_set(tmp_path):
    a = write(tmp_path / "a", [("train", sample(1, "s1", "r1"))], "one")
    b = write(tmp_path / "b", [("train", sample(2, "s1", "r1"))], "another")
    found = leaks(contents([open_split(a, "train")]), [open_split(b, "train")])
    assert not any(o.shared for o in found.overlaps.values())
    assert all(o.shared for k, o in leaks(contents([open_split(a, "train")]), [open_split(a, "train")]).overlaps.items() if k != "group")  # fmt: skip


def test_the_data_set_is_found_in_the_arguments_of_its_converter(tmp_path):
    """Converters of any source bear another name; embeddings that were added keep the converter within."""
    folder = write(tmp_path / "a", [("train", sample(1, "s1"))], "bvh")
    manifest = json.loads((folder / "manifest.json").read_text())
    inner = {"name": "bvh", "arguments": {"dataset": "cmu"}}
    for arguments in ({"dataset": "cmu"}, {"table": {"dataset": "cmu"}}, {"converter": inner}):
        manifest["converter"]["arguments"] = arguments
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert open_split(folder, "train").dataset == "cmu"
    (folder / "manifest.json").unlink()
    stranger = open_folder(folder)["train"]
    assert stranger.dataset == "test"
    found = leaks(contents([stranger]), [stranger])
    assert found.overlaps["subject"].shared == 1
    assert any("has no hashes of bytes" in line for line in found.lines())


def test_a_run_remembers_after_its_shards_are_gone(folder, tmp_path):
    train, test = open_split(folder, "train"), open_split(folder, "test")
    run = tmp_path / "run"
    (run / "checkpoints" / "step_00000001").mkdir(parents=True)
    record(run, [train])
    before = (run / FILE).read_bytes()
    record(run, [train])
    assert (run / FILE).read_bytes() == before
    expected = leaks(contents([train]), [test])
    kept = shutil.copytree(folder, tmp_path / "elsewhere")
    shutil.rmtree(folder)
    for path in (run, run / "checkpoints" / "step_00000001"):
        assert leaks(training_contents(path), [open_split(kept, "test")]) == expected
    assert b"s1" not in b"".join(x.tobytes() for x in training_contents(run).hashes.values())


def test_what_is_published_finds_the_same_and_names_no_folder(folder, tmp_path):
    for name in ("run", "out"):
        (tmp_path / name).mkdir()
    record(tmp_path / "run", [open_split(folder, "train")], init=tmp_path / "elsewhere" / "begun")
    publish(tmp_path / "run", tmp_path / "out")
    mine, theirs = stored(tmp_path / "run"), stored(tmp_path / "out")
    assert [source["folder"] for source in theirs.sources] == ["shards"]
    assert theirs.unknown == ("what begun was trained on",)
    assert str(tmp_path) not in repr(theirs)
    assert all(np.array_equal(mine.hashes[kind], theirs.hashes[kind]) for kind in KINDS)
    before, after = (leaks(known, [open_split(folder, "test")]) for known in (mine, theirs))
    assert before.overlaps == after.overlaps
    publish(tmp_path / "nowhere", tmp_path / "out")  # nothing recorded, nothing written
    record_unknown(tmp_path / "run", "the weights of data/x/y.pt, and more")
    publish(tmp_path / "run", tmp_path / "out")
    assert stored(tmp_path / "out").unknown == ("the weights of y.pt, and more",)


def test_a_run_that_goes_on_or_starts_from_another_has_read_both(tmp_path):
    a, b = (write(tmp_path / n, [("train", sample(i, f"s{i}"))]) for i, n in enumerate("ab"))
    splits = [open_split(x, "train") for x in (a, b)]
    first, second = tmp_path / "first", tmp_path / "second"
    for run in (first, second):
        run.mkdir()
    record(first, splits[:1])
    record(second, splits[1:], first)
    record(first, splits[1:])
    for run in (first, second):
        found = stored(run)
        assert found is not None
        assert leaks(found, splits).overlaps["subject"].shared == 2
        assert len(found.sources) == 2
    third = tmp_path / "third"
    third.mkdir()
    record(third, splits[:1], tmp_path / "downloaded")
    assert leaks(training_contents(third), splits[1:]).lines() == [f"not compared: what {tmp_path / 'downloaded'} was trained on"]  # fmt: skip


def test_a_run_without_record_is_compared_by_its_shards(folder, tmp_path):
    train = open_split(folder, "train")
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(LeakError, match=r"neither training_data\.npz nor environment\.json"):
        training_contents(run)
    (run / "environment.json").write_text(json.dumps({"shards": {f"{folder}:train": train.digest}}))
    assert training_contents(run).sources == contents([train]).sources
    (run / "environment.json").write_text(json.dumps({"shards": {f"{folder}:train": "other"}}))
    assert "written anew" in training_contents(run).unknown[0]
    shutil.rmtree(folder)
    with pytest.raises(LeakError, match=r"trained on .*shards:train, which cannot be read.*Put the shards back"):
        training_contents(run)
    (run / FILE).write_bytes(b"PK nonsense")
    with pytest.raises(LeakError, match="cannot be read"):
        training_contents(run)


def big(folder, first, count, seed):
    """A split of an index file alone: a person for every hundred samples."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(first, first + count):
        digest = random.bytes(96).hex()
        sha256 = {
            "json": "0" * 64,
            **{s: digest[64 * j : 64 * j + 64] for j, s in enumerate(("imu", "mocap", "video"))},
        }
        members = {"json": [512, 1700], "imu.npy": [3072, 96128, "<f4", [2, 2000, 6]], "mocap.npy": [99328, 67328, "<f4", [280, 20, 3]]}  # fmt: skip
        rows.append({"key": f"k{i:07d}", "offset": 0, "size": 1, "subject": f"s{i // 100}", "session": f"d{i // 100}", "group": "", "recording": f"take{i}", "start_s": 0.0, "duration_s": 20.0, "streams": ["imu", "mocap", "video", "text"], "labels": {"activity": "walk"}, "members": members, "sha256": sha256})  # fmt: skip
    (folder / f"{first}.idx.json").write_bytes(index_bytes("x.tar", rows))
    return Shard(Storage(str(folder)), "x.tar", count, 1, folder / f"{first}.idx.json")


def test_many_samples_take_seconds(tmp_path):
    train = Split("train", "train", [big(tmp_path, i, 10_000, i) for i in (0, 10_000)], {}, dataset="d")
    test = Split("test", "test", [big(tmp_path, 19_950, 5000, 1)], {}, dataset="d")
    begin = time.process_time()
    found = leaks(contents([train]), [test])
    taken = time.process_time() - begin
    assert found.overlaps["recording"].shared == 50
    assert found.overlaps["subject"].samples == 50
    assert found.overlaps["content"].shared == 0
    assert taken < 25_000 * 100e-6, "a million within 100 s on the slowest machine"
    assert set(found.overlaps) == set(KINDS)
