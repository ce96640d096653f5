"""Fine-grained alignment of two streams: by moments of time, by body parts, by both.

MoBind (arXiv 2602.19004) contrasts tokens (time), local vectors (body parts) and whole bodies; the equations (9.x) are in the
docstrings of the functions. Every function takes this rank's rows and gives this rank's part of a mean over all rows of
the batch: over ranks the parts add up, and so do their gradients. All is float32 (float64 if given), outside autocast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from aura.body.parts import PARTS
from aura.objectives.contrast import contrast, cross_entropy, relations
from aura.objectives.gather import gather, total_over_ranks, world
from aura.objectives.rows import Rows


@dataclass
class Tokens:
    """One stream of n rows: S sensors or body parts, N tokens of time.

    values   (n, S, N, M) unit vectors; what a masked entry holds is not read
    mask     (n, S, N) bool
    local    (n, S, D): unit vector of each sensor or part over the whole window, where any of its tokens is there
    part     (n, S) int64: body part, -1 none
    start    (n,) int64: when token 0 is, in tokens
    reach    (n,) int64: the latest start that could have been drawn, all from 0 on being as likely; negative, or None:
             windows are cut at one place
    """

    values: Tensor
    mask: Tensor
    local: Tensor
    part: Tensor
    start: Tensor
    reach: Tensor | None = None

    @property
    def there(self) -> Tensor:
        """(n, S) bool: sensors and parts that are there."""
        return self.mask.any(-1)

    def of_parts(self, part: Tensor) -> Tokens:
        """The tokens of these parts (n, S'), in their order; masked where a part is not there.

        Of several sensors on a part the first is taken.
        """
        same = (self.part[:, None] == part[:, :, None]) & self.there[:, None] & (part >= 0)[:, :, None]  # (n, S', S)
        at = same.to(torch.uint8).argmax(-1)
        values = self.values.gather(1, at[..., None, None].expand(-1, -1, *self.values.shape[2:]))
        mask = self.mask.gather(1, at[..., None].expand(-1, -1, self.mask.shape[2])) & same.any(-1)[..., None]
        local = self.local.gather(1, at[..., None].expand(-1, -1, self.local.shape[2]))
        return replace(self, values=values, mask=mask, local=local, part=part)

    def moved(self, later: Tensor) -> Tokens:
        """Tokens at `index + later` (n,) in place of those at each index; masked where there is none."""
        count = self.values.shape[2]
        at = torch.arange(count, device=later.device) + later[:, None]  # (n, N)
        inside = (at >= 0) & (at < count)
        at = at.clamp(0, count - 1)[:, None].expand(-1, self.values.shape[1], -1)
        values = self.values.gather(2, at[..., None].expand(-1, -1, -1, self.values.shape[3]))
        return replace(self, values=values, mask=self.mask.gather(2, at) & inside[:, None], start=self.start + later)


def token_contrast(a: Tokens, b: Tokens, scale: Tensor) -> Tensor:
    """Each moment of a sensor against all moments of its body part in the same window, both ways (9.1).

    `start` may differ: a's token t and b's token t + a.start - b.start are of one moment. Tokens without a partner are no
    anchors, but stay candidates. With windows cut at one place this is the published loss, which positions alone
    can solve. Cut at random places of their own (`data.window.shift_s`) positions still tell which lags are likely: the
    logarithm of each lag's prior is added to its logit (Menon et al., arXiv 2007.07314), so that nothing is left to learn
    from them. Windows that could not be moved say nothing, and have no anchors.
    """
    with torch.autocast(scale.device.type, enabled=False):
        b = b.of_parts(a.part)
        x, y = (torch.where(t.mask[..., None], t.values, 0.0) for t in (a, b))
        index = torch.arange(a.mask.shape[-1], device=a.mask.device)
        lag = index - index[:, None]  # of b's token, in a column, after a's
        ways, free = lag_prior(a, b, lag)
        logits = scale * x @ y.transpose(-1, -2) + ways.clamp(min=1).to(x.dtype).log()[:, None]  # (n, S, N, N)
        target = (lag == (a.start - b.start)[:, None, None]) & free[:, None, None]
        pairs = target[:, None] & a.mask[..., None] & b.mask[..., None, :]  # at most one in a row or column
        possible = (ways > 0)[:, None]
        n = total_over_ranks(pairs.sum()).clamp(min=1)
        own = torch.where(pairs, logits, 0.0).sum()
        total = logits.new_zeros(())
        for dim, candidates in ((-1, b.mask[..., None, :]), (-2, a.mask[..., None])):
            anchors = pairs.any(dim)
            over = logits.masked_fill(~(candidates & possible), torch.finfo(logits.dtype).min).logsumexp(dim)
            total = total + torch.where(anchors, over, 0.0).sum() - own
        return 0.5 * total / n


def lag_prior(a: Tokens, b: Tokens, lag: Tensor) -> tuple[Tensor, Tensor]:
    """In how many ways the starts of two windows could have been drawn to lie `lag` (N, N) apart, (n, N, N); and in which
    rows there was more than one, (n,). Windows that are cut at one place are taken as able to lie anywhere, each lag in one way.
    """
    if a.reach is None or b.reach is None:
        return torch.ones_like(lag).expand(len(a.start), -1, -1), torch.ones_like(a.start, dtype=torch.bool)
    first, second = a.reach[:, None, None], b.reach[:, None, None]
    drawn = torch.minimum(first, second + lag) - lag.clamp(min=0) + 1
    fixed = (first < 0) | (second < 0)
    return torch.where(fixed, 1, drawn.clamp(min=0)), (fixed[:, 0, 0]) | (a.reach + b.reach > 0)


def token_batch_contrast(a: Tokens, b: Tokens, rows: Rows, scale: Tensor, token_s: float) -> Tensor:
    """Each moment of a sensor against the moments of the same part in all windows of the batch, both ways (9.2).

    rows are keys of this rank's windows: the same moment in another window of the recording is left out.
    """
    y = b.of_parts(a.part).moved(a.start - b.start)
    both = a.mask & y.mask
    n, s, tokens = both.shape
    begin = rows.start_s[:, None] + token_s * (a.start[:, None] + torch.arange(tokens, device=both.device))

    def spread(of_row: Tensor) -> Tensor:
        return of_row[:, None, None].expand(n, s, tokens).flatten()

    keys = Rows(
        spread(rows.recording),
        begin[:, None].expand(n, s, tokens).flatten(),
        torch.full((n * s * tokens,), token_s, dtype=torch.float64, device=both.device),
        spread(rows.meaning),
    )
    part = a.part[..., None].expand(n, s, tokens)
    return _by_part(a.values.flatten(0, 2), y.values.flatten(0, 2), both.flatten(), part.flatten(), keys, scale)


def local_contrast(a: Tokens, b: Tokens, rows: Rows, scale: Tensor, negatives: str = "all") -> Tensor:
    """Each sensor's vector against those of body parts, both ways.

    negatives   `all`: every part of every window in one softmax (9.4); `part`: the same part of other windows (9.3)
    """
    y = b.of_parts(a.part)
    both = (a.there & y.there).flatten()
    n, s = a.part.shape
    part = a.part.flatten()

    def spread(of_row: Tensor) -> Tensor:
        return of_row[:, None].expand(n, s).flatten()

    keys = Rows(spread(rows.recording), spread(rows.start_s), spread(rows.span_s), spread(rows.meaning))
    if negatives == "part":
        return _by_part(a.local.flatten(0, 1), y.local.flatten(0, 1), both, part, keys, scale)
    # Other parts of the same window are negatives: for these keys, each part is a recording of its own.
    keys.recording = torch.where(keys.recording != 0, keys.recording * 31 + part + 1, 0)
    return contrast(a.local.flatten(0, 1), y.local.flatten(0, 1), both, keys, keys.gather(), scale).loss


def _by_part(x: Tensor, y: Tensor, both: Tensor, part: Tensor, keys: Rows, scale: Tensor) -> Tensor:
    """Mean over all items of the contrasts among items of one part."""
    every = keys.gather()
    total, count = scale.new_zeros(()), torch.zeros((), device=x.device)
    for p in range(len(PARTS)):
        result = contrast(x, y, both & (part == p), keys, every, scale)
        n = torch.where(result.count > 1, result.count, 0)
        total, count = total + result.loss * n, count + n
    return total / count.clamp(min=1)


def late_interaction(a: Tokens, b: Tokens, rows: Rows, all_rows: Rows, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast of windows by the mean cosine of their tokens at the same moments and body parts: loss, accuracy.

    The similarity of a row with any column is over its sensors and over the moments that its own two windows share:
    what retrieval compares (ColBERT's late interaction, arXiv 2004.12832, with the moments aligned in place of the maximum).
    """
    with torch.autocast(scale.device.type, enabled=False):
        rank, _ = world()
        shift = a.start - b.start
        (x, seen_x), (y, seen_y) = on_parts(a), on_parts(b)
        aligned_x, aligned_y = on_parts(a.moved(-shift)), on_parts(b.moved(shift))
        both = _overlap(aligned_x[1], seen_y).diagonal() > 0
        all_both = gather(both)
        mine, everyone = both.nonzero()[:, 0], all_both.nonzero()[:, 0]
        columns_y, columns_x = gather(y), gather(x)
        seen_all_y, seen_all_x = gather(seen_y), gather(seen_x)
        if len(everyone) < 2:
            empty = torch.stack([t.flatten()[:0].sum() for t in (columns_x, columns_y, x, y, scale)]).sum()
            return empty, scale.new_zeros(())
        own = (all_both.cumsum(0) - 1)[rank * len(both) + mine]
        negative, positive = relations(rows[mine], all_rows[everyone], own, None)
        total, right = scale.new_zeros(()), scale.new_zeros(())
        for (anchor, seen), columns, seen_all in (
            (aligned_x, columns_y, seen_all_y),
            (aligned_y, columns_x, seen_all_x),
        ):
            shared = _overlap(seen[mine], seen_all[everyone])
            logits = scale * (anchor[mine].flatten(1) @ columns[everyone].flatten(1).T) / shared.clamp(min=1)
            usable = negative & (shared > 0)
            total = total + cross_entropy(logits, usable, positive)
            best = logits.masked_fill(~(usable | positive), -torch.inf).argmax(1, keepdim=True)
            right = right + positive.gather(1, best).sum()
        return 0.5 * total / len(everyone), 0.5 * right.detach() / len(everyone)


def on_parts(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Sum of the tokens on each part (n, P, N, M), and how many there are (n, P, N)."""
    known = tokens.mask & (tokens.part >= 0)[..., None]
    slot = F.one_hot(tokens.part.clamp(min=0), len(PARTS)).to(tokens.values.dtype)  # (n, S, P)
    values = torch.where(known[..., None], tokens.values, 0.0)
    return torch.einsum("nsp,nstm->nptm", slot, values), torch.einsum("nsp,nst->npt", slot, known.to(slot.dtype))


def _overlap(x: Tensor, y: Tensor) -> Tensor:
    """(n, m): number of pairs of tokens at the same part and index."""
    return x.flatten(1) @ y.flatten(1).T


def multi_positive(sensors: Tensor, there: Tensor, body: Tensor, scale: Tensor) -> Tensor:
    """Each whole body against the sensors of all windows, all of its own being right; and each sensor against bodies (9.7).

    sensors (n, S, D) unit vectors, there (n, S) bool, body (n, D) unit vectors, through which no gradient flows.
    """
    with torch.autocast(scale.device.type, enabled=False):
        body = body.detach()
        all_there, all_sensors, all_body = gather(there), gather(sensors), gather(body)
        low = torch.finfo(sensors.dtype).min
        has, all_has = there.any(1), all_there.any(1)
        forward = scale * torch.einsum("nd,msd->nms", body, all_sensors)  # each body to all sensors
        forward = forward.masked_fill(~all_there, low)
        own = torch.einsum("nd,nsd->ns", body, sensors) * scale
        count = there.sum(1).clamp(min=1).to(sensors.dtype)
        to_sensors = forward.flatten(1).logsumexp(1) - own.masked_fill(~there, low).logsumexp(1) + count.log()
        back = (scale * torch.einsum("nsd,md->nsm", sensors, all_body)).masked_fill(~all_has, low)
        to_bodies = back.logsumexp(-1) - own
        total = torch.where(has, to_sensors, 0.0).sum() / all_has.sum().clamp(min=1)
        return 0.5 * (total + torch.where(there, to_bodies, 0.0).sum() / all_there.sum().clamp(min=1))
