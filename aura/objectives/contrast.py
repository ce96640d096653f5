"""Contrastive losses of a pair of streams over the batch of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from aura.objectives.gather import gather, total_over_ranks, world
from aura.objectives.lean import lean_infonce, lean_sigmoid
from aura.objectives.rows import Rows, overlapping, same_meaning

Twins = Literal["mask", "positive"]


@dataclass
class Contrast:
    """This rank's part: over ranks, `loss` and `accuracy` add up to those of the whole batch.

    loss       (): zero, with a graph, where fewer than two rows of the whole batch have both streams
    accuracy   (), detached: share of the rows whose most similar column is their own or a twin
    count      (), int64: rows of the whole batch that have both streams; the same on every rank
    """

    loss: Tensor
    accuracy: Tensor
    count: Tensor


def contrast(
    a: Tensor,
    b: Tensor,
    both: Tensor,
    rows: Rows,
    all_rows: Rows,
    scale: Tensor,
    *,
    bias: Tensor | None = None,
    loss: Literal["infonce", "sigmoid"] = "infonce",
    same: Twins | None = None,
    directions: Literal["mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
    lean: bool = False,
    gathered: Callable[[Tensor], Tensor] = gather,
    all_both: Tensor | None = None,
) -> Contrast:
    """Symmetric InfoNCE (van den Oord et al. 2018, Radford et al. 2021) or sigmoid loss (Zhai et al. 2023, eq. 1).

    a, b (n, D): this rank's embeddings of unit norm; both (n,) bool: the row has the two streams, else what stands in a
    and b is not read. rows: keys of these rows; all_rows: `rows.gather()`. scale (1,): inverse temperature; bias (1,):
    of the sigmoid loss. The same n on every rank, and the same order of calls.

    The loss is the mean over the rows of the whole batch that have both streams, of InfoNCE's two directions the mean
    (or sum). Overlapping windows of one recording are left out of the negatives. `same`: rows of the same meaning are
    left out too (`mask`), or positives (`positive`: targets in equal shares, Khosla et al. 2020, L_out); None: they are
    negatives, as in pairs without text. `label_smoothing`: this share of InfoNCE's target is spread evenly over all
    columns that count (Szegedy et al. 2016).

    Each rank computes its rows against all columns. The losses of all ranks add up to the whole batch's, and so do their
    gradients: an average over ranks, as DDP makes it, wants the factor R once. It is in the training step, not in here.

    `lean`: the same value and gradient without ever holding the matrix of logits (see `lean.py`). `gathered`: `once()`
    where the same a or b stands in several pairs. `all_both`: `gather(both)`, where it is known.
    Everything is float32 (float64 if given), outside of autocast.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b, scale = (x if x.dtype == torch.float64 else x.float() for x in (a, b, scale))
        bias = scale.new_zeros(1) if bias is None else bias.to(scale.dtype)
        rank, _ = world()
        all_both = gather(both) if all_both is None else all_both
        mine, everyone = both.nonzero()[:, 0], all_both.nonzero()[:, 0]
        count = len(everyone)
        # Every collective is called on every rank, whatever its rows lack: only then do ranks decide, by a global count.
        columns = gathered(b)
        columns_a = a if lean or loss == "sigmoid" else gathered(a)  # only the plain InfoNCE has a second matrix
        x, y = a.index_select(0, mine), columns.index_select(0, everyone)
        counted = torch.tensor(count, device=a.device)
        if count < 2:
            empty = torch.stack([t[:0].sum() for t in (a, columns, columns_a, scale, bias)]).sum()
            return Contrast(empty, scale.new_zeros(()), counted)
        place = all_both.cumsum(0) - 1  # of a row of the whole batch among those with both streams
        own = place[rank * len(both) + mine]
        keys, column_keys = rows[mine], all_rows[everyone]
        factor = (0.5 if directions == "mean" else 1.0) / count if loss == "infonce" else 1.0 / count
        if lean:
            function = lean_infonce if loss == "infonce" else lean_sigmoid
            total, right = function(x, y, scale, bias, own, keys, column_keys, same, factor)
            return Contrast(total, right.to(scale.dtype) / count, counted)

        negative, positive = relations(keys, column_keys, own, same)
        logits = scale * x @ y.T
        right = (positive | ~negative).gather(1, logits.argmax(1, keepdim=True)).sum()
        if loss == "sigmoid":
            signs = torch.where(positive, 1.0, -1.0).to(logits.dtype)
            total = -(F.logsigmoid(signs * (logits + bias)) * (positive | negative)).sum() * factor
        else:
            back = scale * b.index_select(0, mine) @ columns_a.index_select(0, everyone).T
            terms = (cross_entropy(x, negative, positive, label_smoothing) for x in (logits, back))
            total = sum(terms, start=scale.new_zeros(())) * factor
        return Contrast(total, right.to(scale.dtype) / count, counted)


def relations(rows: Rows, columns: Rows, own: Tensor, same: Twins | None) -> tuple[Tensor, Tensor]:
    """Which columns are negatives and which are positives of each row: two (n, m) bool. What is neither is left out."""
    positive = torch.zeros(len(own), len(columns.recording), dtype=torch.bool, device=own.device)
    positive.scatter_(1, own[:, None], True)
    out = overlapping(rows, columns)
    if same is not None:
        alike = same_meaning(rows, columns)
        out = out | alike
        if same == "positive":
            positive = positive | alike
    return ~(out | positive), positive


def cross_entropy(logits: Tensor, negative: Tensor, positive: Tensor, smoothing: float = 0.0) -> Tensor:
    """Sum over rows of log-sum-exp (positives and negatives) minus the target's mean logit.

    The target is even over the positives, but for the share `smoothing`, which is even over positives and negatives.
    """
    counted = negative | positive
    total = logits.masked_fill(~counted, -torch.inf).logsumexp(1)
    mean = (logits * positive).sum(1) / positive.sum(1)
    if smoothing:
        mean = (1 - smoothing) * mean + smoothing * (logits * counted).sum(1) / counted.sum(1)
    return (total - mean).sum()


def within(a: Tensor, b: Tensor, both: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of each moment of one stream against all moments of the other in the same window.

    a, b (n, N, M): moments of this rank's rows, both (n,), scale (1,) as in `contrast`. This rank's part of the mean
    over all moments of the whole batch that both streams have: over ranks the parts add up. A moment of zeros is none.
    It tells positions apart too: `contrast` over the windows is what keeps it to the motion.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b, scale = (x if x.dtype == torch.float64 else x.float() for x in (a, b, scale))
        there = (a.detach().abs().amax(-1) > 0) & (b.detach().abs().amax(-1) > 0) & both[:, None]
        count = total_over_ranks(there.sum())
        mine = there.any(1).nonzero()[:, 0]
        x, y, known = a.index_select(0, mine), b.index_select(0, mine), there[mine]
        logits = scale * F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).transpose(1, 2)
        own = logits.diagonal(dim1=1, dim2=2)
        loss = logits.new_zeros(())
        for dim, absent in ((2, ~known[:, None]), (1, ~known[:, :, None])):
            total = logits.masked_fill(absent, torch.finfo(logits.dtype).min).logsumexp(dim)
            loss = loss + torch.where(known, total - own, 0.0).sum()
        return 0.5 * loss / count.clamp(min=1)
