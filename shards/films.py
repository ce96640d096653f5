"""Videos whose frames are counted, not timed: frame i of the file was taken with row i of the recording.

Files whose own rate is wrong (30 a second for 10) are so given their true one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aura.data.video import encode_h264
from shards.clips import look, pictures

SIDE = 448  # pixels of the shorter side at most


@dataclass(frozen=True)
class Film:
    """A video file and what is known about its camera.

    first       the file's frame that was taken with row 0
    intrinsics  of the file's full size: fx, fy, cx, cy; {} where unknown
    """

    path: Path
    first: int = 0
    intrinsics: dict[str, float] | None = None

    def clips(self, wanted: Sequence[tuple[np.ndarray, float]]) -> Iterator[tuple[dict, bytes] | str]:
        """For each piece (rows (k,) ascending, rows a second) its stream's entry and its mp4, or why there is none.

        Pieces are in order; the file is decoded once, and made smaller where its shorter side has over `SIDE` pixels.
        """
        try:
            file = look(self.path)
            shrink = min(1.0, SIDE / min(file.width, file.height))
            width, height = (max(2, 2 * round(shrink * pixels / 2)) for pixels in (file.width, file.height))
            numbers = {int(row) + self.first for rows, _ in wanted for row in rows}
            frames = pictures(file, width, height, numbers)
            camera = {"width": width, "height": height, **self._scaled(width / file.width, height / file.height)}
        except (ValueError, OSError) as error:
            for _ in wanted:
                yield f"video that cannot be read: {error}"
            return
        number, picture, count = -1, np.empty(0), 0

        def shown(rows: np.ndarray) -> Iterator[np.ndarray]:
            """Each is encoded when it is decoded, so that memory does not grow with a piece."""
            nonlocal number, picture, count
            try:
                for row in rows + self.first:
                    while number < row:
                        number, picture = next(frames)
                    count += 1
                    yield picture
            except (ValueError, StopIteration):  # it has ended, or is damaged from here on
                return

        for rows, rate_hz in wanted:
            count = 0
            there = shown(rows)
            first = next(there, None)
            if first is None:
                yield "video that has ended or is damaged before this time"
                continue
            mp4 = encode_h264(itertools.chain([first], there), rate_hz)
            yield {"rate_hz": rate_hz, "start_s": 0.0, "length": count, "camera": camera}, mp4

    def _scaled(self, x: float, y: float) -> dict[str, Any]:
        """The intrinsics at another size; pixel (0, 0) is the centre of the first pixel."""
        k = self.intrinsics
        if not k:
            return {}
        return {
            "fx": k["fx"] * x,
            "fy": k["fy"] * y,
            "cx": (k["cx"] + 0.5) * x - 0.5,
            "cy": (k["cy"] + 0.5) * y - 0.5,
        }
