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
CPU_S, LIMIT_S = (
    20,
    600,
)  # of its own processor, which others at work do not use up; and of the wall, for what only waits
START_S, STARTS = 30, 5  # until it must have begun, and how often it is started
MORE_BYTES = 1 << 30
RUNS_CODE = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn")


def guarded(action: Callable[[], Any], own: tuple = OWN) -> tuple[str, Any]:
    """("value", what it gives, JSON-able), ("refused", message of an error of the project's own), or ("lost", why): any other
    error, a crash, a hang past the limits, 1 GiB of memory more than at the start, a program that is started.

    A fork may hang before any code of ours where the tests before have left threads (see aura/data/processes.py): one that gives
    no sign has done nothing yet, and is started again.
    """
    for _ in range(STARTS):
        found = _started(action, own)
        if found is not None:
            return found
    return "lost", f"does not begin within {START_S} s, {STARTS} times"


def _started(action: Callable[[], Any], own: tuple) -> tuple[str, Any] | None:
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:  # whatever happens, the child ends here: it must not go on as a second test run
            os.close(receive)
            os.write(send, b" ")
            found = _inside(action, own)
            with os.fdopen(send, "w") as file:
                json.dump(found, file)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(send)
    with os.fdopen(receive, "rb", buffering=0) as file:
        waiting = select.poll()  # select() takes no descriptor above 1,023
        waiting.register(file, select.POLLIN | select.POLLHUP)
        begun = ready = waiting.poll(1000 * START_S)
        if begun:
            file.read(1)
            ready = waiting.poll(1000 * LIMIT_S)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        data = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not begun:
        return None
    if not ready or code == -signal.SIGXCPU:
        return "lost", f"hangs: no end after {CPU_S} s of the processor or {LIMIT_S} s"
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
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    sys.addaudithook(audit)
    try:
        found: tuple[str, Any] = ("value", action())
    except own as error:
        found = ("refused", f"{type(error).__name__}: {error}")
    except BaseException as error:
        found = ("lost", "".join(traceback.format_exception(error)[-3:]))
    return ("lost", f"starts a program: {started}") if started else found
