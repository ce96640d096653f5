"""The picture of a sample shows each stream at its time and place."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from aura.body.skeletons import SKELETONS
from aura.data.picture import BODIES, INSIDE, picture
from tests.data.samples import make_sample

STREAMS = ("imu", "orientation", "mocap", "pose2d", "video")


def rows(sample):
    """Axes of the picture by the first word of their label; the texts are ''."""
    figure = picture(sample)
    figure.canvas.draw()
    return {axes.get_ylabel().split(",")[0].split("\n")[0]: axes for axes in figure.axes}


def bones(axes):
    """Points of all bones of each body in a row: a list of (bones, 2, 2)."""
    return [np.array(lines.get_segments()) for lines in axes.collections if isinstance(lines, LineCollection)]


def test_streams_share_one_time_axis() -> None:
    sample = make_sample(streams=STREAMS)
    figure = picture(sample)
    # video; 2D pose (another shape of image); mocap; acc and gyro of two sensors; texts
    assert len(figure.axes) == 1 + 1 + 1 + 4 + 1
    lefts = {(round(a.get_position().x0, 6), round(a.get_position().x1, 6), *a.get_xlim()) for a in figure.axes}
    assert len(lefts) == 1
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert tops == sorted(tops, reverse=True)


def test_signals_are_drawn_at_their_times() -> None:
    sample = make_sample()
    sample.streams["imu"]["start_s"] = 0.5
    lines = {line.get_label(): line for line in rows(sample)["imu"].lines}
    x = lines["x"].get_xdata()
    assert (x[0], x[-1]) == (0.5, pytest.approx(0.5 + 5.99))
    np.testing.assert_array_equal(lines["x"].get_ydata(), sample.arrays["imu"][0, :, 0])
    np.testing.assert_allclose(lines["norm"].get_ydata()[0], 9.81, rtol=1e-6)


def test_gravity_by_the_orientation_is_dotted() -> None:
    sample = make_sample()
    tilt = np.array(
        [np.cos(np.pi / 4), 0, np.sin(np.pi / 4), 0]
    )  # by 90 degrees about y: world's up is the sensor's -x
    sample.arrays["orientation"][:] = tilt
    dotted = [line for line in rows(sample)["imu"].lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose([line.get_ydata()[0] for line in dotted], [-9.80665, 0, 0], atol=1e-5)


def test_bodies_stand_at_their_times_with_their_heights_and_left_on_the_right() -> None:
    sample = make_sample()
    tree = SKELETONS["kinect20"]
    mocap = sample.arrays["mocap"]
    mocap[:, tree.joints.index("left_hip")] = [0, -0.2, 1]  # who looks along -x has their left at -y
    mocap[:, tree.joints.index("right_hip")] = [0, 0.2, 1]
    row = rows(sample)["mocap"]
    second = 6.0 / INSIDE
    for body in bones(row):
        moment = (body[..., 0].min() + body[..., 0].max()) / 2
        item = round(moment * 20)
        assert abs(moment - item / 20) < 1e-6
        hips = [
            body[[j for _, j in tree.edges].index(tree.joints.index(f"{side}_hip")), 1] for side in ("left", "right")
        ]
        assert hips[0][0] > hips[1][0]
        np.testing.assert_allclose([hip[1] for hip in hips], 1.0, atol=1e-6)
        # One scale along both axes: metres in inches.
        low, high = row.get_ylim()
        across = (hips[0][0] - hips[1][0]) / second
        assert across == pytest.approx(0.4 * np.cos(np.radians(35)) * BODIES / (high - low), rel=0.01)


def test_poses_lie_in_their_frames_and_unknown_points_are_left_out() -> None:
    sample = make_sample(streams=("pose2d",))
    pose = sample.arrays["pose2d"]
    pose[:, 9] = 0  # left wrist: confidence 0
    row = rows(sample)["pose2d"]
    frames = [patch for patch in row.patches if isinstance(patch, Rectangle)]
    bodies = bones(row)
    assert len(frames) == len(bodies) > 1
    for frame, body in zip(frames, bodies):
        assert len(body) == len(SKELETONS["coco17"].edges) - 1
        time = frame.get_x() + frame.get_width() / 2
        shown = (body[..., 0] - frame.get_x()) / frame.get_width() * 640
        np.testing.assert_allclose(shown.min(), 20 * time, atol=1e-3)
        np.testing.assert_allclose((1 - body[..., 1]).min() * 480, 100, atol=1e-3)


def test_texts_that_overlap_have_lanes_of_their_own() -> None:
    sample = make_sample(streams=("imu",))
    sample.texts = [
        {"text": "all", "start_s": 0, "end_s": 6, "kind": "label"},
        {"text": "first half with $ and more words", "start_s": 0, "end_s": 3, "kind": "description"},
        {"text": "second half", "start_s": 3, "end_s": 6, "kind": "description"},
        {"text": "a moment", "start_s": 2, "end_s": 2, "kind": "commentary"},
    ]
    bars = [p.get_bbox().bounds for p in rows(sample)[""].patches if isinstance(p, Rectangle)]
    assert sorted((round(x, 2), int(y), round(width)) for x, y, width, _ in bars) == [
        (0, 0, 6),
        (0, 1, 3),
        (2, 2, 0),
        (3, 1, 3),
    ]


def test_a_sample_of_texts_alone_and_one_of_nothing_have_a_picture() -> None:
    assert len(picture(make_sample(streams=())).axes) == 1
    assert not picture(make_sample(streams=(), texts=False)).axes
