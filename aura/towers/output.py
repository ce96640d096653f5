"""What every tower returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class TowerOutput:
    """B rows, P sensors or body parts (1 where a tower has none), N tokens of time, W width.

    pooled   (B, W): one vector a row, before projection and normalisation
    tokens   (B, P, N, W): in order of time
    mask     (B, P, N) bool: the token saw at least one valid item
    moments  (B, N, M): the map of a shallow branch beside the tower, one vector a moment, for comparisons in time; or None
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor
    moments: Tensor | None = None
