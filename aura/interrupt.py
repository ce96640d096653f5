"""Ctrl-C ends a command with a word, not with a traceback: `import aura.interrupt` before what takes long to import.

What the interrupt unwinds is cleaned up as ever, and the process dies by SIGINT, as shells expect (128 + 2). Where a command
minds signals itself, as training does once it runs, that holds.
"""

import sys
from types import TracebackType


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped by Ctrl-C", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell
