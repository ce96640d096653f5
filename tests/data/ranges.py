"""A web server of files, as object stores are one."""

import http.server
import os
import re


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """A server of files that honours one range a request, as object stores do; it notes what was asked."""

    asked: list
    ranges = True

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Range")))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        path = self.translate_path(self.path)
        if not wanted or not self.ranges or not os.path.isfile(path):
            super().do_GET()
            return
        start, end = int(wanted[1]), int(wanted[2])
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(start)
            data = file.read(end + 1 - start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass
