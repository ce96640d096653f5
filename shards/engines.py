"""Where a conversion runs: in this process, in processes of this machine, or as tasks of a Ray cluster.

An engine maps a picklable function over items and gives (place of the item, result) as results come. What is written
is the same on each: a task is one part of the conversion, and the caller puts results in order.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import connection
from typing import Any

from aura.data.writer import ShardError

ENGINES = ("local", "ray")
# Of a Ray that is started here: what goes through it are names of files and counts.
STORE_BYTES = 80 << 20

Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[tuple[int, Any]]]


@contextmanager
def start(name: str, workers: int) -> Iterator[Run]:
    """The engine `name`, ready to run; what it started ends with the block.

    local   `workers` processes; up to 1: this process
    ray     at most `workers` tasks at a time, 0: as many as the cluster has room for. The cluster is that of RAY_ADDRESS,
            or one that is started on this machine

    ShardError where Ray is not installed or not reached, and from a run whose worker dies.
    """
    if name == "ray":
        yield from _ray(workers)
    elif name != "local":
        raise ShardError(f"there is no engine {name!r}: give one of {', '.join(ENGINES)}")
    elif workers <= 1:
        yield lambda function, items: ((place, function(item)) for place, item in enumerate(items))
    else:
        # Not fork: the parent may hold threads (of torch, of BLAS) that a forked child would wait for.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
            yield partial(_in_processes, pool)


def _end_with_parent() -> None:
    """Ends a worker when its parent is killed: it would go on, and then wait for ever for more."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # runs in a worker

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_processes(
    pool: ProcessPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[tuple[int, Any]]:
    futures = {pool.submit(function, item): place for place, item in enumerate(items)}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise _died("a worker died") from error
    finally:
        for future in futures:
            future.cancel()


def _died(what: str) -> ShardError:
    return ShardError(f"{what}, most likely for want of memory; use fewer workers, and resume to keep what is done")


def _ray(workers: int) -> Iterator[Run]:
    try:
        import ray
    except ImportError as error:
        raise ShardError("--engine ray needs Ray: pip install ray") from error
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS", "local")
        new: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        new |= {"num_cpus": workers} if workers else {}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **(new if address == "local" else {}))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ShardError(
                f"no Ray cluster at {address!r} (RAY_ADDRESS; 'local' starts one here): {error}"
            ) from error
    try:
        yield partial(_in_ray, ray, workers)
    finally:
        if ours:
            ray.shutdown()


def _in_ray(ray: Any, workers: int, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    here = os.getcwd()

    def task(item: Any) -> Any:
        with suppress(OSError):  # a machine that lacks this folder may still do with absolute paths
            os.chdir(here)
        return function(item)

    remote = ray.remote(num_cpus=1)(task)
    waiting = iter(enumerate(items))
    running: dict[Any, int] = {}
    try:
        while True:
            while not workers or len(running) < workers:
                try:
                    place, item = next(waiting)
                except StopIteration:
                    break
                running[remote.remote(item)] = place
            if not running:
                return
            (done,), _ = ray.wait(list(running))
            yield running.pop(done), ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error  # as the task raised it, without Ray's traceback around its words
    except ray.exceptions.RayError as error:
        raise _died(f"a task of Ray died ({type(error).__name__})") from error
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
