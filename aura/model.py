"""The model: a tower and a projection for every stream, the temperatures of the pairs, and classifiers."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aura.body.parts import PART_OF
from aura.data.batch import Batch, Stream
from aura.data.config import Input
from aura.objectives.config import Objective, streams_of
from aura.objectives.fine import Tokens
from aura.objectives.heads import FineHead
from aura.objectives.temperature import LogScale
from aura.towers import TowerConfig, TowerOutput, build_tower
from aura.towers.tower import Tower


class Embeddings(NamedTuple):
    """What the model gives for B rows; D is the shared space, N moments of width M.

    pooled      stream -> (B, D) float32 of unit norm (as wide as the tower where it has no projection); zeros where the
                row lacks the stream
    logits      side of `Classify.streams` -> (B, classes) float32, not to be read where the row lacks one of its streams
    moments     stream -> (B, N, M) float32, the map of N moments, its norm as a whole one; zeros likewise
    tokens, local, sensors, error, masked
                stream of a fine pair -> see `aura.objectives.heads.FineOutput`; zeros where the row lacks the stream
    mask        stream of a fine pair -> (B, S, N) bool: the token is there
    part        stream of a fine pair -> (B, S) int64: body part of each sensor, -1 unknown
    start       stream of a fine pair -> (B,) int64: tokens from the row's start to the stream's token 0
    reach       stream of a fine pair -> (B,) int64: the latest start that could have been drawn, -1 where none is drawn
    token_s     stream of a fine pair -> (B,) float64: seconds of a token
    present     stream -> (B,) bool
    norm        stream -> (B,) float32: norm of the projected embedding before it is normalised; zeros likewise
    log_scale   (scales,) float32: logarithm of the inverse temperature of each of `Objective.scales`, inside its bounds
    bias        (scales,) float32: bias of the sigmoid loss; zeros for InfoNCE
    """

    pooled: dict[str, Tensor]
    logits: dict[str, Tensor]
    moments: dict[str, Tensor]
    tokens: dict[str, Tensor]
    local: dict[str, Tensor]
    sensors: dict[str, Tensor]
    error: dict[str, Tensor]
    masked: dict[str, Tensor]
    mask: dict[str, Tensor]
    part: dict[str, Tensor]
    start: dict[str, Tensor]
    reach: dict[str, Tensor]
    token_s: dict[str, Tensor]
    present: dict[str, Tensor]
    norm: dict[str, Tensor]
    log_scale: Tensor
    bias: Tensor


# Fields of `Embeddings` by stream through which gradients flow, and those without.
LEARNED = ("pooled", "logits", "moments", "tokens", "local", "sensors", "error")
FIXED = ("masked", "mask", "part", "start", "reach", "token_s", "present", "norm")


class AuraModel(nn.Module):
    """Towers, projections, temperatures and classifiers as one module, prepared once for any kind of training.

    Every tower runs in every forward, on the rows that have its stream, or on one empty row whose result is discarded:
    so all ranks issue the same collectives and every parameter gets a gradient on every rank.
    """

    def __init__(
        self,
        inputs: dict[str, Input],
        towers: dict[str, TowerConfig],
        objective: Objective,
        embedding: int,
        seconds: float,
        precision: str = "no",
        streams: Collection[str] | None = None,
    ) -> None:
        """streams: only these towers, for use alone: what needs the others (a classifier of several) is left out."""
        super().__init__()
        self.precision = precision
        self.compared = objective.compared
        towers = {name: config for name, config in towers.items() if streams is None or name in streams}
        for stream in towers:
            if stream not in self.compared | objective.classified:
                raise ValueError(
                    f"towers.{stream}: no pair compares its pooled embedding, whose weights would get no gradient: add one"
                    f" with `space: pooled`, such as {stream}:text, or a classifier of it"
                )
        timed = {side for name, pair in objective.pairs.items() if pair.space == "moments" for side in name.split(":")}
        self.towers = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for stream, config in towers.items():
            try:
                tower = build_tower(config, inputs[stream], seconds)
            except ValueError as error:
                said = str(error).removeprefix("towers: ")
                raise ValueError(f"towers.{stream}: {said}") from error
            if stream in timed and getattr(tower, "moments_shape", None) is None:
                raise ValueError(f"towers.{stream} has no moments, which a pair compares: set towers.{stream}.moments")
            if stream not in timed and getattr(tower, "moments_shape", None) is not None:
                raise ValueError(f"towers.{stream}.moments is set, but no pair has `space: moments` for {stream}")
            self.towers[stream] = tower
            # A projection that no loss uses would get no gradient.
            compared = stream in self.compared
            self.heads[stream] = (
                make_head(config.projection, tower.width, embedding, stream) if compared else nn.Identity()
            )
        check_moments(objective, self.towers)
        self.fine = fine_heads(objective, self.towers, embedding)
        self.classifiers = make_classifiers(objective, self.towers)
        self.token_s = {name: cast(Tower, self.towers[name]).token_s or 0.0 for name in self.fine}
        self.temperature = LogScale(
            objective.log_scale_init,
            max=objective.log_scale_max,
            learn=objective.learn_temperature,
            sigmoid=objective.loss == "sigmoid",
        )

    def forward(self, batch: Batch) -> Embeddings:
        out: dict[str, dict[str, Tensor]] = {field: {} for field in (*LEARNED, *FIXED)}
        outputs: dict[str, Tensor] = {}
        for name, tower in self.towers.items():
            stream = batch.streams[name]
            output, rows = run_tower(tower, stream, self.precision)
            put = partial(scatter, rows=rows, present=stream.present)
            out["present"][name] = stream.present
            projected = self.heads[name](output.pooled.float())
            out["norm"][name] = put(projected.detach().norm(dim=-1))
            out["pooled"][name] = put(F.normalize(projected, dim=-1))
            outputs[name] = put(output.pooled.float())
            if output.moments is not None:
                flat = F.normalize(output.moments.float().flatten(1), dim=-1)
                out["moments"][name] = put(flat.view(output.moments.shape))
            if name in self.fine:
                numbers = batch.row[rows] if len(rows) else batch.row[:1]
                for field, value in self.fine[name](output.tokens.float(), output.mask, numbers)._asdict().items():
                    out[field][name] = put(value)
                out["mask"][name] = put(output.mask)
                out["part"][name] = parts_of(stream, output.mask.shape[1])
                out["start"][name], out["reach"][name] = token_starts(stream, self.token_s[name])
                out["token_s"][name] = torch.full_like(batch.span_s, self.token_s[name], device=output.mask.device)
        for side, classifier in self.classifiers.items():
            out["logits"][side] = classifier(torch.cat([outputs[stream] for stream in streams_of(side)], 1))
        log_scale, bias = self.temperature()
        return Embeddings(**out, log_scale=log_scale, bias=bias)

    def project(self, stream: str, pooled: Tensor) -> Tensor:
        """A tower's output (B, W) to unit vectors (B, D) of the shared space, in float32."""
        return F.normalize(self.heads[stream](pooled.float()), dim=-1)

    def embed_stream(self, name: str, stream: Stream) -> Tensor:
        """Unit vectors (B, D) of one stream alone; zeros at rows that are not present."""
        output, rows = run_tower(self.towers[name], stream, self.precision)
        return scatter(self.project(name, output.pooled), rows, stream.present)

    def tokens_stream(self, name: str, stream: Stream) -> Tokens:
        """Compared tokens and local vectors of one stream of a fine pair alone; masked at rows that are not present."""
        output, rows = run_tower(self.towers[name], stream, self.precision)
        fine = self.fine[name](output.tokens.float(), output.mask, rows if len(rows) else rows.new_zeros(1))
        tokens, mask, local = (scatter(x, rows, stream.present) for x in (fine.tokens, output.mask, fine.local))
        return Tokens(tokens, mask, local, parts_of(stream, mask.shape[1]), *token_starts(stream, self.token_s[name]))


def fine_heads(objective: Objective, towers: nn.ModuleDict, embedding: int) -> nn.ModuleDict:
    """A head for each stream of a fine pair. ValueError, naming the pair, where the two towers do not fit."""
    heads = nn.ModuleDict()
    for name in objective.fine:
        there = [stream for stream in name.split(":") if stream in towers]
        for stream in there:
            if towers[stream].token_s is None:
                raise ValueError(
                    f"objective.fine.{name}: the tower of {stream} has no tokens of body parts; take a tower of kind"
                    " imu_transformer for sensors, part_transformer for skeletons"
                )
        lengths = {stream: towers[stream].token_s for stream in there}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{stream} {seconds:g}" for stream, seconds in lengths.items())
            raise ValueError(f"objective.fine.{name}: both towers need the same token_s, they have {told}")
    for stream in towers:
        pairs = {name: fine for name, fine in objective.fine.items() if stream in name.split(":")}
        if pairs:
            first = [name.split(":")[0] == stream for name in pairs]
            heads[stream] = FineHead(cast(Tower, towers[stream]).width, embedding, list(pairs.values()), first)
    return heads


def make_classifiers(objective: Objective, towers: nn.ModuleDict) -> nn.ModuleDict:
    """A linear classifier for each side of `objective.classify`, on the towers' outputs before any projection."""
    classifiers = nn.ModuleDict()
    if objective.classify is not None:
        for side in objective.classify.streams:
            if not set(streams_of(side)) <= set(towers):
                continue
            width = sum(cast(Tower, towers[stream]).width for stream in streams_of(side))
            classifiers[side] = nn.Linear(width, len(objective.classify.classes))
    return classifiers


def parts_of(stream: Stream, count: int) -> Tensor:
    """Body part (B, S) of each sensor by its placement; of a skeleton's tokens all `count` parts in order."""
    if stream.placement is not None:
        return torch.from_numpy(PART_OF).to(stream.placement.device)[stream.placement]
    return torch.arange(count, device=stream.present.device).expand(len(stream.present), -1)


def token_starts(stream: Stream, token_s: float) -> tuple[Tensor, Tensor]:
    """Tokens (B,) from the row's start to the stream's token 0; and the most that could have been drawn, -1 for no draw."""
    none = torch.zeros_like(stream.present, dtype=torch.int64)
    start = none if stream.shift_s is None else (stream.shift_s / token_s).round().long()
    return start, none - 1 if stream.reach_s is None else (stream.reach_s / token_s).round().long()


def make_head(projection: str, width: int, embedding: int, stream: str) -> nn.Module:
    """Linear projection into the shared space, or none where the tower's own output is the space."""
    if projection == "none":
        if width != embedding:
            raise ValueError(
                f"towers.{stream}: projection `none` needs a tower of the shared width {embedding}, it has {width}"
            )
        return nn.Identity()
    return nn.Linear(width, embedding)


def check_moments(objective: Objective, towers: nn.ModuleDict) -> None:
    """Raises ValueError where the two sides of a pair have maps of different shape."""
    for name, pair in objective.pairs.items():
        if pair.space == "moments" and set(name.split(":")) <= set(towers):
            a, b = (towers[side].moments_shape for side in name.split(":"))
            if a != b:
                raise ValueError(
                    f"pair {name}: maps of {a} and {b} (moments, width); give both towers the same token_s"
                )


def run_tower(tower: nn.Module, stream: Stream, precision: str) -> tuple[TowerOutput, Tensor]:
    """The tower's output for the rows that have the stream, and their indexes; one empty row where none has it."""
    rows = stream.present.nonzero()[:, 0]
    chosen = stream.map(lambda t: t.index_select(0, rows)) if len(rows) else empty_row(stream)
    device = stream.values.device.type
    with torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext():
        return tower(chosen.cleaned()), rows


def empty_row(stream: Stream) -> Stream:
    """One row of valid zeros, so that a tower has something to run on."""
    row = stream.map(lambda t: torch.zeros_like(t[:1]))
    row.valid = torch.ones_like(row.valid)
    row.present = torch.ones_like(row.present)
    for name in ("sensor_mask", "channel_mask", "joint_mask"):
        if getattr(row, name) is not None:
            setattr(row, name, torch.ones_like(getattr(row, name)))
    if row.image_size is not None:
        row.image_size = torch.ones_like(row.image_size)
    return row


def scatter(values: Tensor, rows: Tensor, present: Tensor) -> Tensor:
    """`values` (rows or 1, ...) put at `rows` of (B, ...); zeros, without gradient, at rows that lack the stream."""
    if len(rows) == 0:
        # `where`, not a product with zero: a value that is not finite must not pass.
        there = present.view(-1, *[1] * (values.dim() - 1))
        return torch.where(there, values.expand(len(present), *values.shape[1:]), values.new_zeros(()))
    out = values.new_zeros(len(present), *values.shape[1:])
    return out.index_copy(0, rows, values)


def joined(embeddings: Embeddings, name: str, space: str = "pooled") -> tuple[Tensor, Tensor]:
    """Embedding (B, D) and presence (B,) of one side of a pair; `imu+mocap` is the normalised sum of both.

    In the space of moments D is the whole map, N * M; in that of `logits` it is the classes.
    """
    parts = streams_of(name)
    present = torch.stack([embeddings.present[part] for part in parts]).all(0)
    if space == "moments":
        return embeddings.moments[name].flatten(1), present
    if space == "logits":
        return embeddings.logits[name], present
    if len(parts) == 1:
        return embeddings.pooled[name], present
    total = torch.stack([embeddings.pooled[part] for part in parts]).sum(0)
    # Rows without all the streams are replaced before the norm, so that no gradient passes through them.
    total = torch.where(present[:, None], total, torch.ones_like(total))
    return torch.where(present[:, None], F.normalize(total, dim=-1), 0.0), present


def tokens_of(embeddings: Embeddings, stream: str) -> Tokens:
    """What fine pairs compare of a stream."""
    return Tokens(
        *(getattr(embeddings, field)[stream] for field in ("tokens", "mask", "local", "part", "start", "reach"))
    )
