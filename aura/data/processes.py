"""Processes that read, and how they end."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from aura.data.handover import Part
from aura.data.index import BadSample
from aura.data.storage import StorageError
from aura.data.writer import ShardError

AHEAD = 2  # steps that each process reads ahead
DIED = ("exited unexpectedly", "killed by signal")  # as torch says it


class ReadError(RuntimeError):
    """Reading cannot go on, or not begin as asked; the message names the place and the remedy."""


def iterate(parts: Callable[[int, int], Iterator[Part]], workers: int) -> Iterator[Part]:
    """Parts of `workers` processes in turn: of process 0, 1, ..., and again. Errors of a process are raised here."""
    if workers == 0:
        yield from parts(0, 1)
        return
    loader = DataLoader(
        _Parts(parts),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # it draws a seed: not from the random state of the training
    )
    before = set(multiprocessing.active_children())
    running = _started(loader)
    READING.update(set(multiprocessing.active_children()) - before)
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
            f"a reading process died, most likely for want of memory ({told}); lower data.workers"
        ) from error
    finally:
        del running  # ends the processes now, not when the last traceback of an error is gone


def _started(loader: DataLoader) -> Iterator[Part]:
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


def _start_worker(worker: int) -> None:
    """Signals are the trainer's: it saves and ends; a reader that died of them first would take the step with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
