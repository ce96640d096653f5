"""A web server of shards that stalls, breaks off, or answers 500 and 429: the same rows, or an error that names the URL."""

import hashlib
import json
import subprocess
import sys

import pytest

import aura.data.storage
from aura.data.index import open_split
from aura.data.sample import to_members
from tests.data.samples import make_sample, write_set
from tests.faults.guard import guarded
from tests.faults.tally import Tally, count, draws
from tests.train.runs import ROOT

SAMPLES = 4
STALL_S = 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("served") / "shards"
    write_set(out, SAMPLES, shard_bytes=60_000, seconds=3.0, imu_hz=50)
    return out


@pytest.fixture(scope="module")
def serve(folder):
    """Starts a server of the folder once; each call says how it fails from now on, and gives its URL."""
    words = [sys.executable, "-m", "tests.faults.faulty_server", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        port = int(process.stdout.readline())

        def set_to(**how):
            process.stdin.write(json.dumps({"stall_s": 2 * STALL_S, **how}) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "set\n"
            return f"http://127.0.0.1:{port}"

        yield set_to
        process.stdin.close()


def hashes(sample):
    return [[name, hashlib.sha256(data).hexdigest()] for name, data in to_members(sample)]


@pytest.mark.parametrize("fault", ["500", "429", "stalls", "breaks off", "is cut"])
def test_a_server_in_trouble_is_tried_again_or_named(serve, tmp_path, monkeypatch, fault):
    """By chance, so that some of four tries succeed; and always."""
    monkeypatch.setattr(aura.data.storage, "WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(aura.data.storage, "STALLED_S", STALL_S / 2)
    expected = [line for i in range(SAMPLES) for line in hashes(make_sample(i, seconds=3.0, imu_hz=50))]
    draw, tally = (
        draws(f"server {fault}"),
        Tally(f"a server that {fault}" if fault[0] > "9" else f"a server with {fault}"),
    )
    for number in range(count(4)):
        monkeypatch.setenv("AURA_CACHE", str(tmp_path / f"cache{number}"))
        share = 1.0 if number % 4 == 3 else draw.choice([0.1, 0.3])
        url = serve(fault=fault, share=share, seed=draw.random())

        def read(url=url):
            split = open_split(url, "train")
            return [line for i in range(len(split)) for line in hashes(split.sample(i))]

        state, value = guarded(read)
        if state == "value" and value == expected:
            tally.note("the same samples")
        elif state == "refused" and url in value:
            tally.note("refused, the URL named")
        else:
            tally.lose(f"{number}: {state}: {str(value)[:1500]}")
    tally.close()


def test_a_server_that_fails_is_not_one_without_a_manifest(serve, monkeypatch):
    """Else its tars would be indexed as a stranger's."""
    monkeypatch.setattr(aura.data.storage, "WAITS_S", (0.0,))
    url = serve(fault="500", share=1.0, seed=0)
    state, value = guarded(lambda: len(open_split(url, "train")))
    assert state == "refused"
    assert f"{url}/manifest.json cannot be read after 2 tries" in value
