"""Figures of an evaluation: confusion matrix, calibration, a map of embeddings, examples of retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from aura.tasks.scores import Calibration

MOST_POINTS = 2000  # of a map


def confusion_figure(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts (true classes, found classes) as a picture: shares of each true class, numbers where there is room."""
    count = len(names)
    size = min(4 + 0.22 * count, 10)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.add_subplot()
    share = matrix / matrix.sum(1, keepdims=True).clip(min=1)
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    small = 8 if count <= 20 else 5
    axes.set_xticks(range(count), names, rotation=90, fontsize=small)
    axes.set_yticks(
        range(count), [f"{name} ({total:.0f})" for name, total in zip(names, matrix.sum(1))], fontsize=small
    )
    axes.set(xlabel="found", ylabel="true (windows)")
    if count <= 30:
        for i, j in zip(*np.nonzero(matrix)):
            colour = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, f"{matrix[i, j]:.0f}", ha="center", va="center", fontsize=small - 1, color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.7)
    return figure


def map_figure(sides: Sequence[tuple[str, np.ndarray, Sequence[str]]], seed: int = 0) -> Figure:
    """Two maps of the embeddings of some streams, each (name, (n, D) unit vectors, n labels): by the two principal
    components, and by t-SNE (van der Maaten & Hinton 2008). A colour a label, a marker a stream; at most 2,000 points."""
    room = max(1, MOST_POINTS // len(sides))
    rng = np.random.default_rng(seed)
    chosen = []
    for name, vectors, labels in sides:
        rows = np.sort(rng.permutation(len(vectors))[:room])
        chosen.append((name, vectors[rows], [labels[i] for i in rows]))
    points = np.concatenate([vectors for _, vectors, _ in chosen])
    kinds = sorted({label for _, _, labels in chosen for label in labels})
    colour = {label: i / max(len(kinds) - 1, 1) for i, label in enumerate(kinds)}
    flat = PCA(2, random_state=seed).fit(points)
    near = TSNE(2, perplexity=min(30, (len(points) - 1) / 3), init="pca", random_state=seed).fit_transform(points)
    figure = Figure(figsize=(13, 6), layout="constrained")
    shares = flat.explained_variance_ratio_.sum()
    titles = (f"principal components ({shares:.0%} of the variance)", "t-SNE")
    for axes, place, title in zip(figure.subplots(1, 2), (flat.transform(points), near), titles):
        _scatter(axes, place, chosen, colour)
        axes.set(title=title, xticks=[], yticks=[])
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=max(1, min(len(names), 8)), fontsize=8)
    return figure


def _scatter(
    axes: Axes, place: np.ndarray, sides: Sequence[tuple[str, np.ndarray, Sequence[str]]], colour: dict[str, float]
) -> None:
    begin = 0
    few = len(colour) <= 12
    for (name, vectors, labels), marker in zip(sides, "o^sDvPX*"):
        part = place[begin : begin + len(vectors)]
        begin += len(vectors)
        values = np.array([colour[label] for label in labels])
        axes.scatter(*part.T, s=10, c=values, cmap="turbo", vmin=0, vmax=1, marker=marker, alpha=0.7, linewidths=0)
        axes.scatter([], [], s=20, c="#666666", marker=marker, label=name)
    for label, value in colour.items() if few else ():
        axes.scatter([], [], s=20, color=colormaps["turbo"](value), marker="s", label=label)


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
        upper.plot(time_s, values, lw=1.3, label=name)
    upper.set(ylabel=label)
    upper.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    upper.grid(alpha=0.3)
    for lane, (words, begin, end) in enumerate(spans):
        lower.barh(lane, end - begin, left=begin, color="#9ecae1", ec="white")
        lower.text(begin, lane, f" {words}".replace("$", r"\$"), fontsize=7, va="center", clip_on=True)
    lower.set(yticks=[], xlabel="seconds of the sample", ylim=(max(len(spans), 1) - 0.5, -0.5))
    return figure
