"""A web server of shards that fails by chance, in a process of its own: tests that fork have no thread of it.

Says its port. Reads lines of JSON from stdin: {"fault", "share", "seed", "stall_s"} are those of the requests that follow, and
answered by a line.
"""

import functools
import http.server
import json
import random
import sys
import threading
import time

from tests.data.ranges import RangeHandler


class Faulty(RangeHandler):
    """Every request fails by chance `share`, in the way that `fault` says; `stall_s` is how long one stalls."""

    fault, share, draw, stall_s = "", 0.0, random.Random(), 0.0
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
            time.sleep(self.stall_s)
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


if __name__ == "__main__":
    Faulty.asked = []
    handler = functools.partial(Faulty, directory=sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(server.server_address[1], flush=True)
    for line in sys.stdin:
        how = json.loads(line)
        Faulty.fault, Faulty.share, Faulty.stall_s = how["fault"], how["share"], how["stall_s"]
        Faulty.draw = random.Random(how["seed"])
        print("set", flush=True)
