"""Signs that a run goes wrong, early: what the embeddings look like in the space that is trained, and one line for each cause.

`norm/<stream>`             mean norm of the embeddings before they are normalised
`rank/<stream>`             effective rank (RankMe: Garrido et al., ICML 2023), 1 to the width of the space
`uniformity/<stream>`       log mean exp(-2 |x - y|^2) over pairs of rows, `alignment/<a>:<b>`: mean |x - y|^2 of the two sides of a
                            row (Wang and Isola, ICML 2020)
`gap/<a>:<b>`               distance between the means of both sides (modality gap: Liang et al., NeurIPS 2022)
`share/<stream>`            share of the rows that have the stream
`grad_norm/<stream>`        norm of the gradient of the stream's tower and head, before clipping (not under DeepSpeed, which holds
                            gradients in parts)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from aura.model import AuraModel, Embeddings
from aura.objectives.config import Objective
from aura.objectives.gather import gather
from aura.weights import stream_modules

EVERY = 10  # steps between two looks
ROWS = 1024  # of the global batch that are looked at
LEAST = 8  # rows that a rank is measured of
COLLAPSED = 2.0  # effective rank under which all rows are about alike
PATIENCE = 20  # steps for which something must hold before it is told
WAIT = 0.2  # share of the time


def health(output: Embeddings, objective: Objective) -> dict[str, float]:
    """Figures of the whole batch's embeddings; equal on all ranks, which all must call it."""
    found: dict[str, float] = {}
    rows: dict[str, tuple[Tensor, Tensor]] = {}
    for stream, pooled in output.pooled.items():
        present = gather(output.present[stream])
        found[f"share/{stream}"] = present.float().mean().item()
        if stream not in objective.compared:
            continue
        x, norm = gather(pooled.detach().float())[:ROWS], gather(output.norm[stream])[:ROWS]
        # A loss of few rows may be finite where others are not, and NaN is no JSON.
        known = present[:ROWS] & x.isfinite().all(-1) & norm.isfinite()
        rows[stream], x, norm = (x, known), x[known], norm[known]
        if len(x) > 1:
            found[f"norm/{stream}"] = norm.mean().item()
            if len(x) >= LEAST:
                found[f"rank/{stream}"] = effective_rank(x)
            found[f"uniformity/{stream}"] = torch.pdist(x).square().mul(-2).exp().mean().log().item()
    for name, pair in objective.pairs.items():
        a, _, b = name.partition(":")
        if pair.space != "pooled" or a not in rows or b not in rows:
            continue
        (x, has_x), (y, has_y) = rows[a], rows[b]
        both = has_x & has_y
        if both.any():
            found[f"alignment/{name}"] = (x[both] - y[both]).square().sum(-1).mean().item()
            found[f"gap/{name}"] = (x[both].mean(0) - y[both].mean(0)).norm().item()
    return found


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the singular values of x (N, D), as shares of their sum; 1 where all rows are alike."""
    values = torch.linalg.svdvals(x)
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.special.entr(shares).sum().exp())


def gradient_norms(module: AuraModel) -> dict[str, float]:
    """`grad_norm/<stream>` of the gradients that this rank holds."""
    found = {}
    for stream in module.towers:
        parameters = (p for part in stream_modules(module, stream).values() for p in part.parameters())
        norms = [p.grad.norm() for p in parameters if p.grad is not None]
        if norms:
            found[f"grad_norm/{stream}"] = torch.stack(norms).norm().item()
    return found


class Watch:
    """Tells, once each, what goes wrong for some time, with its likely cause; fed with the values of each step."""

    def __init__(self, objective: Objective) -> None:
        self.bound = math.exp(objective.log_scale_max)
        self.learned = objective.learn_temperature
        self.since: dict[str, int] = {}
        self.told: set[str] = set()

    def __call__(self, values: Mapping[str, float]) -> list[str]:
        """New warnings after a step; `values` as they are logged."""
        out = []
        for key, (sign, words) in self._signs(values).items():
            if not sign:
                self.since.pop(key, None)
                continue
            first = self.since.setdefault(key, int(values["step"]))
            if values["step"] - first >= PATIENCE and key not in self.told:
                self.told.add(key)
                out.append(f"since step {first}: {words}")
        return out

    def _signs(self, values: Mapping[str, float]) -> dict[str, tuple[bool, str]]:
        found = {}
        for key, value in values.items():
            kind, _, name = key.partition("/")
            if kind == "rank":
                found[key] = (
                    value < COLLAPSED,
                    (
                        f"the embeddings of {name} have collapsed: effective rank {value:.2f}. Likely the learning rate is too"
                        " high, or the warm-up too short: lower train.optimizer.lr, raise train.warmup"
                    ),
                )
            elif kind == "scale" and self.learned:
                found[key] = (
                    value >= 0.999 * self.bound,
                    (
                        f"the temperature of {name} sits at its bound (scale {value:.4g}). Likely rows repeat each other or the pair"
                        " is too easy: raise objective.min_temperature, or look at the data"
                    ),
                )
            elif kind == "rows":
                found[key] = (
                    value < 2,
                    (
                        f"the pair {name} has no rows. Likely no source has both streams, or windows cover too little of one"
                        " (data.window.min_cover): see share/<stream>"
                    ),
                )
            elif key == "data_wait":
                found[key] = (
                    value > WAIT,
                    (
                        f"{value:.0%} of the time is spent waiting for data: raise data.workers, or store embeddings of frozen"
                        " towers (tools/precompute.py)"
                    ),
                )
        return found
