"""Compares evaluations of several models on the same windows: differences, each with an interval over people.

python recipes/compare.py results/ours results/theirs --out results/compared

Each folder is what recipes/evaluate.py wrote (--out) for the same task and shards. Figures that both have are compared with
the first folder's, window by window: the interval is of the difference, by bootstrap over people. Windows that a model could
not evaluate would make its figures incomparable: other windows than the first's are refused.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="DIR", help="folders of results, the first: compared with"
    )
    parser.add_argument("--out", type=Path, help="folder of comparison.json and report.html")
    options = parser.parse_args(arguments)
    if len(options.results) < 2:
        parser.error("give two folders of results or more")

    from aura.evaluation.compare import compare, warnings_of, write
    from aura.evaluation.windows import EvaluationError

    try:
        table = compare(options.results)
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        print("\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in table))
        print("".join(f"{warning}\n" for warning in warnings_of(options.results)), end="")
        if options.out is not None:
            write(table, options.results, options.out)
            print(f"wrote {options.out / 'comparison.json'}, {options.out / 'report.html'}")
    except (EvaluationError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
