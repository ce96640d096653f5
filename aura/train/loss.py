"""The loss of a recipe: its pairs and classifiers, weighted and summed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import Tensor

from aura.data.batch import Batch
from aura.model import Embeddings, joined, tokens_of
from aura.objectives.classify import classify, targets
from aura.objectives.config import Fine, Objective, has_text
from aura.objectives.contrast import contrast, within
from aura.objectives.fine import (
    late_interaction,
    local_contrast,
    multi_positive,
    token_batch_contrast,
    token_contrast,
)
from aura.objectives.gather import gather, once, total_over_ranks, world
from aura.objectives.rows import Rows


def compute_loss(output: Embeddings, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, float]]:
    """This rank's part of the loss (over ranks the parts add up), and the statistics of the whole batch.

    Statistics: `loss`, and per pair `loss/<a>:<b>`, `within/<a>:<b>` where it has that term, `accuracy/<a>:<b>`,
    `rows/<a>:<b>`, `scale/<a>:<b>`; per classifier `classify/<side>`, `classify_accuracy/<side>`, `classify_rows/<side>`;
    equal on all ranks.
    """
    windows = batch.recordings, batch.start_s.to(batch.row.device), batch.span_s.to(batch.row.device)
    rows = Rows.of(*windows, meanings(batch, objective))
    everyone, gathered = rows.gather(), once()
    side = cache(partial(joined, output))  # the same tensors in every pair, to be gathered once
    total = output.log_scale.new_zeros(())
    parts: dict[str, Tensor] = {}
    scales = output.log_scale.exp()
    boths = [
        torch.stack([side(stream, pair.space)[1] for stream in name.split(":")]).all(0)
        for name, pair in objective.pairs.items()
    ]
    all_boths = gather(torch.stack(boths, 1)) if boths else None
    for i, (name, pair) in enumerate(objective.pairs.items()):
        a, b = name.split(":")
        x, y, both = side(a, pair.space)[0], side(b, pair.space)[0], boths[i]
        with_text = has_text(a, b)
        result = contrast(
            x,
            y,
            both,
            rows,
            everyone,
            scales[i : i + 1],
            bias=output.bias[i : i + 1],
            loss=objective.loss,
            same=objective.twins if with_text and objective.twins != "negative" else None,
            directions=objective.directions,
            label_smoothing=pair.label_smoothing,
            lean=objective.lean,
            gathered=gathered,
            all_both=None if all_boths is None else all_boths[:, i],
        )
        total = total + pair.weight * result.loss
        share = result.count / world()[1]  # equal on all ranks: the sum over ranks gives it back
        parts[f"loss/{name}"], parts[f"accuracy/{name}"], parts[f"rows/{name}"] = result.loss, result.accuracy, share
        if pair.within:
            inner = within(output.moments[a], output.moments[b], both, scales[i : i + 1])
            total = total + pair.within * inner
            parts[f"within/{name}"] = inner
    for name, fine in objective.fine.items():
        for term, weight, value, extra in fine_terms(output, name, fine, objective, rows, everyone, scales):
            total = total + weight * value
            parts |= {f"{term}/{name}": value} | {f"{key}/{name}": x for key, x in extra.items()}
    if objective.classify is not None:
        labels = targets(batch.labels, objective.classify.label, objective.classify.classes).to(batch.row.device)
        for name in objective.classify.streams:
            logits, present = side(name, "logits")
            found = classify(logits, labels, present, objective.classify.label_smoothing)
            total = total + objective.classify.weight * found.loss
            parts[f"classify/{name}"], parts[f"classify_accuracy/{name}"] = found.loss, found.accuracy
            parts[f"classify_rows/{name}"] = found.count / world()[1]
    parts["loss"] = total
    sums = torch.stack([part.detach().to(total.dtype) for part in parts.values()])
    stats = dict(zip(parts, total_over_ranks(sums).tolist()))
    for name, scale in zip(objective.scales, scales.detach().tolist()):
        stats[f"scale/{name}"] = scale
    return total, stats


def fine_terms(
    output: Embeddings, name: str, fine: Fine, objective: Objective, rows: Rows, everyone: Rows, scales: Tensor
) -> Iterator[tuple[str, float, Tensor, dict[str, Tensor]]]:
    """Name, weight, this rank's part and further statistics of each term of a fine pair that is on."""
    a, b = (tokens_of(output, stream) for stream in name.split(":"))
    first, second = name.split(":")
    scale = {term: scales[i : i + 1] for i, term in enumerate(objective.scales)}
    if fine.late:
        loss, accuracy = late_interaction(a, b, rows, everyone, scale[f"late/{name}"])
        yield "late", fine.late, loss, {"late_accuracy": accuracy}
    if fine.token:
        at = scale[f"token/{name}"]
        if fine.token_negatives == "window":
            yield "token", fine.token, token_contrast(a, b, at), {}
        else:
            yield "token", fine.token, token_batch_contrast(a, b, rows, at, float(output.token_s[first][0])), {}
    if fine.local:
        yield "local", fine.local, local_contrast(a, b, rows, scale[f"local/{name}"], fine.local_negatives), {}
    if fine.multi_positive:
        there = a.there & output.present[second][:, None]
        body = output.pooled[second]
        loss = multi_positive(output.sensors[first], there, body, scale[f"multi_positive/{name}"])
        yield "multi_positive", fine.multi_positive, loss, {}
    if fine.masked:
        count = total_over_ranks(output.masked[first].sum()).clamp(min=1)
        yield "masked", fine.masked.weight, output.error[first].sum() / count, {}


def meanings(batch: Batch, objective: Objective) -> list[str]:
    """What decides that two rows mean the same, in pairs with text: the text, or a label."""
    if objective.same_text == "string":
        return batch.texts
    return [objective.meaning(labels) for labels in batch.labels]
