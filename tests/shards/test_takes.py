"""Recordings with several streams on one clock: what is too short to be kept is counted."""

import numpy as np
import pytest

from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.takes import Points, Take, samples

RATE = 20.0


@pytest.mark.parametrize(("known", "kept"), [(0, False), (19, False), (20, True)])
def test_poses_known_for_less_than_a_second_are_left_out_and_counted(known: int, kept: bool) -> None:
    points = np.zeros((60, 17, 3))
    points[30 : 30 + known] = 1.0
    camera = {"width": 64, "height": 48}
    take = Take(
        split="train",
        times=np.arange(60) / RATE,
        rate_hz=RATE,
        about={"dataset": "d", "recording": "r", "session": "s", "subject": "p", "licence": "l"},
        mocap=Points(np.random.default_rng(0).normal(size=(60, 17, 3)), {"skeleton": "coco17"}),
        poses={"pose2d": Points(points, {"skeleton": "coco17", "camera": camera})},
    )
    found = list(samples(take))
    (sample,) = (item[1] for item in found if not isinstance(item, Dropped))
    assert isinstance(sample, Sample)
    assert set(sample.streams) == {"mocap", *(["pose2d"] if kept else [])}
    lost = [(note.seconds, note.count) for note in found if isinstance(note, Dropped)]
    assert lost == ([(known / RATE, known)] if known and not kept else [])
