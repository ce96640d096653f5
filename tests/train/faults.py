"""Faults of the machine at a chosen moment, from the environment of a process that tests start.

DIE_AT=fsync:4       killed as it is about to make its fourth call of os.fsync on a file in `checkpoints`
                     (or rename, replace, rmtree)
SIGNAL_AT=evaluation SIGUSR1 as the second batch of an evaluation comes
SIGNAL_AT="step 12"  SIGUSR1 in the middle of that step
FILE_BYTES=100000    no file may grow larger: writing more is an error, as on a full disk
"""

import os
import resource
import shutil
import signal


def install() -> None:
    if "DIE_AT" in os.environ:
        name, count = os.environ["DIE_AT"].split(":")
        _die_at(shutil if name == "rmtree" else os, name, int(count))
    if "SIGNAL_AT" in os.environ:
        _signal_at(os.environ["SIGNAL_AT"])
    if "FILE_BYTES" in os.environ:
        limit = int(os.environ["FILE_BYTES"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


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


def _signal_at(moment: str) -> None:
    import aura.train.loop as loop

    real = loop.together

    def together(reader, accelerator):
        training = isinstance(reader, loop.TrainReader)
        for i, item in enumerate(real(reader, accelerator)):
            if moment == (f"step {item[0][1]['step']}" if training else "evaluation") and (training or i == 1):
                os.kill(os.getpid(), signal.SIGUSR1)
            yield item

    loop.together = together
