"""Trains the recipes behind docs/results.md with three seeds each, and writes that page from their logs.

    python tools/results.py                 trains what is missing (resumable: a finished run is kept), then writes the page
    python tools/results.py --jobs 2        two runs at a time, a thread each
    python tools/results.py --write         writes the page from the runs that are there
    python tools/results.py fine            one section: utd_mhad, utd_towers, zero_shot, mini, fine, utd_fine (these train), virtual_imu (a minute)

Needs the shards of UTD-MHAD, cmu_bvh and bandai_namco in data/ (README, "Data"), and the stored texts of the first:

    python tools/precompute.py data/utd_mhad --recipe recipes/utd_mhad.yaml --out data/utd_mhad_stored --streams text

The section utd_towers chooses learning rates on training subjects alone, from the same with --val-subjects 3,7:

    python -m shards.utd_mhad --source DIR --out data/utd_mhad_val --val-subjects 3,7
    python tools/precompute.py data/utd_mhad_val --recipe recipes/utd_mhad.yaml --out data/utd_mhad_val_stored --streams text

The sections zero_shot and mini read the shards that `make zero_shot` and `make mini data/synthetic_wordless_stored/manifest.json`
make, and data/berkeley_mhad and data/sp_sw_har.

Test subjects are used once per recipe and seed; what chose the hyper-parameters is said on the page.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import sys
from collections.abc import Callable, Sequence

import results_fine
import results_towers
import results_utd
import results_virtual
import results_zero
from results_runs import ROOT, Run, make_all

# Section of the page: its runs, its tables.
SECTIONS: dict[str, tuple[Callable[[], Sequence[Run]], Callable[[], str]]] = {
    "utd_mhad": (results_utd.runs, results_utd.tables),
    "utd_towers": (results_towers.runs, results_towers.tables),
    "zero_shot": (results_zero.ZERO_SHOT.runs, results_zero.ZERO_SHOT.tables),
    "mini": (results_zero.MINI.runs, results_zero.MINI.tables),
    "virtual_imu": (lambda: (), results_virtual.tables),
    "fine": (results_fine.runs, results_fine.tables),
    "utd_fine": (results_fine.utd_runs, results_fine.utd_tables),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--write", action="store_true", help="train nothing")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    sections = arguments.sections or list(SECTIONS)
    if not arguments.write:
        make_all([run for name in sections for run in SECTIONS[name][0]()], arguments.jobs)
    page = ROOT / "docs" / "results.md"
    for name in sections:
        made = SECTIONS[name][1]()
        head, begin, rest = page.read_text().partition(f"<!-- begin {name} -->")
        _, end, tail = rest.partition(f"<!-- end {name} -->")
        if not begin or not end:
            raise SystemExit(f"{page} lacks the marks between which the tables of {name} stand")
        page.write_text(f"{head}{begin}\n{made}\n{end}{tail}")
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
