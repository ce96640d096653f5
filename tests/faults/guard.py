"""An action in a process of its own, with bounds: what it gives, or how it ended."""

import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import torch

from aura.data.index import BadSample
from aura.data.order import OrderError
from aura.data.processes import ReadError
from aura.data.storage import StorageError
from aura.data.writer import ShardError
from aura.evaluation.windows import EvaluationError
from aura.train.recipe import RecipeError
from aura.weights import RunError

OWN = (ShardError, BadSample, StorageError, ReadError, OrderError, RecipeError, RunError, EvaluationError)
LIMIT_S = 20
MORE_BYTES = 1 << 30
RUNS_CODE = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn")


def guarded(action: Callable[[], Any], own: tuple = OWN, limit_s: float = LIMIT_S) -> tuple[str, Any]:
    """("value", what it gives, JSON-able), ("refused", message of an error of the project's own), or ("lost", why): any other
    error, a crash, a hang past the limit, 1 GiB of memory more than at the start, a program that is started."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:  # whatever happens, the child ends here: it must not go on as a second test run
            os.close(receive)
            found = _inside(action, own)
            with os.fdopen(send, "w") as file:
                json.dump(found, file)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(send)
    with os.fdopen(receive, "rb") as file:
        waiting = select.poll()  # select() takes no descriptor above 1,023
        waiting.register(file, select.POLLIN | select.POLLHUP)
        ready = waiting.poll(1000 * limit_s)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        data = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not ready:
        return "lost", f"hangs: no end after {limit_s:g} s"
    if code or not data:
        return "lost", f"the process ends by {code}"
    kind, value = json.loads(data)
    return kind, value


def _inside(action: Callable[[], Any], own: tuple) -> tuple[str, Any]:
    def audit(event: str, _: Any) -> None:
        if event in RUNS_CODE:
            started.append(event)

    torch.set_num_threads(1)  # threads of OpenMP that the parent had are not here: whoever waits for them hangs
    started: list[str] = []
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.addaudithook(audit)
    try:
        found: tuple[str, Any] = ("value", action())
    except own as error:
        found = ("refused", f"{type(error).__name__}: {error}")
    except BaseException as error:
        found = ("lost", "".join(traceback.format_exception(error)[-3:]))
    return ("lost", f"starts a program: {started}") if started else found
