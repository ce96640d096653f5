"""Synchronisation on shards: pieces of the same recordings, cut apart in time by offsets that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aura.data.config import ImuInput, MocapInput, Pose2dInput
from aura.data.index import BadSample, Record, Split
from aura.data.order import hash64
from aura.tasks.classical import classical_curve, signals
from aura.tasks.sync import FUSED_MARGIN, MARGIN, Curve, Offset, find_offset, fused, sync_metrics, token_curve, vote
from aura.tasks.tracks import Encoder, Span, extent, phases, read_streams, tracks

GRID_S = 0.02  # of the offsets
BEYOND_S = 0.1  # that is searched beyond the range of the offsets
PHASES = 5  # of a token, and signals a token
ROWS = 32  # pieces at a time
VOTE_WINDOWS = 5  # the fewest in a piece that a vote makes sense of
RAW = ImuInput | MocapInput | Pose2dInput


@dataclass(frozen=True)
class Cutting:
    """Pieces of `piece_s` of both streams, `draws` of each sample, their offsets uniform within +-range_s."""

    piece_s: float = 5.0
    range_s: float = 1.5
    draws: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.range_s < self.piece_s:
            raise ValueError(
                f"pieces of {self.piece_s:g} s cannot be {self.range_s:g} s apart: the range must be shorter"
            )


@dataclass(frozen=True)
class Piece:
    """begin_a, begin_b: seconds of the sample. Its offset is begin_b - begin_a. draw: which piece of the sample it is."""

    record: Record
    begin_a: float
    begin_b: float
    draw: int = 0

    @property
    def offset_s(self) -> float:
        return self.begin_b - self.begin_a

    @property
    def key(self) -> str:
        """What tells pieces apart in any model."""
        places = f"{self.begin_a:.3f}/{self.begin_b:.3f}"
        return f"{self.record.head['dataset']}/{self.record.entry['key']}@{places}, piece {self.draw + 1}"

    @property
    def subject(self) -> str:
        """Whose piece it is, "" where unknown."""
        name = self.record.entry["subject"]
        return f"{self.record.head['dataset']}/{name}" if name else ""


def draw_pieces(split: Split, a: str, b: str, cutting: Cutting) -> tuple[list[Piece], Counter[str]]:
    """Pieces of all samples whose streams are long enough for any offset; why others were left out, and how many."""
    pieces, left_out = [], Counter()
    for i in range(len(split)):
        record = split.record(i)
        try:
            begin, end = (f(values) for f, values in zip((max, min), zip(extent(record, a), extent(record, b))))
        except BadSample:
            left_out[f"without {a} or {b}"] += 1
            continue
        room = round((end - begin - cutting.piece_s) / GRID_S + 1e-6) if end > begin else -1
        reach = round(cutting.range_s / GRID_S)
        if room < reach:
            left_out[f"shorter than {cutting.piece_s + cutting.range_s:g} s"] += 1
            continue
        for draw in range(cutting.draws):
            offset = _uniform(cutting.seed, record, draw, "offset", 2 * reach + 1) - reach
            first = _uniform(cutting.seed, record, draw, "start", room - abs(offset) + 1) + max(0, -offset)
            pieces.append(Piece(record, begin + first * GRID_S, begin + (first + offset) * GRID_S, draw))
    return pieces, left_out


def _uniform(seed: int, record: Record, draw: int, name: str, count: int) -> int:
    return hash64("piece", seed, record.entry["key"], draw, name) % count


def sync_methods(
    encoder: Encoder, a: str, b: str, cutting: Cutting
) -> dict[str, Callable[[Sequence[Piece]], list[Offset]]]:
    """Ways to find the offsets of pieces of the model's streams a and b, by name."""
    longest = cutting.range_s + BEYOND_S
    overlap = min(0.5, 1 - cutting.range_s / cutting.piece_s)
    by_tokens, step_s = encoder.by_tokens(a, b), encoder.step_s(a, b)

    def search(curve: Curve, *, refine: bool = True, min_margin: float = MARGIN) -> list[Offset]:
        rows = (curve[i] for i in range(len(curve.score)))
        limits = {"max_offset_s": longest, "min_overlap": overlap, "min_margin": min_margin}
        return [find_offset(row, refine=refine, **limits) for row in rows]

    def encoded(pieces: Sequence[Piece], count: int) -> Curve:
        x = tracks(encoder, a, spans(pieces, a, first=True), cutting.piece_s, by_tokens=by_tokens)
        y = phases(encoder, b, spans(pieces, b, first=False), cutting.piece_s, count, by_tokens=by_tokens)
        return token_curve(x, y, step_s)

    def votes(pieces: Sequence[Piece]) -> list[Offset]:
        x, y = (
            tracks(encoder, name, spans(pieces, name, first=first), cutting.piece_s, by_tokens=False).values[:, 0]
            for name, first in ((a, True), (b, False))
        )
        curves = [vote(u @ v.T, encoder.stride_s) for u, v in zip(x, y)]
        return [find_offset(c, max_offset_s=longest, min_overlap=0, refine=False) for c in curves]

    def classical(pieces: Sequence[Piece]) -> Curve:
        sides = []
        for name, first in ((a, True), (b, False)):
            settings = encoder.inputs[name].model_copy(update={"rate_hz": PHASES / step_s})
            assert isinstance(settings, RAW)
            sides.append(signals(read_streams(settings, spans(pieces, name, first=first), cutting.piece_s), settings))
        return classical_curve(sides[0], sides[1], PHASES / step_s, longest)

    kind = "tokens" if by_tokens else "windows"
    methods = {
        f"{kind}, five phases": lambda pieces: search(encoded(pieces, PHASES)),
        f"{kind}, grid of {step_s:g} s": lambda pieces: search(encoded(pieces, 1), refine=False),
    }
    if by_tokens and cutting.piece_s >= encoder.seconds + (VOTE_WINDOWS - 1) * encoder.stride_s:
        methods["windows, top-5 votes"] = votes
    if all(isinstance(encoder.inputs[name], RAW) for name in (a, b)):
        margin = FUSED_MARGIN
        methods["classical"] = lambda pieces: search(classical(pieces), min_margin=margin)
        methods[f"{kind} and classical"] = lambda pieces: search(
            fused([encoded(pieces, PHASES), classical(pieces)], longest), min_margin=margin
        )
    return methods


def spans(pieces: Sequence[Piece], stream: str, *, first: bool) -> list[Span]:
    return [Span(piece.record, stream, piece.begin_a if first else piece.begin_b) for piece in pieces]


@dataclass(frozen=True)
class Synced:
    """What a method found of n pieces. figures: see `sync_metrics`; also `pool`, the lags of the grid that were searched, and
    `chance/...`, of a random offset within the range."""

    found: list[Offset]
    figures: dict[str, float]


def sync_on(encoder: Encoder, pieces: Sequence[Piece], a: str, b: str, cutting: Cutting) -> dict[str, Synced]:
    """The offsets of the pieces by each method."""
    truth = [piece.offset_s for piece in pieces]
    out = {}
    for name, method in sync_methods(encoder, a, b, cutting).items():
        found = [offset for i in range(0, len(pieces), ROWS) for offset in method(pieces[i : i + ROWS])]
        metrics = sync_metrics(found, truth, encoder.step_s(a, b))
        lags = 2 * int((cutting.range_s + BEYOND_S) / encoder.step_s(a, b) + 1e-6) + 1
        out[name] = Synced(found, metrics | {"pool": float(lags)} | _chance(np.array(truth), cutting.range_s))
    return out


def _chance(truth: np.ndarray, range_s: float) -> dict[str, float]:
    """Of a random offset, uniform within the range."""
    guesses = np.linspace(-range_s, range_s, 2001)
    error = np.abs(truth[:, None] - guesses)
    return {"chance/MAE": float(error.mean()), "chance/Acc@0.2": float((error < 0.2).mean())}
