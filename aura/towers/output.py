"""What every tower returns."""

from typing import NamedTuple

from torch import Tensor


class TowerOutput(NamedTuple):
    """B rows, P sensors or body parts (1 where a tower has none), N tokens of time, W width.

    A named tuple, not a dataclass: ZeRO-3 finds the tensors of a module's output in tuples and dictionaries only.

    pooled   (B, W): one vector a row, before projection and normalisation
    tokens   (B, P, N, W): in order of time
    mask     (B, P, N) bool: the token saw at least one valid item
    moments  (B, N, M): the map of a shallow branch beside the tower, one vector a moment of time; or None
    """

    pooled: Tensor
    tokens: Tensor
    mask: Tensor
    moments: Tensor | None = None
