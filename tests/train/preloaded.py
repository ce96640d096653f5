"""Runs scripts in forks of a process that has imported what they import: a launch costs a second instead of ten.

Reads requests from stdin, one JSON a line: {"script", "arguments", "environment", "folder", "output"} starts a process
and is answered by its pid; {"pid"} is answered by its exit code, negative for a signal, or null while it runs.
"""

import gc
import json
import os
import runpy
import sys
from pathlib import Path

import torch.utils.tensorboard  # noqa: F401

import aura.train.loop  # noqa: F401
from tests.train import faults


def serve() -> dict:
    """Answers requests for ever; returns in each process that it starts."""
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                return request
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    gc.freeze()  # what is imported is never searched for garbage, which at an exit would take seconds
    asked = serve()
    os.setsid()
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    sys.argv = [asked["script"], *asked["arguments"]]
    sys.path[0] = str(Path(asked["script"]).parent)
    faults.install()
    runpy.run_path(asked["script"], run_name="__main__")
