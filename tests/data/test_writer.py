"""Folders of shards: the same bytes however they are made, whole or absent, readable by stock tools."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import yaml

import aura.data.files
from aura.data.sample import from_members, to_members
from aura.data.writer import MANIFEST, PARTS, Dropped, ShardError, ShardWriter, open_parts
from shards.common import convert
from tests.data.samples import failing_samples_of, make_sample, samples_of, short_samples_of, write_set

RECORDINGS = [f"r{i:02d}" for i in range(8)]


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    out = tmp_path_factory.mktemp("set") / "out"
    convert("test", RECORDINGS, samples_of, out, shard_bytes=200_000, card="# Test", arguments={"x": 1})
    return out


def test_same_bytes_at_any_number_of_workers_and_after_a_stop(converted, tmp_path):
    settings = {"shard_bytes": 200_000, "card": "# Test", "arguments": {"x": 1}}
    convert("test", RECORDINGS[::-1], samples_of, tmp_path / "two", workers=2, **settings)
    assert hashes(tmp_path / "two") == hashes(converted)
    from functools import partial

    with pytest.raises(ShardError, match=r"recording 'r05': ValueError: a broken file"):
        convert("test", RECORDINGS, partial(failing_samples_of, bad="r05"), tmp_path / "stop", **settings)
    assert not (tmp_path / "stop" / MANIFEST).exists()
    assert not list((tmp_path / "stop").glob("*.tar"))
    with pytest.raises(ShardError, match="--resume"):
        convert("test", RECORDINGS, samples_of, tmp_path / "stop", **settings)
    with pytest.raises(ShardError, match="another job: arguments"):
        convert("test", RECORDINGS, samples_of, tmp_path / "stop", resume=True, arguments={"x": 2})
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "stop" / PARTS).glob("*.tar")}
    assert len(before) == 7, "all but the one that failed"
    made = []
    convert("test", RECORDINGS, lambda r: made.append(r) or samples_of(r), tmp_path / "stop", resume=True, **settings)
    assert made == ["r05"]
    assert hashes(tmp_path / "stop") == hashes(converted)
    with pytest.raises(ShardError, match="finished already"):
        convert("test", RECORDINGS, samples_of, tmp_path / "stop", resume=True, **settings)


def test_killed_conversion_goes_on(converted, tmp_path):
    """A process that dies without any clean-up, in the middle of writing a part."""
    script = f"""
import os
from shards.common import convert
from tests.data.samples import samples_of
def deadly(recording):
    for item in samples_of(recording):
        yield item
        if recording == "r04":
            os._exit(9)
convert("test", {RECORDINGS!r}, deadly, {str(tmp_path / "out")!r}, shard_bytes=200_000, card="# Test", arguments={{"x": 1}})
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 9
    assert not (tmp_path / "out" / MANIFEST).exists()
    convert(
        "test",
        RECORDINGS,
        samples_of,
        tmp_path / "out",
        resume=True,
        shard_bytes=200_000,
        card="# Test",
        arguments={"x": 1},
    )
    assert hashes(tmp_path / "out") == hashes(converted)


def test_manifest_and_index_say_what_is_there(converted):
    manifest = json.loads((converted / MANIFEST).read_text())
    assert manifest["format"] == "aura-shards/1"
    assert manifest["converter"] == {"name": "test", "version": "1", "arguments": {"x": 1}}
    assert not (converted / PARTS).exists()
    assert set(manifest["splits"]) == {"train", "val"}
    keys = []
    for split, about in manifest["splits"].items():
        assert about["samples"] == sum(shard["samples"] for shard in about["shards"])
        assert about["streams"]["imu"]["placements"] == {"chest": about["samples"], "left wrist": about["samples"]}
        assert about["streams"]["mocap"]["skeletons"] == {"kinect20": about["samples"]}
        for number, shard in enumerate(about["shards"]):
            path = converted / shard["file"]
            assert shard["file"] == f"{split}-{number:06d}.tar"
            assert shard["bytes"] == path.stat().st_size
            assert shard["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            index = json.loads((converted / shard["file"].replace(".tar", ".idx.json")).read_text())
            data = path.read_bytes()
            in_order = [entry["key"] for entry in index["samples"]]
            assert in_order == sorted(in_order)
            for entry in index["samples"]:
                keys.append(entry["key"])
                with tarfile.open(fileobj=io.BytesIO(data[entry["offset"] : entry["offset"] + entry["size"]])) as tar:
                    files = [(info, tar.extractfile(info).read()) for info in tar]
                for info, content in files:
                    assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
                    rest = info.name.partition(".")[2]
                    start, size, *layout = entry["members"][rest]
                    assert data[entry["offset"] + start :][:size] == content
                    stream = rest.rpartition(".")[0] or rest
                    assert entry["sha256"][stream] == hashlib.sha256(content).hexdigest()
                    if layout:
                        array = np.load(io.BytesIO(content))
                        assert layout == [array.dtype.str, list(array.shape)]
                sample = from_members([(info.name, content) for info, content in files])
                assert to_members(sample) == [(info.name, content) for info, content in files]
                assert entry["subject"] == sample.subject
                assert entry["labels"] == sample.labels
    assert sorted(keys) == [f"clip-{i:04d}" for i in range(16)]


def test_first_five_samples_have_everything(tmp_path):
    poor = [make_sample(i, streams=("imu",), texts=False) for i in range(20)]
    rich = [make_sample(i, streams=("imu", "mocap", "pose2d")) for i in range(20, 27)]
    for sample in rich:
        sample.labels["place"] = "kitchen"
    with ShardWriter(tmp_path / "out", name="test") as writer:
        for sample in [*poor, *rich]:
            writer.write("train", sample)
    lines = json.loads((tmp_path / "out" / "train-000000.idx.json").read_text())["samples"]
    assert [s["key"] for s in lines[:5]] == [f"clip-{i:04d}" for i in range(20, 25)]
    assert [s["key"] for s in lines[5:]] == [f"clip-{i:04d}" for i in [*range(20), 25, 26]]
    assert "of the" not in (tmp_path / "out" / "README.md").read_text().partition("## Dropped")[0].partition("Split")[2]


def test_card_says_where_no_five_samples_have_everything(tmp_path):
    also = [("train", make_sample(100 + i, streams=("imu", "mocap"))) for i in range(2)]
    write_set(tmp_path / "out", 6, streams=("imu",), also=also)
    assert "Split train: 2 of 8 samples have all of imu" in (tmp_path / "out" / "README.md").read_text()


def test_exception_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), ShardWriter(tmp_path / "new", name="test") as writer:  # noqa: PT012
        writer.write("train", make_sample())
        raise KeyError("stop")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(ValueError, match="id:"), ShardWriter(tmp_path / "old", name="test") as writer:  # noqa: PT012
        sample = make_sample()
        sample.id = "a b"
        writer.write("train", sample)
    assert list((tmp_path / "old").iterdir()) == []


def test_same_key_twice_is_refused(tmp_path):
    twice = [("train", make_sample(1))]
    with pytest.raises(ShardError, match="'clip-0001' is used twice"):
        write_set(tmp_path / "o", 2, also=twice)
    with pytest.raises(ShardError, match="same id: r00"):
        convert("test", ["r00", "r00"], samples_of, tmp_path / "p")
    with pytest.raises(ShardError, match="no samples"):
        convert("test", ["r00"], lambda r: [Dropped("too short", 1.5)], tmp_path / "q")


def test_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ShardError, match="not empty"), ShardWriter(tmp_path, name="t"):
        pass
    assert (tmp_path / "notes.txt").exists()
    write_set(tmp_path / "out", 2)
    before = hashes(tmp_path / "out")
    with pytest.raises(ShardError, match="finished already"), ShardWriter(tmp_path / "out", name="t"):
        pass
    assert hashes(tmp_path / "out") == before


def test_two_writers_of_one_folder(tmp_path):
    script = f"""
import sys, time
from aura.data.writer import open_parts
from pathlib import Path
kept = open_parts(Path({str(tmp_path / "out")!r}), {{"name": "t"}}, resume=True)
print("ready", flush=True)
time.sleep(1200)
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(ShardError, match="being written by another process"):
            convert("t", RECORDINGS, samples_of, tmp_path / "out", resume=True)
    finally:
        other.kill()
        other.wait()


def test_full_disk_is_a_clear_error_and_leaves_no_manifest(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    calls = []
    real = os.fsync

    def later(handle):
        calls.append(handle)
        if len(calls) > 8:
            full(handle)
        real(handle)

    monkeypatch.setattr(aura.data.files.os, "fsync", later)
    with pytest.raises(OSError, match=r"disk full while writing .*free space"):
        convert("test", RECORDINGS, short_samples_of, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    monkeypatch.undo()
    manifest = convert("test", RECORDINGS, short_samples_of, tmp_path / "out", resume=True)
    assert sum(split["samples"] for split in manifest["splits"].values()) == 16


def test_dropped_is_counted(tmp_path):
    def items(recording):
        gaps = [Dropped("gap of more than 1 s", 2.5), Dropped("gap of more than 1 s", 1.5, 3)]
        return [*samples_of(recording), *gaps, Dropped("a|b:\n  of two lines")]

    manifest = convert("test", ["r00", "r01"], items, tmp_path / "out")
    assert manifest["dropped"] == {
        "a|b:\n  of two lines": {"count": 2, "seconds": 0.0},
        "gap of more than 1 s": {"count": 8, "seconds": 8.0},
    }
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| gap of more than 1 s | 8 | 8 |" in card
    assert "| a\\|b: of two lines | 2 | 0 |" in card


def test_stock_webdataset_reads_the_same_samples(converted):
    import webdataset

    urls = sorted(str(p) for p in converted.glob("train-*.tar"))
    seen = []
    for found in webdataset.WebDataset(urls, shardshuffle=False).decode():
        number = int(found["__key__"].removeprefix("clip-"))
        expected = make_sample(number, seconds=2.0)
        assert found["json"]["id"] == expected.id
        for name, value in expected.arrays.items():
            np.testing.assert_array_equal(found[f"{name}.npy"], value)
        seen.append(found["__key__"])
    assert len(seen) == 12


@pytest.mark.parametrize("way", ["files", "folder", "streaming"])
def test_stock_datasets_reads_the_same_samples(tmp_path, monkeypatch, way):
    import datasets

    streams = ("imu", "orientation", "mocap", "pose2d", "video")
    poor = [("train", make_sample(50 + i, seconds=1.0, streams=("imu",), texts=False)) for i in range(2)]
    write_set(tmp_path / "out", 6, seconds=1.0, streams=streams, also=poor)
    tars = sorted(str(p) for p in (tmp_path / "out").glob("train-*.tar"))
    if way == "folder":
        # The card's head gives the features: a stranger's order of samples would be no matter.
        table = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    else:
        table = datasets.load_dataset(
            "webdataset",
            data_files={"train": tars},
            split="train",
            streaming=way == "streaming",
            cache_dir=str(tmp_path / "cache"),
        )
    table = table.cast_column("video.mp4", datasets.Video(decode=False))  # decoding would need torchcodec
    rows = {}
    for row in table:
        rows[row["__key__"]] = row
    assert sorted(rows) == [f"clip-{i:04d}" for i in [*range(6), 50, 51]]
    for number in range(6):
        expected, row = make_sample(number, seconds=1.0, streams=streams), rows[f"clip-{number:04d}"]
        for name in ("imu", "orientation", "mocap", "pose2d"):
            np.testing.assert_array_equal(np.array(row[f"{name}.npy"], np.float32), expected.arrays[name])
        assert row["json"]["labels"] == expected.labels
        assert [t["text"] for t in row["json"]["texts"]] == [t["text"] for t in expected.texts]
        assert row["json"]["streams"]["imu"]["sensors"][1]["placement"] == "chest"
        assert row["json"]["duration_s"] == 1.0
        assert row["video.mp4"]["bytes"] == expected.arrays["video"]
    assert rows["clip-0050"]["mocap.npy"] is None
    head = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])
    features = datasets.Features._from_yaml_list(head["dataset_info"]["features"])
    inferred = table.features
    if way == "files":
        assert set(features) == set(inferred)
        assert features["json"]["streams"]["imu"] == inferred["json"]["streams"]["imu"]


def test_a_job_that_differs_names_the_keys_that_do(tmp_path):
    job = {"converter": "csv", "config": {"rate_hz": 50, "columns": {"x": "a", "y": "b"}}}
    folder, lock = open_parts(tmp_path / "out", job, resume=True)
    lock.close()
    changed = {"converter": "csv", "config": {"rate_hz": 50, "columns": {"x": "a", "y": "c", "z": "d"}}}
    with pytest.raises(ShardError) as refused:
        open_parts(tmp_path / "out", changed, resume=True)
    told = "was begun by another job: config.columns.y 'b' there, 'c' here, config.columns.z None there, 'd' here; delete it"
    assert told in str(refused.value)
    assert folder.is_dir()
