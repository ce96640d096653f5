"""Processes that read, and how they end."""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.queues
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aura.data.handover import Part
from aura.data.index import BadSample
from aura.data.storage import StorageError
from aura.data.writer import ShardError

AHEAD = 2  # steps that each process reads ahead
START_S, STARTS = 30.0, 3  # until a process must have begun, and how often they are started
DIED = ("exited unexpectedly", "killed by signal")  # as torch says it


class ReadError(RuntimeError):
    """Reading cannot go on, or not begin as asked; the message names the place and the remedy."""


def iterate(parts: Callable[[int, int], Iterator[Part]], workers: int) -> Iterator[Part]:
    """Parts of `workers` processes in turn: of process 0, 1, ..., and again. Errors of a process are raised here."""
    if workers == 0:
        yield from parts(0, 1)
        return
    running = _started(parts, workers)
    try:
        for part in running:
            if part.error is not None:
                raise part.error
            yield part
    except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
        # A process that dies takes along what it was handing over: then its connection breaks, before torch sees its end.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in DIED):
            raise
        told = str(error) or type(error).__name__
        raise ReadError(
            f"a reading process died ({told}); where it does not say above of what, most likely for want of memory: lower"
            " data.workers"
        ) from error
    finally:
        del running  # ends the processes now, not when the last traceback of an error is gone


def _started(parts: Callable[[int, int], Iterator[Part]], workers: int) -> Iterator[Part]:
    """The parts of processes that have all begun to run.

    A fork can hang in the child before any code of ours: before 3.11.10 Python waits there for a lock that another thread held at
    that moment, such as one of gloo's that frees the tensors of a collective (CPython gh-112275). A child that gives no sign
    has touched nothing yet; all are killed, and started again. ReadError where they do not begin.
    """
    for _ in range(STARTS):
        signs = multiprocessing.Semaphore(0)
        loader = DataLoader(
            _Parts(parts),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD,
            worker_init_fn=partial(_start_worker, signs),
            generator=torch.Generator(),  # it draws a seed: not from the random state of the training
        )
        before = set(multiprocessing.active_children())
        running = _iterated(loader)
        begun = set(multiprocessing.active_children()) - before
        READING.update(begun)
        end = time.monotonic() + START_S
        if all(signs.acquire(timeout=max(0.0, end - time.monotonic())) for _ in range(workers)):
            return running
        for process in begun:
            process.kill()
        del running
    raise ReadError(
        f"reading processes do not begin within {START_S:g} s: lower data.workers (0: read in the main one)"
    )


def _iterated(loader: DataLoader) -> Iterator[Part]:
    """The loader's processes, begun without torch's handler of SIGCHLD: that raises wherever the program is, in the middle of
    a step too. A process that died is noticed, within 5 s, when its part is asked for."""
    if threading.current_thread() is not threading.main_thread():  # where torch sets none
        return iter(loader)
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(loader)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)


class _Parts(IterableDataset):
    """What a reading process runs."""

    def __init__(self, parts: Callable[[int, int], Iterator[Part]]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Part]:
        info = get_worker_info()
        assert info is not None
        try:
            yield from self.parts(info.id, info.num_workers)
        except Exception as error:
            # Sent as it is: raised here, it would reach the run as a wall of this process's traceback.
            part = Part([], error=_portable(error))
            while True:
                yield part


def _portable(error: Exception) -> Exception:
    """An error that survives pickling."""
    known = (ReadError, ShardError, StorageError, BadSample)
    if isinstance(error, known):
        return type(error)(str(error))
    return ReadError(f"{type(error).__name__} while reading: {error}\n{''.join(traceback.format_exception(error))}")


READING: weakref.WeakSet[Any] = weakref.WeakSet()  # processes that read


@atexit.register
def _end_reading() -> None:
    """At an end by an error the interpreter would wait for ever: it ends its children by a signal that they ignore."""
    if READING:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would report these ends as faults
    for process in READING:
        if process.is_alive():
            process.kill()


def _start_worker(signs: Any, worker: int) -> None:
    """Signals are the trainer's: it saves and ends; a reader that died of them first would take the step with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[method-assign]
    signs.release()


def _end_unsent(error: Exception, part: object) -> None:
    """A part that cannot be handed over would be dropped, and waited for without end: the process ends instead."""
    told = f"a reading process cannot hand over what it read: {type(error).__name__}: {error}"
    if "AF_UNIX path too long" in str(error):
        told += f". Its socket lies in {tempfile.gettempdir()}: set TMPDIR to a shorter path"
    print(told, file=sys.stderr, flush=True)
    os._exit(1)
