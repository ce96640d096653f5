"""Which rows of a batch mean the same: they are no negatives of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aura.objectives.gather import gather

ROUNDING_S = 1e-6  # of sums of seconds


def stable_hash(text: str) -> int:
    """A 63-bit hash, the same in every process and version; never 0, which stands for "none"."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1 or 1


@dataclass
class Rows:
    """Keys of n rows. recording, meaning (n,) int64 hashes; start_s, span_s (n,) float64 seconds in the recording.

    `meaning` is the row's text, or the label that decides what means the same; 0: none, equal to no other.
    """

    recording: Tensor
    start_s: Tensor
    span_s: Tensor
    meaning: Tensor

    @classmethod
    def of(
        cls, recordings: Sequence[str], start_s: Tensor, span_s: Tensor, meanings: Sequence[str] | None = None
    ) -> Rows:
        """Keys on the device of `start_s`. An empty recording or meaning equals no other."""
        device = start_s.device
        n = len(recordings)
        hashes = [[stable_hash(t) if t else 0 for t in texts] for texts in (recordings, meanings or [""] * n)]
        recording, meaning = (torch.tensor(h, dtype=torch.int64, device=device) for h in hashes)
        return cls(recording, start_s.double(), span_s.double(), meaning)

    def gather(self) -> Rows:
        """The rows of all ranks, in the order of ranks, by one collective."""
        parts = [self.recording, self.start_s.view(torch.int64), self.span_s.view(torch.int64), self.meaning]
        recording, start, span, meaning = (part.flatten() for part in gather(torch.stack(parts)[None]).unbind(1))
        return Rows(recording, start.view(torch.float64), span.view(torch.float64), meaning)

    def __getitem__(self, index: Tensor | slice) -> Rows:
        return Rows(self.recording[index], self.start_s[index], self.span_s[index], self.meaning[index])


def overlapping(rows: Rows, columns: Rows) -> Tensor:
    """(n, m) bool: windows of one recording that share time. A window overlaps itself; one that only touches does not."""
    same = (rows.recording[:, None] == columns.recording) & (rows.recording[:, None] != 0)
    end, column_end = rows.start_s + rows.span_s - ROUNDING_S, columns.start_s + columns.span_s - ROUNDING_S
    return same & (rows.start_s[:, None] < column_end) & (columns.start_s < end[:, None])


def same_meaning(rows: Rows, columns: Rows) -> Tensor:
    """(n, m) bool: rows of equal text or label."""
    return (rows.meaning[:, None] == columns.meaning) & (rows.meaning[:, None] != 0)
