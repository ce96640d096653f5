"""Models beside each other, on the same windows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aura import page
from aura.data.files import atomic
from aura.evaluation.result import Windows, read_results, read_windows
from aura.evaluation.windows import EvaluationError
from aura.tasks.scores import Interval, mean_intervals

HEAD = ["result", "figure", "n", "first", "other", "value of first", "value of other", "difference", "95 % interval"]


def compare(folders: Sequence[Path]) -> list[list[str]]:
    """A table: each figure by window of the first folder against each other's. EvaluationError where no result is in both,
    or they are of other windows."""
    check_alike(folders)
    first, *others = (read_windows(folder) for folder in folders)
    rows = [HEAD]
    for folder, other in zip(folders[1:], others):
        shared = [name for name in first if name in other]
        if not shared:
            raise EvaluationError(
                f"{folders[0]} and {folder} have no result in common: {', '.join(first)} and {', '.join(other)}."
                " Evaluate both for the same task"
            )
        for name in shared:
            a, b = first[name], aligned(first[name], other[name], f"{name} of {folder}")
            figures = [key for key in a.values if key in b]
            found = mean_intervals({key: b[key] - a.values[key] for key in figures}, a.subjects)
            for key, interval in found.items():
                values = [f"{v[key].mean():.3f}" for v in (a.values, b)]
                where = [str(len(a.keys)), str(folders[0]), str(folder)]
                rows.append([name, key, *where, *values, f"{interval.value:+.3f}", _span(interval)])
    return rows


def check_alike(folders: Sequence[Path]) -> None:
    """EvaluationError where the folders are of other tasks, or of other classes in words."""
    for what, of in (
        ("task", lambda found: found.get("task")),
        ("classes", lambda f: f.get("prompts", {}).get("hash")),
    ):
        values = {str(folder): of(read_results(folder)) for folder in folders}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{folder} {value}" for folder, value in values.items())
            raise EvaluationError(f"the {what} differ: {told}. Evaluate all for the same")


def warnings_of(folders: Sequence[Path]) -> list[str]:
    """What the folders' results share with the training of their models."""
    return [f"LEAK in {folder}: {line}" for folder in folders for line in read_results(folder).get("leaks", [])]


def aligned(first: Windows, other: Windows, what: str) -> dict[str, np.ndarray]:
    """The other's values in the order of the first's windows. EvaluationError where the windows are not the same."""
    place = {key: i for i, key in enumerate(other.keys)}
    if len(place) < len(other.keys) or len(set(first.keys)) < len(first.keys):
        raise EvaluationError(f"{what}: windows of one recording and second are there twice, and cannot be told apart")
    if set(place) != set(first.keys) or len(place) != len(first.keys):
        lacking, more = len(set(first.keys) - set(place)), len(set(place) - set(first.keys))
        raise EvaluationError(
            f"{what} is of other windows: {lacking} are lacking, {more} are there besides. Evaluate both on the same shards,"
            " with windows of the same length and stride, and with streams that both models read"
        )
    order = [place[key] for key in first.keys]
    return {key: values[order] for key, values in other.values.items()}


def _span(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return interval.note
    return f"{interval.low:+.3f} to {interval.high:+.3f}"


def write(table: list[list[str]], folders: Sequence[Path], out: Path) -> None:
    """comparison.json and report.html."""
    rows = [dict(zip(table[0], row)) for row in table[1:]]
    out.mkdir(parents=True, exist_ok=True)
    warnings = warnings_of(folders)
    values = {"compared": [str(folder) for folder in folders], "warnings": warnings, "rows": rows}
    with atomic(out / "comparison.json") as file:
        file.write((json.dumps(values, indent=1) + "\n").encode())
    words = page.words(
        "Differences are of the other less the first, window by window; intervals by bootstrap over people."
    )
    with atomic(out / "report.html") as file:
        file.write(
            page.page("comparison", [*(page.words(w, warn=True) for w in warnings), words, page.table(table)]).encode()
        )
