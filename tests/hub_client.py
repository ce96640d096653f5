"""Runs functions of aura.hub for tests, in a process of its own: the client reads its environment when it is imported.

Reads requests from stdin, one JSON a line: {"call": "push_folder", "arguments": {...}}; answers {"value"} or {"error",
"kind"}, and the seconds of the waits that were asked for, none of which is waited.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Client:
    """The process. `token`: what HF_TOKEN says."""

    def __init__(self, url: str, home: Path, token: str = "hf_writer", **environment: str) -> None:
        words = [sys.executable, "-m", "tests.hub_client"]
        pipe = subprocess.PIPE
        settings = {**settings_of(url, home, token), **environment}
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=os.environ | settings)
        self.waits: list[float] = []

    def __call__(self, call: str, **arguments: Any) -> Any:
        """What the function returns; RuntimeError "<class>: <message>" where it raises."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        arguments = {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()}
        self.process.stdin.write(json.dumps({"call": call, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.waits = answer["waits"]
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        self.process.communicate(timeout=600)


def settings_of(url: str, home: Path, token: str = "hf_writer") -> dict[str, str]:
    """Environment of a process that is to ask this Hub."""
    names = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": token}
    return names | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def serve() -> None:
    from aura import hub

    waits: list[float] = []
    time.sleep = waits.append
    for line in sys.stdin:
        request = json.loads(line)
        waits.clear()
        try:
            value = getattr(hub, request["call"])(**request["arguments"])
            answer: dict[str, Any] = {"value": vars(value) if isinstance(value, hub.Pushed) else str(value)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(
            json.dumps(answer | {"waits": waits}, default=lambda v: dict(v) if isinstance(v, Mapping) else list(v)),
            flush=True,
        )


if __name__ == "__main__":
    serve()
