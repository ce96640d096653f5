"""Faults of the machine at a chosen moment, from the environment of a process that tests start.

DIE_AT=fsync:4       killed as it is about to make its fourth call of os.fsync on a file in `checkpoints`
                     (or rename, replace, rmtree)
SIGNAL_AT=evaluation SIGUSR1 as the second batch of an evaluation comes
SIGNAL_AT="step 12"  SIGUSR1 in the middle of that step, when all before it are logged
SIGNAL_AT="step 4 SIGINT 1"   this signal, on this rank alone (on all, where none is named)
WAIT_AT="step 4"     waits in that step until a signal has come that the run minds
FILE_BYTES=100000    no file may grow larger: writing more is an error, as on a full disk
MOUNT="size=1m DIR"  an empty file system of this size, or one that cannot be written (`ro`), in place of DIR, as this
                     process and its children see it
CLOCK_BACK=3600:50   time.time jumps back by so many seconds at its 50th call
"""

import ctypes
import os
import re
import resource
import shutil
import signal
import time


def install() -> None:
    if "DIE_AT" in os.environ:
        name, count = os.environ["DIE_AT"].split(":")
        _die_at(shutil if name == "rmtree" else os, name, int(count))
    if "SIGNAL_AT" in os.environ:
        moment, name, rank = re.fullmatch(
            r"(evaluation|step \d+)(?: (SIG\w+))?(?: (\d+))?", os.environ["SIGNAL_AT"]
        ).groups()
        if rank in (None, os.environ.get("RANK", "0")):
            number = signal.Signals[name or "SIGUSR1"]
            _at(moment, lambda: os.kill(os.getpid(), number))
    if "WAIT_AT" in os.environ:
        _wait_at(os.environ["WAIT_AT"])
    if "FILE_BYTES" in os.environ:
        limit = int(os.environ["FILE_BYTES"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if "MOUNT" in os.environ:
        options, folder = os.environ["MOUNT"].split(" ", 1)
        mount(folder, options)
    if "CLOCK_BACK" in os.environ:
        _clock_back(*map(int, os.environ["CLOCK_BACK"].split(":")))


def mount(folder: str, options: str) -> None:
    """A tmpfs over a folder in a mount namespace of this process, which must have one thread. OSError."""
    CLONE_NEWNS, CLONE_NEWUSER, MS_RDONLY = 0x20000, 0x10000000, 1
    libc = ctypes.CDLL(None, use_errno=True)
    flags, data = (MS_RDONLY, None) if options == "ro" else (0, options.encode())
    users = os.getuid(), os.getgid()
    for call, arguments in (
        (libc.unshare, (CLONE_NEWNS | CLONE_NEWUSER,)),
        (libc.mount, (b"tmpfs", folder.encode(), b"tmpfs", ctypes.c_ulong(flags), data)),
    ):
        if call(*arguments):
            raise OSError(ctypes.get_errno(), f"{call.__name__} {folder}: {os.strerror(ctypes.get_errno())}")
        if call is libc.unshare:
            for file, text in (("setgroups", "deny"), ("uid_map", f"0 {users[0]} 1"), ("gid_map", f"0 {users[1]} 1")):
                with open(f"/proc/self/{file}", "w") as out:
                    out.write(text)


def _clock_back(seconds: int, count: int) -> None:
    real, calls = time.time, 0

    def jumped() -> float:
        nonlocal calls
        calls += 1
        return real() - (seconds if calls >= count else 0)

    time.time = jumped


def _die_at(module, name: str, count: int) -> None:
    real = getattr(module, name)
    left = count

    def call(*args, **kwargs):
        nonlocal left
        path = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else str(args[0])
        left -= "/checkpoints/" in path
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(module, name, call)


def _at(moment: str, act) -> None:
    import aura.train.loop as loop

    real = loop.together

    def together(reader, accelerator):
        training = isinstance(reader, loop.TrainReader)
        for i, item in enumerate(real(reader, accelerator)):
            if moment == (f"step {item[0][1]['step']}" if training else "evaluation") and (training or i == 1):
                act()
            yield item

    loop.together = together


def _wait_at(moment: str) -> None:
    from aura.train.signals import Signals

    came, note = [], Signals._note

    def noted(self, number, frame):
        note(self, number, frame)
        came.append(number)

    def wait():
        while not came:
            time.sleep(0.01)

    Signals._note = noted
    _at(moment, wait)
