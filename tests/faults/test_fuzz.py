"""Any bytes, and good files with a few bytes changed, into the readers of tars, indexes, JSON and pickles (hypothesis).

What they say is an error of the project's own, or ValueError of the unpickler, which converters turn into theirs.
"""

import io
import os
import pickle
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aura.data.index import BadSample, Record, Shard, open_folder
from aura.data.manifest import read_manifest
from aura.data.sample import from_members, to_members
from aura.data.storage import Storage, StorageError
from aura.data.tars import index_tar
from aura.data.writer import FORMAT, MANIFEST, ShardError
from shards.pickles import read_array, read_pickle
from tests.data.samples import make_sample, write_set
from tests.faults.tally import Tally, count

MOST_S, MOST_BYTES = 5.0, 256 << 20
fuzz = settings(
    max_examples=count(40), deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def bounded(action, own) -> str:
    """ "read" or "refused"; fails for any other error, one without a message, and past 5 s of its processor or 256 MiB of
    Python's memory."""
    tracemalloc.start()
    started = time.process_time()
    try:
        action()
        return "read"
    except own as error:
        if not str(error):
            raise AssertionError(f"{type(error).__name__} without a word") from error
        return "refused"
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.process_time() - started < MOST_S
        assert most < MOST_BYTES


@st.composite
def changed(draw, good: bytes):
    """Bytes of a good file of which a few are others, or that lacks an end or has a piece more; or any bytes at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=2000))
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["set", "set", "cut", "insert", "remove"]))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut" and draw(st.integers(0, 3)) == 0:
            del data[at:]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=20))
        elif kind == "remove":
            del data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder of one shard of two short samples, the bytes of its files by name."""
    out = tmp_path_factory.mktemp("fuzz") / "shards"
    write_set(out, 2, seconds=0.5, imu_hz=20, streams=("imu", "mocap"))
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_tars(good, tmp_path):
    tally, tar = Tally("fuzzed tar"), good["train-000000.tar"]
    headers = tar[:3072]

    @fuzz
    @given(st.one_of(changed(headers).map(lambda head: head + tar[3072:]), changed(tar)))
    def check(data):
        (tmp_path / "train-0.tar").write_bytes(data)
        tally.note(bounded(lambda: index_tar(Storage(str(tmp_path)), "train-0.tar"), (ShardError, StorageError)))

    check()
    tally.close()


def test_indexes(good, tmp_path):
    """With the hash of the manifest, and of a cache without one: a record of what an index says is read, too."""
    tally, index = Tally("fuzzed index"), good["train-000000.idx.json"]
    (tmp_path / "train-000000.tar").write_bytes(good["train-000000.tar"])

    @fuzz
    @given(changed(index), st.sampled_from(["", "0" * 64]))
    def check(data, sha256):
        path = tmp_path / "index"
        path.write_bytes(data)
        shard = Shard(Storage(str(tmp_path)), "train-000000.tar", 2, len(good["train-000000.tar"]), path, sha256)
        tally.note(bounded(lambda: [shard.entry(i) for i in range(2)], ShardError))

    check()
    tally.close()


def test_manifests_and_heads(good, tmp_path):
    manifests, heads = Tally("fuzzed manifest"), Tally("fuzzed KEY.json and npy")
    sample = to_members(make_sample(0, seconds=0.5, imu_hz=20, streams=("imu", "mocap")))

    @fuzz
    @given(changed(good[MANIFEST]))
    def manifest(data):
        manifests.note(bounded(lambda: read_manifest(data, "m"), ShardError))

    @fuzz
    @given(st.sampled_from(range(len(sample))).flatmap(lambda i: st.tuples(st.just(i), changed(sample[i][1]))))
    def member(case):
        i, data = case
        heads.note(bounded(lambda: from_members([*sample[:i], (sample[i][0], data), *sample[i + 1 :]]), ValueError))

    manifest()
    member()
    for tally in (manifests, heads):
        tally.close()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"format":' * 50_000, b"\xff", b"[]", b"null", b'{"format": "%s"}' % FORMAT.encode()]
)
def test_deep_and_other_json_is_no_manifest(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ShardError, match=r"manifest\.json"):
        open_folder(str(tmp_path))


class Runs:
    """A pickle of it makes a file when it is loaded by pickle itself."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles(tmp_path):
    """Also of pickles that run code: none of it ever runs."""
    tally, marker = Tally("fuzzed pickle"), tmp_path / "ran"
    array = np.arange(6.0).reshape(2, 3)
    plain = {"a": array, "b": [1, "x", b"y", None, (1.5, True)], "c": np.array([{"k": 1}, None], dtype=object)}
    file = io.BytesIO()
    np.save(file, plain["c"], allow_pickle=True)
    npy = file.getvalue()
    goods = [pickle.dumps(plain, protocol) for protocol in (0, 2, 4, 5)]
    goods += [pickle.dumps({"a": array, "b": Runs(marker)}, protocol) for protocol in (0, 2, 4)]

    @fuzz
    @given(st.one_of(*map(changed, goods)))
    def check(data):
        tally.note(bounded(lambda: read_pickle(data, "a.pkl"), ValueError))
        assert not marker.exists()

    @fuzz
    @given(changed(npy))
    def check_npy(data):
        tally.note(bounded(lambda: read_array(data, "a.npy"), ValueError))

    check()
    check_npy()
    tally.close()


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_pickle_cannot_ask_for_memory_of_any_size(kind):
    class Large:
        def __reduce__(self):
            return kind, (10**12,)

    with pytest.raises(ValueError, match=rf"a\.pkl makes {kind.__name__} of 1000000000000"):
        read_pickle(pickle.dumps(Large()), "a.pkl")
    assert read_pickle(pickle.dumps([b"x", bytearray(b"yz"), b""], 2), "a.pkl") == [b"x", bytearray(b"yz"), b""]


def test_recipes_of_aliases_and_odd_values_are_refused(tmp_path):
    from aura.train.recipe import RecipeError, load_recipe

    laughs = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12))
    for text in (
        laughs + "data: {sources: {a: *a11}}\n", "[" * 400, "name: 2026-13-77\n", "inputs: {3: {}}\n", "? {a: 1}\n: 2\n"
    ):  # fmt: skip
        (tmp_path / "r.yaml").write_text(text)
        assert bounded(lambda: load_recipe(tmp_path / "r.yaml"), RecipeError) == "refused", text[:50]
    (tmp_path / "r.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(RecipeError, match=r"r\.yaml is not YAML"):
        load_recipe(tmp_path / "r.yaml")


def test_a_head_that_was_changed_is_a_bad_sample(tmp_path):
    """Of which the index has the hash: a time or a text that differs by one character."""
    write_set(tmp_path / "s", 2, seconds=0.5, imu_hz=20, streams=("imu",))
    path = next(Path(tmp_path / "s").glob("*.tar"))
    path.write_bytes(path.read_bytes().replace(b'"recording":"take_1"', b'"recording":"take_7"'))
    split = open_folder(str(tmp_path / "s"))["train"]
    assert isinstance(split.record(1), Record)
    bad = [i for i in range(2) if b"take_7" in split.record(i).bytes("json")]
    with pytest.raises(BadSample, match=r"clip-0001\.json: is not what was written"):
        split.sample(bad[0])
