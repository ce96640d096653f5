"""Figures of an evaluation: confusion matrix, calibration, a map of embeddings, examples of retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from aura.tasks.scores import Calibration, Interval

MOST_POINTS = 2000  # of a map
FEW_LABELS = 12  # that are told apart by colour alone
COLUMNS = 7  # of a legend of labels
MARKERS = "o^sDvPX*"
CELL = 0.27  # inches of a class in a confusion matrix, of at most
NUMBERED = 120  # classes; more share the room, without numbers


def confusion_figure(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts (true classes, found classes) as a picture: shares of each true class, numbers of what is not zero. As large as
    the classes need."""
    names, count = list(map(_literal, names)), len(names)
    side = max(3.0, CELL * min(count, NUMBERED))
    longest = max(map(len, names)) + 6
    figure = Figure(figsize=(side + 1.8 + 0.075 * longest, side + 0.7 + 0.075 * longest), layout="constrained")
    axes = figure.add_subplot()
    share = matrix / matrix.sum(1, keepdims=True).clip(min=1)
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(count), names, rotation=90, fontsize=8)
    axes.set_yticks(range(count), [f"{name} ({total:.0f})" for name, total in zip(names, matrix.sum(1))], fontsize=8)
    axes.set(xlabel="found", ylabel="true (windows)")
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="#e8e8e8", lw=0.5)
    axes.tick_params(which="minor", length=0)
    for i, j in zip(*np.nonzero(matrix if count <= NUMBERED else 0 * matrix)):
        number = f"{matrix[i, j]:.0f}"
        colour = "white" if share[i, j] > 0.5 else "black"
        axes.text(j, i, number, ha="center", va="center", fontsize=8 if len(number) < 4 else 6, color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.5, pad=0.02)
    return figure


@dataclass(frozen=True)
class Shots:
    """Accuracy of few-shot recognition of a stream. curves: classifier -> (k windows a class, its interval); `chance` and
    `majority`: of what answers without looking."""

    curves: Mapping[str, Sequence[tuple[int, Interval]]]
    chance: float
    majority: float


def shots_figure(streams: Mapping[str, Shots]) -> Figure:
    """Accuracy over k, a panel a stream: curves, their intervals as bands, chance and majority as lines."""
    figure = Figure(figsize=(1.8 + 3.6 * len(streams), 3.8), layout="constrained")
    panels = figure.subplots(1, len(streams), sharey=True, squeeze=False)[0]
    for axes, (stream, shots) in zip(panels, streams.items()):
        for name, points in shots.curves.items():
            ks, found = zip(*sorted(points, key=lambda point: point[0]))
            (line,) = axes.plot(ks, [i.value for i in found], marker="o", ms=4, lw=1.3, label=name)
            bounds = [(k, i.low, i.high) for k, i in zip(ks, found) if i.low is not None]
            if bounds:
                at, low, high = zip(*bounds)
                axes.fill_between(at, low, high, color=line.get_color(), alpha=0.2, lw=0)
            axes.set_xscale("log")
            axes.set_xticks(ks, map(str, ks))
            axes.set_xticks([], minor=True)
        axes.axhline(shots.chance, color="#666666", lw=1, ls="--", label="chance")
        axes.axhline(shots.majority, color="#666666", lw=1, ls=":", label="always the most frequent")
        axes.set(title=stream, xlabel="windows of each class", ylim=(0, 1))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy")
    panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def map_figure(sides: Sequence[tuple[str, np.ndarray, Sequence[str]]], seed: int = 0) -> Figure:
    """Two maps of the embeddings of some streams, each (name, (n, D) unit vectors, n labels): by the two principal
    components, and by t-SNE (van der Maaten & Hinton 2008). A colour a label, a marker a stream; at most 2,000 points.

    Labels are in the legend; more than FEW_LABELS, which no eye tells apart by colour, with numbers that stand at the windows
    in the middle of each label.
    """
    room = max(1, MOST_POINTS // len(sides))
    rng = np.random.default_rng(seed)
    chosen = []
    for name, vectors, labels in sides:
        rows = np.sort(rng.permutation(len(vectors))[:room])
        chosen.append((name, vectors[rows], [labels[i] for i in rows]))
    points = np.concatenate([vectors for _, vectors, _ in chosen])
    kinds = sorted({label for _, _, labels in chosen for label in labels})
    few = len(kinds) <= FEW_LABELS
    palette = colormaps["tab10" if len(kinds) <= 10 else "turbo"]
    colour = {label: palette(i if len(kinds) <= 10 else i / (len(kinds) - 1)) for i, label in enumerate(kinds)}
    flat = PCA(2, random_state=seed).fit(points)
    near = TSNE(2, perplexity=min(30, (len(points) - 1) / 3), init="pca", random_state=seed).fit_transform(points)
    lines = -(-len(kinds) // COLUMNS)
    figure = Figure(figsize=(13, 6 + 0.22 * lines), layout="constrained")
    shares = flat.explained_variance_ratio_.sum()
    titles = (f"principal components ({shares:.0%} of the variance)", "t-SNE")
    for axes, place, title in zip(figure.subplots(1, 2), (flat.transform(points), near), titles):
        _scatter(axes, place, chosen, colour)
        if not few:
            _number(axes, place, [label for _, _, labels in chosen for label in labels], kinds)
        axes.set(title=title, xticks=[], yticks=[])
    handles = [Line2D([], [], ls="", marker=m, color="#666666", label=name) for (name, _, _), m in zip(chosen, MARKERS)]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9)
    handles = [
        Line2D([], [], ls="", marker="s", color=colour[label], label=_literal(label if few else f"{i} {label}"))
        for i, label in enumerate(kinds, 1)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(kinds), COLUMNS), fontsize=8)
    return figure


def _scatter(
    axes: Axes, place: np.ndarray, sides: Sequence[tuple[str, np.ndarray, Sequence[str]]], colour: Mapping[str, Any]
) -> None:
    begin = 0
    for (_, vectors, labels), marker in zip(sides, MARKERS):
        part = place[begin : begin + len(vectors)]
        begin += len(vectors)
        axes.scatter(*part.T, s=10, c=[colour[label] for label in labels], marker=marker, alpha=0.7, linewidths=0)


def _number(axes: Axes, place: np.ndarray, labels: Sequence[str], kinds: Sequence[str]) -> None:
    """Puts the number of each label at its point that is nearest to all its others."""
    for i, kind in enumerate(kinds, 1):
        own = place[[label == kind for label in labels]]
        middle = own[np.linalg.norm(own[:, None] - own, axis=-1).sum(1).argmin()]
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.7}
        axes.text(float(middle[0]), float(middle[1]), str(i), fontsize=8, ha="center", va="center", bbox=box)


def calibration_figure(found: Calibration) -> Figure:
    """Accuracy of each bin of confidence against the diagonal, and how many windows are in each."""
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    low, high, count, sure, accuracy = (
        np.array([row[key] for row in found.bins]) for key in ("low", "high", "count", "confidence", "accuracy")
    )
    upper.plot([0, 1], [0, 1], color="#888888", lw=1, ls="--")
    upper.plot(sure, accuracy, marker="o", lw=1)
    upper.set(ylabel="accuracy", ylim=(0, 1), title=f"ECE {found.ece:.3f}, Brier {found.brier:.3f}")
    lower.bar(low, count, high - low, align="edge", color="#9ecae1", ec="white")
    lower.set(xlabel="confidence", ylabel="windows", xlim=(0, 1))
    return figure


def curves_figure(
    time_s: np.ndarray, curves: dict[str, np.ndarray], spans: Sequence[tuple[str, float, float]], label: str
) -> Figure:
    """Curves over time, (T,) each, above what is known of it: (words, from, to in seconds)."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    for name, values in curves.items():
        upper.plot(time_s, values, lw=1.3, label=_literal(name))
    upper.set(ylabel=label)
    upper.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    upper.grid(alpha=0.3)
    for lane, (words, begin, end) in enumerate(spans):
        lower.barh(lane, end - begin, left=begin, color="#9ecae1", ec="white")
        lower.text(begin, lane, f" {_literal(words)}", fontsize=7, va="center", clip_on=True)
    lower.set(yticks=[], xlabel="seconds of the sample", ylim=(max(len(spans), 1) - 0.5, -0.5))
    return figure


def _literal(words: str) -> str:
    """Words in which a dollar begins no formula."""
    return words.replace("$", r"\$")
