"""The loss of a recipe: its pairs, weighted and summed."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from aura.data.batch import Batch
from aura.model import Embeddings, joined
from aura.objectives.config import Objective
from aura.objectives.contrast import contrast
from aura.objectives.gather import world
from aura.objectives.rows import Rows


def compute_loss(output: Embeddings, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, float]]:
    """This rank's part of the loss (over ranks the parts add up), and the statistics of the whole batch.

    Statistics: `loss`, and per pair `loss/<a>:<b>`, `accuracy/<a>:<b>`, `rows/<a>:<b>`, `scale/<a>:<b>`; equal on all ranks.
    """
    windows = batch.recordings, batch.start_s.to(batch.row.device), batch.span_s.to(batch.row.device)
    rows = {False: Rows.of(*windows), True: Rows.of(*windows, meanings(batch, objective))}
    everyone = {with_text: keys.gather() for with_text, keys in rows.items()}
    total = output.log_scale.new_zeros(())
    parts: list[Tensor] = []
    scales = output.log_scale.exp()
    inverse_temperatures = scales.detach().tolist()
    for i, (name, pair) in enumerate(objective.pairs.items()):
        a, b = name.split(":")
        (x, has_x), (y, has_y) = joined(output, a, pair.space), joined(output, b, pair.space)
        with_text = "text" in (a, b)
        result = contrast(
            x,
            y,
            has_x & has_y,
            rows[with_text],
            everyone[with_text],
            scales[i : i + 1],
            bias=output.bias[i : i + 1],
            loss=objective.loss,
            same=objective.twins if with_text and objective.twins != "negative" else None,
            directions=objective.directions,
            lean=objective.lean,
        )
        total = total + pair.weight * result.loss
        share = result.count / world()[1]  # equal on all ranks: the sum over ranks gives it back
        parts += [result.loss.detach(), result.accuracy.detach(), share.to(total.dtype)]
    sums = torch.stack([total.detach(), *parts])
    if world()[1] > 1:
        dist.all_reduce(sums)
    values = sums.tolist()
    stats = {"loss": values[0]}
    for i, name in enumerate(objective.pairs):
        stats[f"loss/{name}"], stats[f"accuracy/{name}"], stats[f"rows/{name}"] = values[1 + 3 * i : 4 + 3 * i]
        stats[f"scale/{name}"] = inverse_temperatures[i]
    return total, stats


def meanings(batch: Batch, objective: Objective) -> list[str]:
    """What decides that two rows mean the same, in pairs with text: the text, or the value of a label."""
    if objective.same_text == "string":
        return batch.texts
    label = objective.same_text.removeprefix("label:")
    return [values.get(label, "") for values in batch.labels]
