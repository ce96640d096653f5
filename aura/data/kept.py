"""Arrays that are made once and kept, within a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class Kept:
    """Arrays by key, up to `limit` bytes: past it those that were longest unused go, but for the last one."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self.arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        found = self.arrays.get(key)
        if found is not None:
            self.arrays.move_to_end(key)
            return found
        found = self.arrays[key] = make()
        self.bytes += found.nbytes
        while self.bytes > self.limit and len(self.arrays) > 1:
            self.bytes -= self.arrays.popitem(last=False)[1].nbytes
        return found
