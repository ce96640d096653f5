"""A web server of shards that stalls, breaks off, or answers 500 and 429: the same rows, or an error that names the URL."""

import functools
import hashlib
import http.server
import threading
import time

import pytest

import aura.data.storage
from aura.data.index import open_split
from aura.data.sample import to_members
from tests.data.samples import make_sample, write_set
from tests.data.test_index import RangeHandler
from tests.faults.guard import guarded
from tests.faults.tally import Tally, count, draws

SAMPLES = 4
STALL_S = 1.0


class Faulty(RangeHandler):
    """Every request fails by chance `share`, in the way that `fault` says; the first `spared` do not."""

    fault, share, draw = "", 0.0, None
    asked: list

    def hit(self) -> bool:
        return self.draw.random() < self.share

    def do_HEAD(self):
        if self.fault in ("500", "429") and self.hit():
            self.send_error(int(self.fault))
        else:
            super().do_HEAD()

    def do_GET(self):
        if not self.hit():
            super().do_GET()
        elif self.fault in ("500", "429"):
            self.send_error(int(self.fault))
        elif self.fault == "stalls":
            time.sleep(2 * STALL_S)
            self.close_connection = True
        else:
            out, self.wfile = self.wfile, Cut(self.wfile, self.fault == "is cut")
            super().do_GET()
            self.wfile = out
            self.close_connection = True

    def log_message(self, *_):
        pass


class Cut:
    """Hands on the head of an answer and half of its body; nothing of the rest."""

    def __init__(self, out, shorter):
        self.out, self.shorter = out, shorter

    def write(self, data):
        if data.startswith(b"HTTP/") or b"\r\n\r\n" in data[-4:]:
            if self.shorter:  # a proxy that cuts, and says the length of what is left
                head, length, rest = data.partition(b"Content-Length: ")
                if length:
                    size, _, tail = rest.partition(b"\r\n")
                    data = head + length + str(int(size) // 2).encode() + b"\r\n" + tail
            return self.out.write(data)
        return self.out.write(data[: len(data) // 2])

    def __getattr__(self, name):
        return getattr(self.out, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("served") / "shards"
    write_set(out, SAMPLES, shard_bytes=60_000, seconds=3.0, imu_hz=50)
    return out


def serve(folder, **how):
    kind = type("Handler", (Faulty,), {"asked": [], **how})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


def hashes(sample):
    return [[name, hashlib.sha256(data).hexdigest()] for name, data in to_members(sample)]


@pytest.mark.parametrize("fault", ["500", "429", "stalls", "breaks off", "is cut"])
def test_a_server_in_trouble_is_tried_again_or_named(folder, tmp_path, monkeypatch, fault):
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
        server, url = serve(folder, fault=fault, share=1.0 if number % 4 == 3 else draw.choice([0.1, 0.3]), draw=draw)

        def read(url=url):
            split = open_split(url, "train")
            return [line for i in range(len(split)) for line in hashes(split.sample(i))]

        state, value = guarded(read, limit_s=60)
        server.shutdown()
        server.server_close()
        if state == "value" and value == expected:
            tally.note("the same samples")
        elif state == "refused" and url in value:
            tally.note("refused, the URL named")
        else:
            tally.lose(f"{number}: {state}: {str(value)[:1500]}")
    tally.close()


def test_a_server_that_fails_is_not_one_without_a_manifest(folder, tmp_path, monkeypatch):
    """Else its tars would be indexed as a stranger's."""
    monkeypatch.setattr(aura.data.storage, "WAITS_S", (0.0,))
    server, url = serve(folder, fault="500", share=1.0, draw=draws("manifest"))
    state, value = guarded(lambda: len(open_split(url, "train")))
    server.shutdown()
    server.server_close()
    assert state == "refused"
    assert f"{url}/manifest.json cannot be read after 2 tries" in value
