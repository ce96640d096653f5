"""The loss of a recipe: its pairs, weighted and summed."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from aura.data.batch import Batch
from aura.model import Embeddings, joined
from aura.objectives.config import Objective, has_text
from aura.objectives.contrast import contrast, within
from aura.objectives.gather import once, total_over_ranks, world
from aura.objectives.rows import Rows


def compute_loss(output: Embeddings, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, float]]:
    """This rank's part of the loss (over ranks the parts add up), and the statistics of the whole batch.

    Statistics: `loss`, and per pair `loss/<a>:<b>`, `within/<a>:<b>` where it has that term, `accuracy/<a>:<b>`,
    `rows/<a>:<b>`, `scale/<a>:<b>`; equal on all ranks.
    """
    windows = batch.recordings, batch.start_s.to(batch.row.device), batch.span_s.to(batch.row.device)
    rows = Rows.of(*windows, meanings(batch, objective))
    everyone, gathered = rows.gather(), once()
    side = cache(partial(joined, output))  # the same tensors in every pair, to be gathered once
    total = output.log_scale.new_zeros(())
    parts: dict[str, Tensor] = {}
    scales = output.log_scale.exp()
    for i, (name, pair) in enumerate(objective.pairs.items()):
        a, b = name.split(":")
        (x, has_x), (y, has_y) = side(a, pair.space), side(b, pair.space)
        with_text = has_text(a, b)
        result = contrast(
            x,
            y,
            has_x & has_y,
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
        )
        total = total + pair.weight * result.loss
        share = result.count / world()[1]  # equal on all ranks: the sum over ranks gives it back
        parts[f"loss/{name}"], parts[f"accuracy/{name}"], parts[f"rows/{name}"] = result.loss, result.accuracy, share
        if pair.within:
            inner = within(output.moments[a], output.moments[b], has_x & has_y, scales[i : i + 1])
            total = total + pair.within * inner
            parts[f"within/{name}"] = inner
    parts["loss"] = total
    sums = torch.stack([part.detach().to(total.dtype) for part in parts.values()])
    stats = dict(zip(parts, total_over_ranks(sums).tolist()))
    for name, scale in zip(objective.pairs, scales.detach().tolist()):
        stats[f"scale/{name}"] = scale
    return total, stats


def meanings(batch: Batch, objective: Objective) -> list[str]:
    """What decides that two rows mean the same, in pairs with text: the text, or the value of a label."""
    if objective.same_text == "string":
        return batch.texts
    label = objective.same_text.removeprefix("label:")
    return [values.get(label, "") for values in batch.labels]
