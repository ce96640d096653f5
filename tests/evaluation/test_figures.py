"""Figures of the page: what is drawn is what was found."""

import numpy as np

from aura.tasks.figures import calibration_figure, confusion_figure, curves_figure, map_figure
from aura.tasks.scores import calibration


def test_confusion_matrix_has_every_count():
    matrix = np.array([[3, 1, 0], [0, 5, 0], [0, 2, 2]])
    figure = confusion_figure(matrix, ["a", "b", "c"])
    axes = figure.axes[0]
    texts = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert texts == {(i, j): str(matrix[i, j]) for i, j in zip(*np.nonzero(matrix))}
    np.testing.assert_allclose(axes.images[0].get_array(), matrix / matrix.sum(1, keepdims=True))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a (4)", "b (5)", "c (4)"]


def test_calibration_shows_its_bins():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 200)
    found = calibration(p, rng.integers(0, 3, 200))
    upper, lower = calibration_figure(found).axes
    x, y = upper.lines[1].get_data()
    np.testing.assert_allclose(x, [row["confidence"] for row in found.bins])
    np.testing.assert_allclose(y, [row["accuracy"] for row in found.bins])
    assert sum(bar.get_height() for bar in lower.patches) == 200


def test_map_has_a_point_a_window_of_each_stream():
    rng = np.random.default_rng(0)
    sides = [
        (name, rng.normal(size=(n, 8)), [f"k{i % 3}" for i in range(n)]) for name, n in (("imu", 30), ("mocap", 9))
    ]
    figure = map_figure(sides)
    for axes in figure.axes[:2]:
        assert [len(c.get_offsets()) for c in axes.collections if len(c.get_offsets())] == [30, 9]
    assert {t.get_text() for t in figure.legends[0].get_texts()} == {"imu", "mocap", "k0", "k1", "k2"}


def test_curves_stand_above_what_is_known():
    time = np.linspace(0, 4, 9)
    figure = curves_figure(time, {"walk": np.sin(time)}, [("walks", 0.0, 2.0), ("$x$", 2.0, 4.0)], "cosine")
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.lines[0].get_ydata(), np.sin(time))
    assert [(bar.get_x(), bar.get_width()) for bar in lower.patches] == [(0.0, 2.0), (2.0, 2.0)]
