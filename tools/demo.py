"""A page on which people try a model: it names what a recording shows, finds samples by words, and aligns two recordings.

python tools/demo.py --model runs/quickstart --samples data/synthetic:val     at http://127.0.0.1:7860, for this machine alone
python tools/demo.py --space DIR --model user/name                            writes the page as a Space of the Hugging Face Hub
"""

from __future__ import annotations

import aura.interrupt  # first: what follows takes long to import

# isort: split
import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from aura.data.storage import StorageError
from aura.data.writer import ShardError
from aura.weights import RunError


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", required=True, help="a run, a checkpoint, a released folder, or user/name of the Hub"
    )
    parser.add_argument("--samples", metavar="FOLDER:SPLIT", help="shards to choose samples of (split: val)")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--max-mb", type=float, default=50.0, help="largest file that is taken (default: 50)")
    parser.add_argument("--space", type=Path, metavar="DIR", help="write a Space that serves --model, and end")
    parser.add_argument(
        "--aura", metavar="REQUIREMENT", help="how pip gets aura in the Space: a URL, or a wheel that is put into DIR"
    )
    options = parser.parse_args(arguments)
    if options.max_mb <= 0:
        parser.error(f"--max-mb {options.max_mb:g}: above 0")
    try:
        if options.space is not None:
            from aura.demo.space import write_space

            if options.aura is None:
                parser.error(
                    "--space needs --aura: how pip gets this library there, such as git+https://host/user/aura"
                )
            for path in write_space(options.space, options.model, options.aura, options.max_mb):
                print(f"wrote {path}")
            return 0
        from aura.demo.page import serve

        signal.signal(signal.SIGTERM, _interrupt)  # uploads are deleted on the way out
        serve(options.model, options.samples, port=options.port, max_mb=options.max_mb)
    except KeyboardInterrupt as error:
        aura.interrupt.die(*error.args)
    except (RunError, ShardError, StorageError, ImportError, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
