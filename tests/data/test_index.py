"""Folders of shards are found and read locally and over HTTP; what is missing or broken is named."""

import functools
import gc
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import tarfile
import threading
from contextlib import suppress

import fsspec
import numpy as np
import pytest

import aura.data.storage
from aura.data.index import BadSample, open_folder, open_split
from aura.data.sample import to_members
from aura.data.storage import OpenFiles, Storage, StorageError, files_to_keep
from aura.data.writer import MANIFEST, PARTS, ShardError
from tests.data.ranges import RangeHandler
from tests.data.samples import make_sample, write_set


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AURA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(aura.data.storage, "WAITS_S", (0.0,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "out"
    write_set(out, 12, also=[("val", make_sample(50))])
    return out


@pytest.fixture
def serve():
    """Serves a folder over HTTP; gives its URL and the list of (path, range) asked for."""
    servers = []

    def start(root, ranges=True):
        asked = []
        kind = type("Handler", (RangeHandler,), {"asked": asked, "ranges": ranges})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(root)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check_samples(split, numbers):
    assert len(split) == len(numbers)
    for i, number in enumerate(numbers):
        assert to_members(split.sample(i)) == to_members(make_sample(number))


def test_local_folder(folder):
    split = open_split(str(folder), "train")
    assert len(split.shards) > 2
    check_samples(split, range(12))
    check_samples(open_split(f"file://{folder}", "val"), [50])
    assert split.totals["streams"]["imu"]["samples"] == 12
    assert [entry["key"] for entry in split.entries()] == [f"clip-{i:04d}" for i in range(12)]
    with pytest.raises(IndexError):
        split.record(12)


def test_slices_are_read_alone(folder, monkeypatch):
    monkeypatch.setattr(aura.data.index, "WHOLE_BYTES", 0)
    split = open_split(str(folder), "train")
    read = []
    real = os.preadv
    monkeypatch.setattr(aura.data.storage.os, "preadv", lambda h, b, o: read.append(b[0].nbytes) or real(h, b, o))
    record = split.record(3)
    items = record.items("imu", 100, 200, [1])
    expected = make_sample(3).arrays["imu"]
    np.testing.assert_array_equal(items, expected[[1], 100:200])
    assert read == [100 * 6 * 4]
    np.testing.assert_array_equal(record.items("mocap", 5, 7), make_sample(3).arrays["mocap"][5:7])


@pytest.mark.parametrize("limit", [0, 1 << 20])  # read in pieces, and in one
@pytest.mark.parametrize("remote", [False, True])
def test_items_come_where_they_are_wanted(folder, serve, monkeypatch, limit, remote):
    monkeypatch.setattr(aura.data.index, "WHOLE_BYTES_REMOTE" if remote else "WHOLE_BYTES", limit)
    split = open_split(serve(folder)[0] if remote else str(folder), "train")
    record, arrays = split.record(4), make_sample(4).arrays
    assert split.record(4) is record  # of which the next window is read
    for rows in ([0, 1], [1, 0], [1]):
        expected = arrays["imu"][rows, 30:90]
        np.testing.assert_array_equal(record.items("imu", 30, 90, rows), expected)
        for dtype in (np.float32, np.float64):  # of another type: converted
            batch = np.full((3, len(rows), 80, 6), np.nan, dtype)
            given = record.items("imu", 30, 90, rows, batch[1, :, 10:70])
            assert np.shares_memory(given, batch)
            np.testing.assert_array_equal(given, expected)
            assert np.isnan(batch).sum() == batch.size - expected.size
    out = np.empty((7, 20, 3), np.float32)
    np.testing.assert_array_equal(record.items("mocap", 3, 10, out=out), arrays["mocap"][3:10])
    np.testing.assert_array_equal(out, arrays["mocap"][3:10])
    with pytest.raises(BadSample, match=r"clip-0004\.mocap\.npy: holds 120 items, not 121 as KEY.json says"):
        record.items("mocap", 100, 121)
    with pytest.raises(
        BadSample, match=r"clip-0004\.mocap\.npy: is \(120, 20, 3\), of which \(7, 17, 3\) cannot be taken"
    ):
        record.items("mocap", 3, 10, out=np.empty((7, 17, 3), np.float32))


@pytest.mark.parametrize(
    "dtype",
    ["|O", "O8", "<U3", "V4", "<M8[s]", "nonsense", [["a", "|O"]], 7, ",", None, "f3", "f4,f4", "(2,)f4", "f4\n"],
)
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_an_index_cannot_have_bytes_taken_for_objects(folder, monkeypatch, limit, dtype):
    monkeypatch.setattr(aura.data.index, "WHOLE_BYTES", limit)
    record = open_split(str(folder), "train").record(4)
    record.entry["members"]["imu.npy"][2] = dtype
    with pytest.raises(BadSample, match=r"clip-0004\.imu\.npy: the index says .*, arrays are of plain numbers"):
        record.items("imu", 0, 3)


def test_a_second_reader_does_not_close_the_files_of_the_first(folder):
    split = open_split(str(folder), "train")
    split.read_in_turns(100, 1)
    copies = aura.data.index.cached(aura.data.index.cache_folder())
    before = copies.kept_open
    split.read_in_turns(1, 1)
    assert copies.kept_open == before


def open_in(folder) -> list[str]:
    """Files of a folder that this process has open. Of these alone: others come and go with the threads of other tests."""
    found = []
    for handle in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed since
            found.append(os.readlink(f"/proc/self/fd/{handle}"))
    return [path for path in found if path.startswith(f"{folder}/")]


def test_a_split_that_is_gone_leaves_no_file_open(folder, tmp_path):
    own = tmp_path / "own"  # that no other test has open
    shutil.copytree(folder, own)
    for _ in range(5):
        split = open_split(str(own), "train")
        for i in range(len(split)):
            split.record(i).items("imu", 0, 3, [0])
        assert len(open_in(own)) == 2 * len(split.shards)  # a tar and its index
        del split
        gc.collect()
        assert open_in(own) == []


def test_opening_reads_no_index(folder, monkeypatch):
    split = open_split(str(folder), "train")
    tables = split.shards[0].tables
    assert not tables.arrays
    split.entry(5)
    assert list(tables.arrays) == [split.locate(5)[0].file]


def without_line_ends(folder):
    """The folder's indexes as they were written before they said where their lines end."""
    for path in folder.glob("*.idx.json"):
        path.write_bytes(re.sub(rb'\],"line_ends":.*\}', b"]}", path.read_bytes()))
    manifest = json.loads((folder / "manifest.json").read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            index = folder / shard["file"].replace(".tar", ".idx.json")
            shard["index_sha256"] = hashlib.sha256(index.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_lines_of_an_index_are_found_without_reading_it(folder, tmp_path, monkeypatch):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    without_line_ends(old)
    new, known = open_split(str(folder), "train"), open_split(str(old), "train")
    expected = list(known.entries())
    assert [known.entry(i) for i in range(12)] == list(new.entries()) == expected
    for shard in new.shards:
        data = (folder / shard.index).read_bytes()
        assert json.loads(data)["line_ends"] == [m.start() for m in re.finditer(b"\n", data)][:-1]
    asked = []
    ranges = Storage.ranges
    monkeypatch.setattr(Storage, "open", None)
    monkeypatch.setattr(Storage, "ranges", lambda self, name, spans: asked.extend(spans) or ranges(self, name, spans))
    assert [new.entry(i) for i in range(12)] == expected
    assert len(asked) == 12 + len(new.shards)
    assert asked[0][1] < 100


def read_with_few_files(folder):
    os.closerange(3, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    split = open_split(str(folder), "train")
    split.read_in_turns(8, 1)
    split.shards[0].tables.limit = 100
    for _ in range(2):
        assert [split.record(i).head["id"] for i in range(60)] == [f"clip-{i:04d}" for i in range(60)]
    assert len(os.listdir("/proc/self/fd")) <= 4 + 40 * 3 // 8
    assert split.shards[0].tables.bytes <= 100  # of 8 each: the head and the sample


@pytest.mark.parametrize("old", [False, True])
def test_more_shards_than_files_may_be_open(tmp_path, old):
    written = write_set(tmp_path / "many", 60, seconds=0.5, streams=("imu",), shard_bytes=1)["splits"]["train"]
    assert len(written["shards"]) == 60
    if old:
        without_line_ends(tmp_path / "many")
    process = multiprocessing.get_context("fork").Process(target=read_with_few_files, args=(tmp_path / "many",))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_files_stay_open_that_were_used_last():
    opened, closed = [], []
    files = OpenFiles(lambda name: opened.append(name) or len(opened), closed.append, limit=2)
    assert [files.get(name) for name in "abacab"] == [1, 2, 1, 3, 1, 4]
    assert opened == ["a", "b", "c", "b"]
    assert closed == [2, 3]


def test_files_to_keep_follow_the_streams_and_the_system(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (4000, 4000))
    assert files_to_keep(10, 2) == 64
    assert files_to_keep(500, 2) == 500
    assert files_to_keep(5000, 2) == 1500
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert files_to_keep(5000, 2) == 5000


def test_http_folder_reads_ranges(folder, serve):
    url, asked = serve(folder)
    split = open_split(url, "train")
    asked.clear()
    assert to_members(split.sample(4)) == to_members(make_sample(4))
    tars = [(path, span) for path, span in asked if path.endswith(".tar")]
    assert len(tars) == 1
    assert tars[0][1] is not None
    check_samples(split, range(12))
    again = open_split(url, "train")
    asked.clear()
    again.sample(0)
    assert not any(path.endswith(".idx.json") for path, _ in asked)  # kept in the cache, by its hash


def test_http_server_without_ranges_is_refused(folder, serve):
    url, _ = serve(folder, ranges=False)
    with pytest.raises(StorageError, match="range requests"):
        open_split(url, "train").sample(1)


def test_memory_folder(folder):
    fs = fsspec.filesystem("memory")
    fs.put(str(folder), "/shards-test", recursive=True)
    check_samples(open_split("memory://shards-test", "train"), range(12))


def strangers(folder, out):
    """Tars of the same samples as somebody with webdataset would write them: no manifest, no index, other header form."""
    import webdataset

    out.mkdir(exist_ok=True)
    for split, tars in (("train", sorted(folder.glob("train-*.tar"))), ("dev", sorted(folder.glob("val-*.tar")))):
        for number, path in enumerate(tars):
            with webdataset.TarWriter(str(out / f"{split}-{number:04d}.tar")) as writer:
                for sample in webdataset.WebDataset(str(path), shardshuffle=False):
                    writer.write({k: v for k, v in sample.items() if k == "__key__" or not k.startswith("__")})
    return out


def test_tars_of_a_stranger_are_indexed_once(folder, tmp_path, serve, monkeypatch):
    out = strangers(folder, tmp_path / "tars")
    splits = open_folder(str(out))
    assert set(splits) == {"train", "dev"}
    check_samples(open_split(str(out), "train"), range(12))
    assert splits["train"].totals["streams"]["imu"]["samples"] == 12
    assert splits["train"].digest
    monkeypatch.setattr(aura.data.index, "index_tar", None)  # a second opening must not index again
    check_samples(open_split(str(out), "train"), range(12))
    monkeypatch.undo()


def test_tars_of_a_stranger_over_http(folder, tmp_path, serve):
    out = strangers(folder, tmp_path / "tars")
    url, asked = serve(out)
    count = len(list(out.glob("train-*.tar")))
    split = open_split(f"{url}/train-{{0000..{count - 1:04d}}}.tar", "train")
    check_samples(split, range(12))
    asked.clear()
    check_samples(
        open_split(f"{url}/train-0000.tar", "train"), range(len(split.shards[0:1]) and split.shards[0].samples)
    )
    assert set(open_folder(url)) == {"train", "dev"}  # as the server's page lists them


def test_broken_folders_are_named(folder, tmp_path, monkeypatch):
    with pytest.raises(ShardError, match="does not exist"):
        open_split(str(tmp_path / "nothing"), "train")
    with pytest.raises(ShardError, match=r"no split 'test'; it has train, val"):
        open_split(str(folder), "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match=r"neither manifest\.json nor tar files"):
        open_split(str(tmp_path / "empty"), "train")
    (tmp_path / "empty" / PARTS).mkdir()
    with pytest.raises(ShardError, match=r"unfinished .*--resume"):
        open_split(str(tmp_path / "empty"), "train")

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    tar = broken / "train-000001.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[:-5000])
    with pytest.raises(ShardError, match=r"train-000001\.tar has .* truncated"):
        open_split(str(broken), "train")
    tar.unlink()
    with pytest.raises(ShardError, match=r"train-000001\.tar is missing"):
        open_split(str(broken), "train")
    assert len(open_split(str(broken), "val")) == 1
    tar.write_bytes(data)
    (broken / "train-000001.idx.json").unlink()
    with pytest.raises(ShardError, match=r"train-000001\.idx\.json is missing"):
        list(open_split(str(broken), "train").entries())
    (broken / MANIFEST).write_text(json.dumps({"format": "aura-shards/9", "splits": {}}))
    with pytest.raises(ShardError, match="aura-shards/9"):
        open_split(str(broken), "train")


def test_broken_tars_of_strangers_are_named(folder, tmp_path):
    def write(name, members):
        with tarfile.open(tmp_path / name, "w") as tar:
            for file, data in members:
                info = tarfile.TarInfo(file)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return str(tmp_path / name)

    a, b = to_members(make_sample(0)), to_members(make_sample(1))
    with pytest.raises(ShardError, match="not together"):
        open_folder(write("mixed-0.tar", [a[0], b[0], *a[1:], *b[1:]]))
    with pytest.raises(ShardError, match=r"clip-0000\.json is there twice"):
        open_folder(write("twice-0.tar", [a[0], *a]))
    file, data = a[1]
    with pytest.raises(ShardError, match=r"imu\.npy: \d+ bytes are not an array .* truncated"):
        open_folder(write("short-0.tar", [a[0], (file, data[:-400]), *a[2:]]))
    with pytest.raises(ShardError, match="lacks id"):
        open_folder(write("alien-0.tar", [("x.json", b"{}"), ("x.jpg", b"1")]))
    path = write("cut-0.tar", [*a, *b])
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(ShardError, match=r"truncated: clip-0001\.imu\.npy"):
        open_folder(path)


def test_bad_sample_is_no_storage_error(folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    split = open_split(str(broken), "train")
    shard, i = split.locate(0)
    entry = shard.entry(i)
    with open(broken / shard.file, "r+b") as file:
        file.seek(entry["offset"] + entry["members"]["json"][0])
        file.write(b"#####")
    with pytest.raises(BadSample, match=r"train-000000\.tar: clip-0000\.json"):
        _ = split.record(0).head
    assert split.sample(1).id == "clip-0001"


def test_storage_is_tried_again(folder, monkeypatch):
    monkeypatch.setattr(aura.data.storage, "WAITS_S", (0.0, 0.0, 0.0))
    storage = Storage(str(folder))
    real, calls = os.pread, []

    def flaky(handle, size, offset):
        calls.append(offset)
        if len(calls) < 4:
            raise OSError("connection lost")
        return real(handle, size, offset)

    monkeypatch.setattr(aura.data.storage.os, "pread", flaky)
    assert len(storage.ranges("train-000000.tar", [(0, 100)])[0]) == 100
    calls.clear()
    monkeypatch.setattr(aura.data.storage.os, "pread", lambda *a: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(StorageError, match=r"train-000000\.tar cannot be read after 4 tries: OSError: gone"):
        storage.ranges("train-000000.tar", [(0, 100)])
