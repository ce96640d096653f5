"""The contrastive losses in tiles: never a whole matrix of logits, and half of the plain form's products.

The value is computed in a first pass over tiles of rows and columns, the gradient (analytic, in closed form) in a second
that computes the tiles anew, both in the forward pass; the backward pass only scales it. For InfoNCE one matrix serves
both directions, along its rows and along its columns: 4 matrix products in all, against 6 of the plain form. Memory above
the inputs: their gradients and two tiles. The gradient of the scale is summed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from aura.objectives.gather import logsumexp_over_ranks
from aura.objectives.rows import Rows, overlapping, same_meaning

Tile = tuple[int, int, int, int]  # top, bottom, left, right
Found = tuple[Tensor, Tensor, Tensor]  # of twins in a tile: rows, columns, whether they are positives
TILE = (1024, 2048)  # rows and columns: a tile and its copy stay in a core's cache (CPU), and fill a GPU


def lean_infonce(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    bias: Tensor,
    own: Tensor,
    rows: Rows,
    columns: Rows,
    same: str | None,
    factor: float,
) -> tuple[Tensor, Tensor]:
    """Loss (), and the number of rows () whose most similar column is their own or a twin.

    a (n, D): this rank's rows that have both streams; b (m, D): the columns of all ranks that do; own (n,): each row's
    own column. factor: what the sum over rows and directions is multiplied by. `bias` cancels in InfoNCE.
    """
    twins = TwinFinder(rows, columns, own, same)
    return _Infonce.apply(a, b, scale, own, twins, factor)  # pyright: ignore[reportReturnType]


def lean_sigmoid(
    a: Tensor,
    b: Tensor,
    scale: Tensor,
    bias: Tensor,
    own: Tensor,
    rows: Rows,
    columns: Rows,
    same: str | None,
    factor: float,
) -> tuple[Tensor, Tensor]:
    """As `lean_infonce`, of the sigmoid loss."""
    twins = TwinFinder(rows, columns, own, same)
    return _Sigmoid.apply(a, b, scale, bias, own, twins, factor)  # pyright: ignore[reportReturnType]


class TwinFinder:
    """Twins of rows among columns, tile by tile, looked for only in rows that can have any."""

    def __init__(self, rows: Rows, columns: Rows, own: Tensor, same: str | None) -> None:
        self.rows, self.columns, self.own, self.same = rows, columns, own, same
        self.suspect = repeated(rows.recording, columns.recording)
        # Positives of every column, and so of every row: its own and those of its meaning.
        self.positives = torch.ones_like(columns.meaning)
        if same is not None:
            self.suspect = self.suspect | repeated(rows.meaning, columns.meaning)
            if same == "positive":
                _, inverse, counts = columns.meaning.unique(return_inverse=True, return_counts=True)
                self.positives = torch.where(columns.meaning != 0, counts[inverse], 1)
        self.any = bool(self.suspect.any())

    def tile(self, top: int, bottom: int, left: int, right: int) -> Found | None:
        """Row and column (in the tile) of each twin, and whether it is a positive; a row's own column is none of them."""
        if not self.any:
            return None
        suspects = self.suspect[top:bottom].nonzero()[:, 0]
        if not len(suspects):
            return None
        rows, columns = self.rows[suspects + top], self.columns[left:right]
        found = overlapping(rows, columns)
        alike = same_meaning(rows, columns) if self.same is not None else None
        if alike is not None:
            found = found | alike
        found &= self.own[suspects + top][:, None] != torch.arange(left, right, device=found.device)
        i, j = found.nonzero().unbind(1)
        positive = (
            alike[i, j] if alike is not None and self.same == "positive" else torch.zeros_like(i, dtype=torch.bool)
        )
        return suspects[i], j, positive


def repeated(keys: Tensor, among: Tensor) -> Tensor:
    """(n,) bool: the key is not 0 and occurs at least twice in `among`."""
    values, counts = among.unique(return_counts=True)
    at = torch.searchsorted(values, keys).clamp(max=len(values) - 1)
    return (values[at] == keys) & (counts[at] > 1) & (keys != 0)


def tiles(n: int, m: int) -> Iterator[Tile]:
    """Top, bottom, left, right of the tiles of an (n, m) matrix, row of tiles by row of tiles."""
    for top in range(0, n, TILE[0]):
        for left in range(0, m, TILE[1]):
            yield top, min(top + TILE[0], n), left, min(left + TILE[1], m)


class RunningLse:
    """Log-sum-exp along one side of a matrix that comes in tiles."""

    def __init__(self, n: int, like: Tensor) -> None:
        # Finite at the start: a tile may hold -inf only, and -inf from -inf is NaN.
        self.top = like.new_full((n,), -1e30)
        self.sum = like.new_zeros(n)

    def add(self, part: slice, z: Tensor, scratch: Tensor, dim: int) -> None:
        """Adds the tile z's sums over `dim` to the entries `part`."""
        top = torch.maximum(self.top[part], z.amax(dim))
        fresh = torch.sub(z, top.unsqueeze(dim), out=scratch).exp_().sum(dim)
        self.sum[part] = self.sum[part] * (self.top[part] - top).exp() + fresh
        self.top[part] = top

    def result(self) -> Tensor:
        return self.top + self.sum.log()


def leave_out(z: Tensor, found: Found | None) -> None:
    """Sets the logits of twins that are no positives to -inf, in place."""
    if found is not None:
        i, j, positive = found
        z[i[~positive], j[~positive]] = -torch.inf


def positives_in(own: Tensor, tile: Tile, found: Found | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns, in the tile, of the positives: first the rows' own, then those of their meaning."""
    yield own_in(own, *tile)
    if found is not None:
        i, j, positive = found
        yield i[positive], j[positive]


def own_in(own: Tensor, top: int, bottom: int, left: int, right: int) -> tuple[Tensor, Tensor]:
    """Rows and columns, in the tile, of the rows whose own column lies in it."""
    place = own[top:bottom] - left
    rows = ((place >= 0) & (place < right - left)).nonzero()[:, 0]
    return rows, place[rows]


class Tiles:
    """Logits tile by tile in one buffer, and the search for each row's most similar column."""

    def __init__(self, a: Tensor, b: Tensor, scale: Tensor, own: Tensor, twins: TwinFinder) -> None:
        self.a, self.b, self.own, self.twins = a * scale, b, own, twins
        n, m = len(a), len(b)
        size = min(n, TILE[0]) * min(m, TILE[1])
        self.buffers = a.new_empty(2, size)
        self.best = a.new_full((n,), -torch.inf)
        self.right = torch.zeros(n, dtype=torch.bool, device=a.device)

    def __iter__(self) -> Iterator[tuple[Tile, Tensor, Tensor]]:
        """Borders of the tile, its logits, and scratch memory of its shape; both are overwritten by the next."""
        for tile in tiles(len(self.a), len(self.b)):
            top, bottom, left, right = tile
            shape = bottom - top, right - left
            z, scratch = (buffer[: shape[0] * shape[1]].view(shape) for buffer in self.buffers)
            torch.mm(self.a[top:bottom], self.b[left:right].T, out=z)
            yield tile, z, scratch

    def seek(self, tile: Tile, z: Tensor, found: Found | None) -> None:
        """Notes for each row whether its most similar column so far is its own or a twin."""
        top, bottom, left, _ = tile
        value, at = z.max(1)
        hit = self.own[top:bottom] - left == at
        if found is not None:
            i, j, _ = found
            hit = hit.index_put((i[at[i] == j],), torch.ones((), dtype=torch.bool, device=z.device))
        better = value > self.best[top:bottom]
        self.right[top:bottom] = torch.where(better, hit, self.right[top:bottom])
        self.best[top:bottom] = torch.where(better, value, self.best[top:bottom])


class Gradients:
    """Sums of the tiles' contributions to the gradients of a, b, the scale and the bias."""

    def __init__(self, a: Tensor, b: Tensor, scale: Tensor) -> None:
        self.a, self.b, self.scale = a, b, scale
        self.of_a, self.of_b = torch.zeros_like(a), torch.zeros_like(b)

    def add(self, tile: Tile, g: Tensor) -> None:
        """g: gradient of the loss for the tile's logits, before the factor."""
        top, bottom, left, right = tile
        self.of_a[top:bottom].addmm_(g, self.b[left:right])
        self.of_b[left:right].addmm_(g.T, self.a[top:bottom])

    def finish(self, factor: float) -> tuple[Tensor, Tensor, Tensor]:
        # The sum over the matrix of gradient times similarity is that over the rows of a . (g b).
        of_scale = sum(
            ((x.double() * g.double()).sum() for x, g in zip(self.a.split(4096), self.of_a.split(4096))),
            torch.zeros((), dtype=torch.float64, device=self.a.device),
        )
        of_scale = (of_scale * factor).to(self.scale.dtype).reshape(self.scale.shape)
        return self.of_a.mul_(self.scale * factor), self.of_b.mul_(self.scale * factor), of_scale


class _Infonce(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, own: Tensor, twins: TwinFinder, factor: float
    ) -> tuple[Tensor, Tensor]:
        stream = Tiles(a, b, scale, own, twins)
        share = 1 / twins.positives.to(a.dtype)  # of each positive in a row's, or column's, target
        rows, columns = RunningLse(len(a), a), RunningLse(len(b), a)
        aligned = torch.zeros((), dtype=torch.float64, device=a.device)  # targets times logits, both directions
        for tile, z, scratch in stream:
            top, bottom, left, right = tile
            found = twins.tile(*tile)
            stream.seek(tile, z, found)
            for i, j in positives_in(own, tile, found):
                aligned += (z[i, j] * (share[own[top + i]] + share[left + j])).sum(dtype=torch.float64)
            leave_out(z, found)
            rows.add(slice(top, bottom), z, scratch, 1)
            columns.add(slice(left, right), z, scratch, 0)
        row_lse = rows.result()
        # The rows of the other ranks: each holds a part of every column's sum.
        column_lse = logsumexp_over_ranks(columns.result())
        total = (row_lse.sum(dtype=torch.float64) + column_lse[own].sum(dtype=torch.float64) - aligned) * factor
        if any(ctx.needs_input_grad[:3]):
            gradients = Gradients(a, b, scale)
            for tile, z, scratch in stream:
                top, bottom, left, right = tile
                found = twins.tile(*tile)
                leave_out(z, found)
                torch.sub(z, row_lse[top:bottom, None], out=scratch).exp_()
                g = z.sub_(column_lse[left:right]).exp_().add_(scratch)
                for i, j in positives_in(own, tile, found):
                    g[i, j] -= share[own[top + i]] + share[left + j]
                gradients.add(tile, g)
            ctx.save_for_backward(*gradients.finish(factor))
        right = stream.right.sum()
        ctx.mark_non_differentiable(right)
        return total.to(a.dtype), right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *(grads[0] * g for g in ctx.saved_tensors), None, None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, scale: Tensor, bias: Tensor, own: Tensor, twins: TwinFinder, factor: float
    ) -> tuple[Tensor, Tensor]:
        stream = Tiles(a, b, scale, own, twins)
        need = any(ctx.needs_input_grad[:4])
        gradients = Gradients(a, b, scale) if need else None
        total = torch.zeros((), dtype=torch.float64, device=a.device)
        of_bias = torch.zeros_like(total)
        for tile, z, scratch in stream:
            found = twins.tile(*tile)
            stream.seek(tile, z, found)
            leave_out(z.add_(bias), found)
            # As if all were negatives, softplus(z) with gradient sigmoid(z); a positive has z less, its gradient 1 less.
            total += torch.abs(z, out=scratch).neg_().exp_().log1p_().sum(1).sum(dtype=torch.float64)
            total += z.clamp(min=0).sum(1).sum(dtype=torch.float64)
            g = torch.sigmoid(z, out=scratch)
            for i, j in positives_in(own, tile, found):
                total -= z[i, j].sum(dtype=torch.float64)
                g[i, j] -= 1
            if gradients is not None:
                gradients.add(tile, g)
                of_bias += g.sum(1).sum(dtype=torch.float64)
        if gradients is not None:
            of_a, of_b, of_scale = gradients.finish(factor)
            ctx.save_for_backward(of_a, of_b, of_scale, (of_bias * factor).to(bias.dtype).reshape(bias.shape))
        right = stream.right.sum()
        ctx.mark_non_differentiable(right)
        return (total * factor).to(a.dtype), right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *(grads[0] * g for g in ctx.saved_tensors), None, None, None
