"""Recognition of a label: the cross-entropy of a classifier over the batch of all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from aura.objectives.gather import total_over_ranks

UNKNOWN = -1


@dataclass
class Classified:
    """This rank's part: over ranks, `loss` and `accuracy` add up to those of the whole batch.

    loss       (): zero, with a graph, where no row of the whole batch counts
    accuracy   (), detached: share of the rows whose class of the highest logit is their own
    count      (), int64: rows of the whole batch that count; the same on every rank
    """

    loss: Tensor
    accuracy: Tensor
    count: Tensor


def classify(logits: Tensor, target: Tensor, present: Tensor, label_smoothing: float = 0.0) -> Classified:
    """Mean cross-entropy over the rows of the whole batch that are present and have a known class.

    logits (n, C): this rank's rows; target (n,) int64, `UNKNOWN` where the class is not known; present (n,) bool. Other
    rows are not read: what stands there changes no value and no gradient. `label_smoothing`: this share of the target is
    spread evenly over all classes (Szegedy et al. 2016). Every rank must call it.

    The losses of all ranks add up to the whole batch's, and so do their gradients, as in `contrast`.
    Everything is float32 (float64 if given), outside of autocast.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits if logits.dtype == torch.float64 else logits.float()
        mine = (present & (target != UNKNOWN)).nonzero()[:, 0]
        count = total_over_ranks(torch.tensor(len(mine), device=logits.device))
        x, y = logits.index_select(0, mine), target.index_select(0, mine)
        total = F.cross_entropy(x, y, reduction="sum", label_smoothing=label_smoothing)
        right = (x.detach().argmax(1) == y).sum().to(logits.dtype)
        return Classified(total / count.clamp(min=1), right / count.clamp(min=1), count)


def targets(labels: Sequence[Mapping[str, str]], label: str, classes: Sequence[str]) -> Tensor:
    """Class numbers (n,) int64 of rows by their labels; `UNKNOWN` for a row without the label or of no such class."""
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number.get(values.get(label, ""), UNKNOWN) for values in labels], dtype=torch.int64)
