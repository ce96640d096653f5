"""Evaluation of a model on held-out windows: every ordered pair by retrieval, every stream by text prompts, classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aura.data.batch import Batch, Stream
from aura.data.reader import ReadError
from aura.model import joined, tokens_of
from aura.objectives.config import Classify, Objective, has_text, streams_of
from aura.objectives.rows import Rows
from aura.tasks.fine import Parts, parts_by, similarity, spreads, terms_of, with_sensors
from aura.tasks.retrieval import Ranks, ranks, ranks_by, twins
from aura.tasks.zeroshot import Prompts, class_embeddings, default_prompts, recognition, zeroshot


@dataclass
class Embedded:
    """Windows as embeddings: one row a window, of all ranks, in the order of the index.

    sides      (space, name of a pair's side) -> (N, D) embeddings of unit norm, zeros where absent;
               ("logits", name of a classifier) -> (N, classes)
    parts      (term of a fine pair, stream) -> what windows are compared by
    present    name of a side -> (N,) bool
    numbers    of the reader's windows
    groups, subjects
               of people or cameras at the same place and time, and whose window it is; "" if none
    samples    keys of the samples that they were cut from
    """

    sides: dict[tuple[str, str], Tensor]
    present: dict[str, Tensor]
    numbers: np.ndarray
    start_s: np.ndarray
    span_s: np.ndarray
    recordings: np.ndarray
    texts: np.ndarray
    labels: list[dict[str, str]]
    groups: np.ndarray
    subjects: np.ndarray
    samples: np.ndarray
    parts: dict[tuple[str, str], Parts] = field(default_factory=dict)


def keys_of(windows: Embedded | Batch, rows: Sequence[int] | np.ndarray) -> list[str]:
    """What tells windows apart in any model: recording and second."""
    return [f"{windows.recordings[i]}@{float(windows.start_s[i]):.3f}" for i in rows]


def people_of(windows: Embedded | Batch, rows: Sequence[int] | np.ndarray) -> list[str]:
    """Whose each window is, "" where unknown. Subject s1 of two data sets are two people."""
    return [
        f"{windows.recordings[i].partition('/')[0]}/{windows.subjects[i]}" if windows.subjects[i] else "" for i in rows
    ]


def embed_windows(
    reader: Iterable[Batch],
    model: torch.nn.Module,
    accelerator: Any,
    objective: Objective,
    stop: Callable[[Any], str] = lambda accelerator: "",
    sensors: int | None = None,
) -> tuple[Embedded | None, str]:
    """Embeds all windows of a reader, on all ranks together. Also returns why it ended early, or "".

    sensors    so many of each window's sensors are read, chosen by its number; None: all
    """
    wanted = {(pair.space, side) for name, pair in objective.pairs.items() for side in name.split(":")}
    wanted |= {("pooled", side) for _, side in wanted} | {("pooled", stream) for stream in objective.streams}
    fine = {
        (term, stream)
        for name, settings in objective.fine.items()
        for term in terms_of(settings)
        if "+" not in term
        for stream in name.split(":")
    }
    wanted |= {("logits", side) for side in (objective.classify.streams if objective.classify else ())}
    tensors: dict[Any, list[Tensor]] = {}
    rows: list[tuple] = []
    model.eval()
    for batch in reader:
        with torch.no_grad():
            output = model((batch if sensors is None else with_sensors(batch, sensors)).to(accelerator.device))
        found = {(space, side): joined(output, side, space) for space, side in wanted}
        values: dict[Any, Tensor] = {key: value for key, (value, _) in found.items()}
        for key, value in (values | {side: present for (_, side), (_, present) in found.items()}).items():
            tensors.setdefault(key, []).append(value.cpu())
        for term, stream in fine:
            parts = parts_by(tokens_of(output, stream), term)
            tensors.setdefault((term, stream, "values"), []).append(parts.values.cpu())
            tensors.setdefault((term, stream, "count"), []).append(parts.count.cpu())
        numbers = zip(batch.row.tolist(), batch.weight.tolist(), batch.start_s.tolist(), batch.span_s.tolist())
        rows += [
            (*n, *rest)
            for n, *rest in zip(
                numbers, batch.recordings, batch.texts, batch.labels, batch.groups, batch.subjects, batch.ids
            )
        ]
        reason = stop(accelerator)
        if reason:
            return None, reason
    mine = ({key: torch.cat(parts) for key, parts in tensors.items()}, rows)
    everyone: list[Any] = [mine]
    if accelerator.num_processes > 1:
        everyone = [None] * accelerator.num_processes
        torch.distributed.all_gather_object(everyone, mine)
    return _assemble(everyone), ""


def _assemble(parts: list[tuple[dict, list[tuple]]]) -> Embedded:
    rows = [row for _, part in parts for row in part]
    number = np.array([row[0] for row in rows])
    kept = np.array([row[1] for row in rows]) > 0
    if not kept.any():
        raise ReadError(
            "no window of data.eval could be read: every one is bad (tools/verify_shards.py names the faults)"
        )
    order = np.flatnonzero(kept)[np.argsort(number[kept], kind="stable")]
    tensors = {key: torch.cat([part[0][key] for part in parts])[torch.from_numpy(order)] for key in parts[0][0]}
    columns = list(zip(*(rows[i] for i in order)))
    return Embedded(
        sides={key: value for key, value in tensors.items() if isinstance(key, tuple) and len(key) == 2},
        present={key: value for key, value in tensors.items() if isinstance(key, str)},
        numbers=np.array(columns[0]),
        start_s=np.array(columns[2]),
        span_s=np.array(columns[3]),
        recordings=np.array(columns[4]),
        texts=np.array(columns[5]),
        labels=list(columns[6]),
        groups=np.array(columns[7]),
        subjects=np.array(columns[8]),
        samples=np.array(columns[9]),
        parts={key[:2]: Parts(tensors[key], tensors[*key[:2], "count"]) for key in tensors if key[-1] == "values"},
    )


def whole_samples(windows: Embedded) -> Embedded:
    """One row a sample: the normalised mean of its windows' embeddings, as clips are scored by several views (Simonyan and
    Zisserman, arXiv 1406.2199). What has no such mean (moments, parts, logits) is left out."""
    names = [f"{recording}/{sample}" for recording, sample in zip(windows.recordings, windows.samples)]
    _, first, row = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)  # samples in the order of their first windows
    first, row = first[order], torch.from_numpy(np.argsort(order)[row])

    def total(values: Tensor) -> Tensor:
        return values.new_zeros((len(first), *values.shape[1:])).index_add_(0, row, values)

    end = np.zeros(len(first))
    np.maximum.at(end, row.numpy(), windows.start_s + windows.span_s)
    return Embedded(
        sides={key: F.normalize(total(v), dim=-1) for key, v in windows.sides.items() if key[0] == "pooled"},
        present={name: total(there.long()) > 0 for name, there in windows.present.items()},
        numbers=windows.numbers[first],
        start_s=windows.start_s[first],
        span_s=end - windows.start_s[first],
        recordings=windows.recordings[first],
        texts=windows.texts[first],
        labels=[windows.labels[i] for i in first],
        groups=windows.groups[first],
        subjects=windows.subjects[first],
        samples=windows.samples[first],
    )


def evaluate(
    reader: Iterable[Batch],
    model: torch.nn.Module,
    accelerator: Any,
    objective: Objective,
    prompts: Prompts | None,
    tokenize: Callable[[list[str]], Tensor] | None,
    stop: Callable[[Any], str] = lambda accelerator: "",
    sensors: int | None = None,
) -> tuple[dict[str, float], str]:
    """Metrics of all pairs, both orders, of text prompts and of classifiers; all ranks call it and get the same. Keys as in
    design: `retrieval/<a>:<b>/R@1`, `zeroshot/<stream>/accuracy`, `classify/<side>/accuracy`; of fine pairs `retrieval/<a>:<b>/late/R@1`, by each term that
    they were trained with (see `terms_of`). Also returns why it ended early, or ""."""
    embedded, reason = embed_windows(reader, model, accelerator, objective, stop, sensors)
    if embedded is None:
        return {}, reason
    metrics = all_retrieval(embedded, objective)
    if tokenize is not None and "text" in objective.compared:
        metrics |= all_zeroshot(embedded, model, tokenize, prompts, accelerator.device)
    metrics |= all_classify(embedded, objective)
    return metrics, ""


def all_retrieval(embedded: Embedded, objective: Objective) -> dict[str, float]:
    """Retrieval of all pairs, in both orders; of fine pairs by each of their terms."""
    metrics: dict[str, float] = {}
    for name in dict.fromkeys((*objective.pairs, *objective.fine)):
        a, b = name.split(":")
        for query, gallery in ((a, b), (b, a)):
            for term, space in spaces_of(objective, query, gallery).items():
                found = pair_ranks(embedded, query, gallery, space, objective)
                if found is not None and (term or name in objective.pairs):
                    prefix = f"retrieval/{query}:{gallery}/{term}/" if term else f"retrieval/{query}:{gallery}/"
                    metrics |= {prefix + key: value for key, value in found[0].figures().items()}
    return metrics


def spaces_of(objective: Objective, a: str, b: str) -> dict[str, str]:
    """In what two sides are compared: "" -> the space of their pair, or of whole embeddings where no loss compares them; and
    the terms of their fine pair."""
    pair = objective.pairs.get(f"{a}:{b}") or objective.pairs.get(f"{b}:{a}")
    fine = objective.fine.get(f"{a}:{b}") or objective.fine.get(f"{b}:{a}")
    return {"": pair.space if pair else "pooled"} | {term: term for term in (terms_of(fine) if fine else ())}


def all_zeroshot(
    embedded: Embedded,
    model: torch.nn.Module,
    tokenize: Callable[[list[str]], Tensor],
    prompts: Prompts | None,
    device: torch.device,
) -> dict[str, float]:
    """Classification by words of every stream that shares the text's space; empty where there are under two classes."""
    metrics: dict[str, float] = {}
    classes = label_classes(embedded, prompts)
    if classes is None:
        return metrics
    text = class_embeddings(classes, lambda words: embed_texts(model, tokenize(words), device)).cpu()
    module: Any = getattr(model, "module", model)
    for side in sorted(side for space, side in embedded.sides if space == "pooled"):
        if not module.compared.issuperset(streams_of(side)):
            continue
        result = side_zeroshot(embedded, side, classes, text)
        if side != "text" and result is not None:
            metrics |= {f"zeroshot/{side}/{key}": value for key, value in result.items()}
    return metrics


def all_classify(embedded: Embedded, objective: Objective) -> dict[str, float]:
    """Recognition by the objective's classifiers, each on the windows that have its streams and the label.

    ValueError for a window whose class the classifiers do not know.
    """
    metrics: dict[str, float] = {}
    if objective.classify is None:
        return metrics
    label, classes = objective.classify.label, list(objective.classify.classes)
    truth = [labels.get(label, "") for labels in embedded.labels]
    check_classes(embedded, objective.classify)
    for side in objective.classify.streams:
        rows = [i for i, name in enumerate(truth) if name and bool(embedded.present[side][i])]
        if rows:
            found = [classes[i] for i in embedded.sides["logits", side][rows].argmax(1).tolist()]
            result = recognition(found, [truth[i] for i in rows], classes)
            metrics |= {f"classify/{side}/{key}": value for key, value in result.items()}
    return metrics


def check_classes(embedded: Embedded, classify: Classify) -> None:
    """ValueError for a window of a class that the classifiers do not know."""
    values = {labels.get(classify.label, "") for labels in embedded.labels} - {""}
    unknown = sorted(values - set(classify.classes))
    if unknown:
        raise ValueError(
            f"the label {classify.label!r} has the classes {', '.join(unknown)} here, which the classifiers were not trained"
            f" for; they know {', '.join(classify.classes)}"
        )


def pair_ranks(
    embedded: Embedded, query: str, gallery: str, space: str, objective: Objective
) -> tuple[Ranks, np.ndarray] | None:
    """Where the windows that have both streams find their own, and which windows they are (n,); None for fewer than two.

    space    `pooled` or `moments`; of a fine pair `late` or `local`; `late+local`: the sum of both, equally weighed
    """
    both = (embedded.present[query] & embedded.present[gallery]).numpy()
    if both.sum() < 2:
        return None
    chosen = torch.from_numpy(both)
    start, span = (torch.from_numpy(values[both]) for values in (embedded.start_s, embedded.span_s))
    words: Any = None
    if has_text(query, gallery):
        if objective.same_text == "string":
            words = embedded.texts[both].tolist()
        else:
            words = [objective.meaning(labels) for labels in np.array(embedded.labels, dtype=object)[both]]
    right = twins(Rows.of(embedded.recordings[both].tolist(), start, span, words))
    if (space, query) in embedded.sides:
        found = ranks(embedded.sides[space, query][chosen], embedded.sides[space, gallery][chosen], right)
    else:
        compare = comparison(embedded, query, gallery, space, chosen)
        found = ranks_by(lambda rows: compare(rows, slice(None)), len(start), len(start), right.mask)
    return found, np.flatnonzero(both)


def comparison(
    embedded: Embedded, query: str, gallery: str, space: str, chosen: Tensor
) -> Callable[[slice | Tensor, slice | Tensor], Tensor]:
    """What gives the similarities (float64) of some of the chosen windows' queries with some of their gallery; see
    `pair_ranks` for `space`."""
    if (space, query) in embedded.sides:
        x, y = (embedded.sides[space, side][chosen].double() for side in (query, gallery))
        return lambda rows, columns: x[rows] @ y[columns].T
    terms = space.split("+")
    a, b = ([embedded.parts[term, side][chosen].double() for term in terms] for side in (query, gallery))
    scale = spreads(a, b) if len(terms) > 1 else [1.0]
    return lambda rows, columns: torch.stack([similarity(u[rows], v[columns]) / s for u, v, s in zip(a, b, scale)]).sum(
        0
    )


def label_classes(embedded: Embedded, prompts: Prompts | None) -> Prompts | None:
    """The given prompts, or the values of the label `activity` among the windows; None where there are under two."""
    if prompts is not None:
        return prompts
    values = {labels["activity"] for labels in embedded.labels if labels.get("activity")}
    return default_prompts(values) if len(values) >= 2 else None


def side_zeroshot(embedded: Embedded, side: str, classes: Prompts, text: Tensor) -> dict[str, float] | None:
    """Zero-shot classification of the windows that have the stream and the label; None where there are none."""
    names = list(classes.classes)
    truth = [labels.get(classes.label, "") for labels in embedded.labels]
    rows = [i for i, name in enumerate(truth) if name and bool(embedded.present[side][i])]
    if not rows:
        return None
    return zeroshot(embedded.sides["pooled", side][rows], text, [truth[i] for i in rows], names)


def embed_texts(model: torch.nn.Module, tokens: Tensor, device: torch.device) -> Tensor:
    """(n, D) text embeddings of unit norm. Every rank calls it with the same words, through the prepared model."""
    module: Any = getattr(model, "module", model)
    n = len(tokens)
    present = torch.ones(n, dtype=torch.bool, device=device)
    text = Stream(values=tokens.to(device), present=present, valid=torch.ones_like(tokens, dtype=torch.bool).to(device))
    with torch.no_grad():
        return module.embed_stream("text", text)
