"""Tasks that tell the class of a window: by words, by classifiers on frozen embeddings, by the model's own classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from aura import page
from aura.data.config import kind_of
from aura.data.index import BadSample, Record
from aura.evaluation.result import Result, Windows
from aura.evaluation.windows import (
    EvaluationError,
    Labelled,
    Request,
    embed,
    inputs_of,
    labelled,
    streams_of,
)
from aura.tasks.evaluate import Embedded, check_classes, embed_texts, label_classes
from aura.tasks.fewshot import fewshot as few_shots
from aura.tasks.figures import Shots, calibration_figure, confusion_figure, curves_figure, map_figure, shots_figure
from aura.tasks.probe import probe_answers
from aura.tasks.scores import Interval, calibration, classification, label_codes, label_intervals, mean_intervals
from aura.tasks.tracks import Encoder, Span, extent, tracks
from aura.tasks.transfer import transfer as train_head
from aura.tasks.zeroshot import (
    Prompts,
    class_embeddings,
    class_probabilities,
    default_prompts,
    found_classes,
    fused,
    load_prompts,
)

MOMENTS, SHOWN = 100, 5  # of the curves over time: windows; classes, and texts


def zeroshot(
    request: Request,
    prompts: str | None = None,
    fuse: Sequence[str] = (),
    placements: Sequence[str] = (),
    skip_others: bool = False,
) -> Result:
    """The nearest class in words, by each stream, by the joined streams of the recipe, and by those of `fuse` (`imu+video`:
    of each window the streams that it has).

    prompts       a file; default: the recipe's, else the values of the label `activity`
    placements    each of these sensors alone too; `each`: every one of the shards
    skip_others   windows of classes that the prompts lack are left out, and counted; else they are an error
    """
    loaded, result = request.loaded, Result()
    windows = embed(request)
    known = load_prompts(prompts) if prompts else loaded.prompts
    classes = label_classes(windows, known)
    if classes is None:
        raise EvaluationError(
            "the samples have under two values of the label 'activity': write it into their `labels` (texts are no labels),"
            " or give --prompts for a label of theirs"
        )
    names, words = list(classes.classes), words_of(request, classes)
    result.facts["prompts"] = {"file": prompts, "label": classes.label, "classes": len(names), "hash": classes.hash}

    def tell(name: str, side: str, vectors: Tensor, present: Tensor, of: Embedded, *, folded: bool = False) -> None:
        rows = labelled(of, vectors, present, classes.label)
        others = sorted(set(rows.labels) - set(names))
        if others and not skip_others:
            raise EvaluationError(
                f"the prompts lack the classes {', '.join(others)} of the windows; they have {', '.join(names)}."
                " Add them, or leave those windows out with --skip-other-classes"
            )
        absent = sum(bool(labels.get(classes.label)) for labels in of.labels) - len(rows)
        if absent and not folded:
            result.facts.setdefault("left_out", {})[f"{name}: too short, or without the stream"] = absent
        kept = rows.only([label in classes.classes for label in rows.labels])
        if others:
            result.facts.setdefault("left_out", {})[f"{name}: windows of {', '.join(others)}"] = len(rows) - len(kept)
        if len(kept):
            scale = scale_of(request, side)
            sure = class_probabilities(kept.vectors, words, scale).numpy() if scale is not None else None
            told(result, name, kept, found_classes(kept.vectors, words, names), names, sure, folded=folded)

    compared = request.loaded.recipe.objective.compared
    if "text" not in compared:
        raise EvaluationError(f"recipe {loaded.recipe.name} compares nothing with text: classes in words need that")
    for side in sorted(side for space, side in windows.sides if space == "pooled" and side != "text"):
        if compared.issuperset(side.split("+")):
            tell(side, side, windows.sides["pooled", side], windows.present[side], windows)
    for name in fuse:
        parts = name.split("+")
        check_streams(name, parts, [stream for stream in streams_of(windows) if stream in compared])
        sides = {part: windows.sides["pooled", part] for part in parts}
        there = {part: windows.present[part] for part in parts}
        tell(f"{name}, as far as there", name, *fused(sides, there), windows)
    for placement in placements_of(request, placements):
        alone = embed(request, placement=placement)
        for stream in (s for s in streams_of(alone) if kind_of(s) == "imu" and s in compared):
            vectors, there = alone.sides["pooled", stream], alone.present[stream]
            tell(f"{stream} at the {placement} alone", stream, vectors, there, alone, folded=True)
    if not result.figures:
        if any(classes.label in labels for labels in windows.labels):
            raise EvaluationError(
                f"the model reads nothing of the {len(windows.labels)} windows: they lack its streams, or hold less than"
                f" data.window.min_cover ({loaded.recipe.data.window.min_cover:g}) of {loaded.recipe.data.window.seconds:g} s"
            )
        raise EvaluationError(
            f"no window has the label {classes.label!r} of the classes, but {label_names(windows)}: give --prompts for a label"
            " of theirs"
        )
    add_map(result, windows, classes.label)
    result.parts += over_time(request, names, words)
    return result


def over_time(request: Request, names: list[str], words: Tensor) -> list[str]:
    """Of the longest sample: how near its windows are to the classes' words, one after another; the five nearest classes."""
    loaded = request.loaded
    seconds = loaded.recipe.data.window.seconds
    inputs, compared = inputs_of(request), loaded.recipe.objective.compared
    timed = [name for name in sorted(compared) if name != "text" and not getattr(inputs[name], "stored", False)]
    longest: tuple[float, str, Record] | None = None
    for split in request.splits():
        for i, entry in enumerate(split.entries()):
            there = [name for name in timed if name in entry["streams"]]
            if there and (longest is None or entry["duration_s"] > longest[0]):
                longest = float(entry["duration_s"]), there[0], split.record(i)
    if longest is None or loaded.recipe.data.window.whole:
        return []
    _, stream, record = longest
    begin, end = extent(record, stream)
    encoder = Encoder(loaded.model, inputs, seconds, stride_s=max((end - begin - seconds) / MOMENTS, 0.1))
    if end - begin < 2 * seconds:
        return []  # windows that are nearly the same are no curve
    try:
        found = tracks(encoder, stream, [Span(record, stream, begin)], end - begin, by_tokens=False)
    except BadSample:
        return []  # the figures do without it
    scores = (found.values[0, 0] @ words.T).numpy()
    time = begin + seconds / 2 + encoder.stride_s * np.arange(len(scores))
    best = np.argsort(-scores.max(0))[:SHOWN].tolist()
    texts = [(t["text"], float(t["start_s"]), float(t["end_s"])) for t in record.head.get("texts", [])][:SHOWN]
    figure = curves_figure(time, {names[int(i)]: scores[:, i] for i in best}, texts, f"cosine of {stream} and words")
    told = f"{record.entry['key']}: {stream} in windows of {seconds:g} s, at their middles; below: what the sample says"
    return [page.heading("Over time"), page.picture(figure, told)]


def words_of(request: Request, classes: Prompts) -> Tensor:
    """Embeddings (C, D) of the classes' words, of unit norm."""
    loaded = request.loaded
    if loaded.tokenize is None:
        raise EvaluationError(f"recipe {loaded.recipe.name} has no text tower: classes in words need one")
    tokenize, device = loaded.tokenize, loaded.device
    return class_embeddings(classes, lambda words: embed_texts(loaded.model, tokenize(words), device)).cpu()


def scale_of(request: Request, side: str) -> float | None:
    """What the side's cosines with text were multiplied by in training; None where it was never compared with text."""
    objective, temperature = request.loaded.recipe.objective, request.loaded.model.temperature
    values = dict(zip(objective.scales, temperature()[0].exp().tolist()))
    return values.get(f"{side}:text", values.get(f"text:{side}"))


def placements_of(request: Request, names: Sequence[str]) -> list[str]:
    """Placements of the shards by their names; `each`: all of them. EvaluationError for one that is not there."""
    there: dict[str, None] = {}
    for split in request.splits():
        for about in split.totals["streams"].values():
            there |= dict.fromkeys(about.get("placements", {}))
    unknown = sorted(set(names) - {"each", *there})
    if unknown:
        raise EvaluationError(
            f"--placements: no sensor is at the {', '.join(unknown)}; there are {', '.join(sorted(there))}"
        )
    return sorted(there) if "each" in names else list(names)


def check_streams(name: str, parts: Sequence[str], there: Sequence[str]) -> None:
    unknown = sorted(set(parts) - set(there))
    if unknown:
        raise EvaluationError(f"{name}: the model has no stream {', '.join(unknown)}; it has {', '.join(there)}")


def told(
    result: Result,
    name: str,
    rows: Labelled,
    found: Sequence[str],
    names: Sequence[str],
    probabilities: np.ndarray | None = None,
    *,
    majority: str | None = None,
    folded: bool = False,
) -> None:
    """Adds what was answered for windows: figures, intervals, per class, the confusion matrix, calibration; on the page the
    last two are `folded` away where there are many of them. majority: the most frequent class of training, where there was any."""
    scores = classification(rows.labels, found, names)
    figures = scores.figures() | scores.baselines(majority) | {"n": float(len(rows)), "pool": float(len(names))}
    right = np.array([a == b for a, b in zip(found, rows.labels)], float)
    pictures = [page.picture(confusion_figure(scores.confusion, scores.names), f"{name}: confusion matrix")]
    if probabilities is not None:
        sure = calibration(probabilities, label_codes(rows.labels, names))
        figures |= {"ece": sure.ece, "brier": sure.brier}
        pictures.append(page.picture(calibration_figure(sure), f"{name}: calibration"))
    intervals = label_intervals(rows.labels, found, rows.subjects, names)
    result.add(name, figures, intervals, Windows(rows.keys, rows.subjects, {"accuracy": right}))
    per_class = scores.per_class()
    result.facts.setdefault("classes", {})[name] = per_class
    result.facts.setdefault("confusion", {})[name] = {"names": scores.names, "counts": scores.confusion.tolist()}
    table = [["class", "precision", "recall", "F1", "windows", "answered"]]
    for key, row in per_class.items():
        share = [f"{row[figure]:.3f}" if np.isfinite(row[figure]) else "–" for figure in ("precision", "recall", "f1")]
        table.append([key, *share, f"{row['n']:.0f}", f"{row['answered']:.0f}"])
    result.parts += [page.heading(name), page.details("by class", page.table(table))]
    result.parts += [page.details("confusion matrix and calibration", "".join(pictures))] if folded else pictures


def most(rows: Labelled) -> str:
    """The most frequent class."""
    return Counter(rows.labels).most_common(1)[0][0]


def add_map(result: Result, windows: Embedded, label: str) -> None:
    """The embeddings of all streams of windows that have a label, as a map."""
    sides = []
    for stream in streams_of(windows):
        rows = labelled(windows, windows.sides["pooled", stream], windows.present[stream], label)
        if len(rows) > 3:
            sides.append((stream, rows.vectors.numpy(), rows.labels))
    if sides:
        result.parts += [
            page.heading("Map"),
            page.picture(map_figure(sides), f"embeddings by {label}; t-SNE keeps neighbours, not distances"),
        ]


def both_sides(request: Request, train: Sequence[str], label: str) -> list[tuple[str, Labelled, Labelled]]:
    """Of each stream the labelled windows of the training shards and of those that are evaluated."""
    learn, test = embed(request.of(train, "train")), embed(request)
    out = []
    for stream in streams_of(test):
        x, y = (labelled(w, w.sides["pooled", stream], w.present[stream], label) for w in (learn, test))
        if len(y):
            out.append((stream, x, y))
    if not out:
        raise EvaluationError(f"no window has the label {label!r}; there are {label_names(test)}")
    return out


def label_names(windows: Embedded) -> str:
    return ", ".join(sorted({name for labels in windows.labels for name in labels})) or "none"


def probe(request: Request, train: Sequence[str], label: str) -> Result:
    """A linear classifier and the nearest training window, on the frozen embeddings of each stream."""
    result = Result()
    for stream, learn, test in both_sides(request, train, label):
        names = sorted(set(learn.labels))
        for kind, found in probe_answers(
            learn.vectors.numpy(), learn.labels, test.vectors.numpy(), test.labels
        ).items():
            told(result, f"{stream}, {kind}", test, found, names, majority=most(learn))
            result.figures[f"{stream}, {kind}"]["train"] = float(len(learn))
    return result


def fewshot(request: Request, train: Sequence[str], label: str, ks: Sequence[int], draws: int, seed: int = 0) -> Result:
    """Classifiers on k windows of each class, `draws` times; see `aura.tasks.fewshot`. Intervals are over people."""
    result, panels = Result(), {}
    for stream, learn, test in both_sides(request, train, label):
        blind = classification(test.labels, test.labels, sorted(set(learn.labels))).baselines(most(learn))
        curves: dict[str, list[tuple[int, Interval]]] = {"linear": [], "mean": []}
        panels[stream] = Shots(curves, blind["chance/accuracy"], blind["majority/accuracy"])
        found = few_shots(
            learn.vectors.numpy(), learn.labels, test.vectors.numpy(), test.labels, tuple(ks), draws, seed
        )
        for k, figures in found.figures.items():
            for kind, points in curves.items():
                own = {key.removeprefix(f"{kind}/"): v for key, v in figures.items() if key.startswith(f"{kind}/")}
                right = {"accuracy": found.right[k, kind]}
                intervals = mean_intervals(right, test.subjects)
                points.append((k, intervals["accuracy"]))
                result.add(
                    f"{stream}, {k} a class, {kind}",
                    own | blind | {"n": figures["n"], "draws": figures["draws"]},
                    intervals,
                    Windows(test.keys, test.subjects, right),
                )
            for name, there in found.short.get(k, {}).items():
                result.notes.append(f"{stream}: class {name} has {there} training windows, fewer than k = {k}")
    told = f"accuracy over windows of each class, mean of {draws} draws; bands: 95 % intervals over people"
    result.parts += [page.heading("Over k"), page.picture(shots_figure(panels), told)]
    return result


def transfer(
    request: Request,
    train: Sequence[str],
    label: str,
    prompts: str | None,
    epochs: int,
    lr: float,
    seed: int = 0,
) -> Result:
    """AURA-MFM's head on each frozen tower: it learns to give the embedding of the class's words. After `epochs`, without
    a choice of the best one. The classes are those of the prompts (a file, else the recipe's, where they are of the label),
    else the values of the label."""
    result = Result()
    known = load_prompts(prompts) if prompts else request.loaded.prompts
    if prompts and known is not None and known.label != label:
        raise EvaluationError(f"--prompts {prompts} are of the label {known.label!r}: give --label {known.label} too")
    if known is not None and known.label != label:
        known = None
    for stream, learn, test in both_sides(request, train, label):
        classes = known or default_prompts(set(learn.labels) | set(test.labels), label)
        names, words = list(classes.classes), words_of(request, classes)
        others = sorted({*learn.labels, *test.labels} - set(names))
        if others:
            raise EvaluationError(
                f"the prompts lack the classes {', '.join(others)} of the windows: add them to the file"
            )
        found = train_head(
            learn.vectors, learn.labels, test.vectors, test.labels, words, names, epochs=epochs, lr=lr, seed=seed
        )
        told(result, stream, test, found.found, names, majority=most(learn))
        result.facts["prompts"] = {"file": prompts, "label": label, "classes": len(names), "hash": classes.hash}
        if found.unseen:
            result.notes.append(
                f"{stream}: no training window of {', '.join(found.unseen)}: known by their words alone"
            )
    return result


def finetune(request: Request) -> Result:
    """What the classifiers of a fine-tuned run (recipes/finetune.py) answer."""
    recipe, result = request.loaded.recipe, Result()
    classify = recipe.objective.classify
    if classify is None:
        raise EvaluationError(
            f"recipe {recipe.name} has no classifier: train one with recipes/finetune.py --checkpoint"
            f" {request.loaded.checkpoint} --train DIR, and give its run directory here; --task probe needs none"
        )
    windows, names = embed(request), list(classify.classes)
    check_classes(windows, classify)
    for side in classify.streams:
        rows = labelled(windows, windows.sides["logits", side], windows.present[side], classify.label)
        if len(rows):
            found = [names[i] for i in rows.vectors.argmax(1).tolist()]
            told(result, side, rows, found, names, rows.vectors.double().softmax(-1).numpy())
    if not result.figures:
        raise EvaluationError(f"no window has the label {classify.label!r} and a stream of a classifier")
    return result
