"""Compares training runs on one page: what their recipes differ in, how they ended, their curves on common axes.

python tools/compare_runs.py runs/first runs/second --out results/runs.html
python tools/compare_runs.py runs/seed-* --out results/seeds.html --curves loss 'scale/.*' 'retrieval/imu:.*/R@1'

Curves are drawn of what at least two runs have. Without --curves: the loss of the whole and of each pair, accuracy, retrieval
and zero-shot figures, effective rank, the norm of the gradient, and the share of time that waits for data.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from aura import page
from aura.data.files import atomic
from aura.train.rundir import read_metrics
from aura.weights import RunError

CURVES = (
    "loss", "loss/.*", "accuracy/.*", "retrieval/(?!.*chance).*/R@1", "zeroshot/.*/accuracy", "classify/.*", "rank/.*", "grad_norm",
    "data_wait", "samples_per_s",
)  # fmt: skip
COLUMNS = 3
MOST = 48  # panels: more are no picture any more
SAME = ("run_dir",)  # keys that differ without saying anything


@dataclass(frozen=True)
class Run:
    """A run's folder, its recipe as flat keys, its lines of metrics, and how it ended."""

    folder: Path
    recipe: dict[str, Any]
    lines: list[dict[str, Any]]
    status: dict[str, Any]

    def curve(self, key: str) -> list[tuple[int, float]]:
        return [(line["step"], line[key]) for line in self.lines if key in line]


def read_run(folder: Path) -> Run:
    """RunError where the folder is no run."""
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"{folder} is no run: {error}") from error
    lines = [values for _, values in read_metrics(folder / "metrics.jsonl")]
    if not lines:
        raise RunError(f"{folder} has no metrics yet")
    try:
        status = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        status = {}
    return Run(folder, flat(recipe), lines, status)


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Nested values as `a.b.0` -> value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [pair for name, v in inner for pair in flat(v, f"{key}.{name}" if key else str(name)).items()]
    return dict(found) if found else {key: value}


def differences(runs: Sequence[Run]) -> list[list[str]]:
    """A table: a key of the recipes that differ a row, a run a column; "-" where a recipe lacks the key."""
    keys = dict.fromkeys(key for run in runs for key in run.recipe)
    rows = [[key, *(str(run.recipe.get(key, "-")) for run in runs)] for key in keys if key not in SAME]
    return [row for row in rows if len(set(row[1:])) > 1]


def ends(runs: Sequence[Run]) -> list[list[str]]:
    """State, steps, and the last value of what was measured in evaluations, or else of the losses."""
    keys = dict.fromkeys(
        key for run in runs for line in run.lines if line["kind"] == "eval" for key in line if wanted(key, CURVES)
    )
    rows = [["state", *(run.status.get("state", "unknown") for run in runs)]]
    rows.append(["steps", *(str(max(line["step"] for line in run.lines)) for run in runs)])
    for key in (*keys, "loss"):
        values = [run.curve(key) for run in runs]
        rows.append([key, *(f"{value[-1][1]:.4g}" if value else "-" for value in values)])
    return rows


def wanted(key: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def draw(runs: Sequence[Run], names: Sequence[str], patterns: Sequence[str]) -> tuple[Figure | None, list[str]]:
    """A panel for each figure that two runs have, and that is more than a point, as far as there is room; and the keys that
    found none."""
    keys = dict.fromkeys(key for run in runs for line in run.lines for key in line if wanted(key, patterns))
    lengths = {key: [len(run.curve(key)) for run in runs] for key in keys}
    shared = [key for key, found in lengths.items() if sum(map(bool, found)) > 1 and max(found) > 1]
    if not shared:
        return None, []
    shown = shared[:MOST]
    rows = math.ceil(len(shown) / COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.8 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for key, axes in zip(shown, panels):
        for i, run in enumerate(runs):
            if curve := run.curve(key):
                axes.plot(
                    *zip(*curve),
                    lw=1,
                    color=f"C{i % 10}",
                    ls=("-", "--", ":")[i // 10 % 3],
                    marker="." if len(curve) < 9 else "",
                )
        axes.set(title=key, xlabel="step")
    for axes in list(panels):
        axes.set_axis_off()
    handles = [
        figure.axes[0].plot([], [], color=f"C{i % 10}", ls=("-", "--", ":")[i // 10 % 3])[0] for i in range(len(runs))
    ]
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 4), fontsize=9)
    return figure, shared[MOST:]


def short_names(runs: Sequence[Run]) -> list[str]:
    """Last names of the folders; the whole path where two are the same."""
    last = [run.folder.name for run in runs]
    return [name if last.count(name) == 1 else str(run.folder) for name, run in zip(last, runs)]


def make_page(runs: Sequence[Run], patterns: Sequence[str]) -> str:
    names = short_names(runs)
    rows, (figure, left_out) = differences(runs), draw(runs, names, patterns)
    parts = [page.heading("What the recipes differ in")]
    parts.append(page.table([["key", *names], *rows]) if rows else page.words("Nothing: the recipes are the same."))
    parts += [page.heading("How the runs ended"), page.table([["", *names], *ends(runs)])]
    warned = [[n, str(v["step"]), v["message"]] for n, r in zip(names, runs) for v in r.lines if v["kind"] == "warning"]
    if warned:
        parts += [page.heading("Warnings"), page.table([["run", "step", "warning"], *warned])]
    parts.append(page.heading("Curves"))
    if figure is None:
        parts.append(page.words("No two runs have a figure of these names.", warn=True))
    else:
        parts.append(page.picture(figure, f"Figures that at least two of {', '.join(names)} have, over their steps."))
    if left_out:
        parts.append(page.words(f"Without a panel, for want of room: {', '.join(left_out)}; choose with --curves."))
    return page.page(f"{len(runs)} runs compared", parts)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the page; it needs no other file")
    parser.add_argument(
        "--curves", nargs="+", default=CURVES, metavar="PATTERN", help="names in metrics.jsonl, patterns"
    )
    options = parser.parse_args(words)
    if len(options.runs) < 2:
        parser.error("give two runs or more")
    try:
        runs = [read_run(folder) for folder in options.runs]
        content = make_page(runs, options.curves)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(options.out) as file:
            file.write(content.encode())
    except (RunError, OSError, re.error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
