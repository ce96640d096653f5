"""What an evaluation found, as JSON, as a table, as a page, and by window."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aura import page
from aura.data.files import atomic
from aura.tasks.scores import Interval

MOST_COLUMNS = 8  # of figures that stand side by side
COUNTS = ("n", "pool", "scenes", "draws", "train")
# Of 95 % intervals over at most so many people: in how many of 100 cases they hold the truth (normal people, measured).
COVERAGE = ((3, 75), (4, 86), (5, 91), (7, 93))
# What answers without looking, and the best that a grid could give.
BLIND = {"chance": "chance", "majority": "always the most frequent", "zero": "always zero", "grid": "best on the grid"}
# Figures as people read them.
LABELS = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "accuracy_spread": "its spread over draws",
    "balanced_accuracy_spread": "its spread",
    "macro_f1_spread": "its spread",
    "ece": "ECE (calibration error)",
    "brier": "Brier score",
    "median_rank": "median rank",
    "MAE": "MAE, s",
    "median": "median error, s",
    "decided/MAE": "MAE of the decided, s",
    "decided/median": "their median error, s",
}


@dataclass
class Windows:
    """What an evaluation found of each of N windows, so that two models can be compared on the same ones.

    keys      (N,) data set/recording@second; subjects (N,) whose window it is
    values    figure -> (N,) what each window adds to it, such as a hit at k
    """

    keys: Sequence[str]
    subjects: Sequence[str]
    values: dict[str, np.ndarray]


@dataclass
class Result:
    """Figures by the name of what was evaluated.

    figures     name -> figure -> value; beside them `n`, `pool` and what chance gives (`chance/<figure>`)
    intervals   name -> figure -> its confidence interval over people
    windows     name -> figures by window
    parts       of the page, under the tables: pieces of `aura.page`
    facts       more for results.json
    notes       what a reader has to know
    """

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    windows: dict[str, Windows] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        figures: Mapping[str, float],
        intervals: Mapping[str, Interval] | None = None,
        windows: Windows | None = None,
    ) -> None:
        self.figures[name] = dict(figures)
        if intervals:
            self.intervals[name] = dict(intervals)
            notes = {i.note or few_people(i.units) for i in intervals.values()}
            self.notes += [note for note in sorted(notes) if note and note not in self.notes]
        if windows is not None:
            self.windows[name] = windows


def few_people(count: int) -> str:
    """What is to be said of intervals over so few people; "" where they hold what they promise."""
    held = next((share for most, share in COVERAGE if count <= most), None)
    return (
        ""
        if held is None
        else f"intervals over {count} people are too narrow: of 100 they hold the truth in about {held}"
    )


def write(result: Result, about: Mapping[str, Any], out: Path) -> None:
    """results.json, report.html and, where there are figures by window, windows.npz; each whole or as it was before."""
    values = {
        **about,
        "results": result.figures,
        "intervals": {name: as_lists(found) for name, found in result.intervals.items()},
        "notes": result.notes,
        **result.facts,
    }
    (out / "windows.npz").unlink(missing_ok=True)  # of another task
    with atomic(out / "results.json") as file:
        file.write((json.dumps(finite(values), indent=1) + "\n").encode())
    with atomic(out / "report.html") as file:
        file.write(report(result, about).encode())
    if result.windows:
        with atomic(out / "windows.npz") as file:
            np.savez_compressed(file, **arrays(result.windows))  # pyright: ignore


def as_lists(intervals: Mapping[str, Interval]) -> dict[str, list[float]]:
    """[low, high] of the figures that have an interval."""
    return {key: [i.low, i.high] for key, i in intervals.items() if i.low is not None and i.high is not None}


def arrays(windows: Mapping[str, Windows]) -> dict[str, np.ndarray]:
    """Of windows.npz: `<name>|keys`, `<name>|subjects`, and `<name>|<figure>`."""
    out: dict[str, np.ndarray] = {}
    for name, found in windows.items():
        out[f"{name}|keys"], out[f"{name}|subjects"] = np.array(found.keys), np.array(found.subjects)
        out |= {f"{name}|{key}": values for key, values in found.values.items()}
    return out


def read_results(out: Path) -> dict[str, Any]:
    """results.json of an evaluation. ValueError where there is none."""
    file = out / "results.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file} does not exist: name a folder that recipes/evaluate.py wrote (--out)") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(found, dict) or "task" not in found:
        raise ValueError(f"{file} was not written by recipes/evaluate.py: it names no task")
    return found


def read_windows(out: Path) -> dict[str, Windows]:
    """What `write` wrote. ValueError where it is not there, or is no such file."""
    file = out / "windows.npz"
    try:
        with np.load(file, allow_pickle=False) as stored:
            content = {key: stored[key] for key in stored.files}
    except FileNotFoundError:
        raise ValueError(
            f"{file} does not exist: name a folder that recipes/evaluate.py wrote for a task that goes by windows"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    found: dict[str, Windows] = {}
    for key, values in content.items():
        name, _, figure = key.rpartition("|")
        windows = found.setdefault(name, Windows([], [], {}))
        if figure == "keys":
            windows.keys = values.tolist()
        elif figure == "subjects":
            windows.subjects = values.tolist()
        else:
            windows.values[figure] = values
    return found


def finite(value: Any) -> Any:
    """null for numbers that JSON has none for."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def text(result: Result) -> str:
    """For the screen: the tables of the page, and the notes."""
    parts = []
    for rows in tables(result):
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        parts.append("\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows))
    return "\n\n".join(parts) + "".join(f"\nnote: {note}" for note in result.notes)


def counts(figures: Mapping[str, float]) -> list[str]:
    return [f"{key} {figures[key]:.0f}" for key in COUNTS if key in figures]


def cell(result: Result, name: str, key: str) -> str:
    value = result.figures[name][key]
    interval = result.intervals.get(name, {}).get(key)
    if interval is None or interval.low is None or interval.high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def report(result: Result, about: Mapping[str, Any]) -> str:
    """The page: what was evaluated on what, what a reader has to know, the figures, and what the task shows."""
    facts = [["of this evaluation", ""], *([key, _plain(value)] for key, value in about.items())]
    parts = [page.words(note, warn=True) for note in result.notes]
    people = {i.units for found in result.intervals.values() for i in found.values() if i.low is not None}
    if people:
        some = " or ".join(map(str, sorted(people)))
        parts.append(page.words(f"In brackets: 95 % intervals over people, by bootstrap of {some} subjects."))
    parts += [page.table(table) for table in tables(result)]
    return page.page(
        f"{about.get('task', 'evaluation')}: {about.get('recipe', '')}",
        [page.heading("Figures"), *parts, *result.parts, page.heading("What was evaluated"), page.table(facts)],
    )


def tables(result: Result) -> list[list[list[str]]]:
    """Results with the same figures stand in one table, as rows; what chance and others without looking give stands under
    each. Many figures are rows themselves."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, figures in result.figures.items():
        own = tuple(key for key in figures if key not in COUNTS and key.split("/")[0] not in BLIND)
        kinds.setdefault(own, []).append(name)
    out = []
    for keys, names in kinds.items():
        rows = [["", "counts", *(LABELS.get(key, key) for key in keys)]]
        for name in names:
            figures = result.figures[name]
            rows.append([name, ", ".join(counts(figures)), *(cell(result, name, key) for key in keys)])
            for blind in BLIND:
                under = [_blind(figures, blind, key) for key in keys]
                if any(under) and not _repeated(result, names, name, blind, keys):
                    rows.append([f"  {BLIND[blind]}", "", *under])
        out.append(rows if len(keys) <= MOST_COLUMNS else [list(column) for column in zip(*rows)])
    return out


def _blind(figures: Mapping[str, float], blind: str, key: str) -> str:
    """What `chance` (and so on) gives of a figure; the last word of a figure names it too: `argmax/accuracy`."""
    found = figures.get(f"{blind}/{key}", figures.get(f"{blind}/{key.split('/')[-1]}"))
    return "" if found is None else f"{found:.4f}"


def _repeated(result: Result, names: Sequence[str], name: str, blind: str, keys: Sequence[str]) -> bool:
    """Whether the next result of the table says the same of this."""
    at = names.index(name) + 1
    if at == len(names):
        return False
    this, following = result.figures[name], result.figures[names[at]]
    return all(_blind(this, blind, key) == _blind(following, blind, key) for key in keys)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)
