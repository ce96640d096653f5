"""Ctrl-C ends a command with a word, not with a traceback: `import aura.interrupt` before what takes long to import.

What the interrupt unwinds is cleaned up as ever, and the process dies by SIGINT, as shells expect (128 + 2). Where a command
minds signals itself, as training does once it runs, that holds.
"""

import os
import signal
import sys
from types import TracebackType
from typing import NoReturn


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped by Ctrl-C", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell


def die(number: int = signal.SIGINT) -> NoReturn:
    """Ends the process by a signal, with the same word and at once: Python takes seconds to put away what was imported. For a
    command that has cleaned up, and has no more to do at its exit."""
    print(
        "stopped by Ctrl-C" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}", file=sys.stderr
    )
    sys.stdout.flush()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)  # where the signal is blocked
