"""Figures of the page: what is drawn is what was found."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from aura.tasks.figures import Shots, calibration_figure, confusion_figure, curves_figure, map_figure, shots_figure
from aura.tasks.scores import Interval, calibration


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
    streams, labels = ([t.get_text() for t in legend.get_texts()] for legend in figure.legends)
    assert streams == ["imu", "mocap"]
    assert labels == ["k0", "k1", "k2"]
    for axes in figure.axes[:2]:
        for collection, (_, _, own) in zip(axes.collections, sides):
            shown = [labels[i] for i in colours_of(figure, collection.get_facecolors())]
            assert sorted(shown) == sorted(own), "a point has the colour of its label"
        assert not axes.texts


def colours_of(figure, colours):
    known = np.array([to_rgb(handle.get_color()) for handle in figure.legends[1].get_lines()])
    return [int(np.abs(known - colour[:3]).sum(1).argmin()) for colour in colours]


def test_map_of_many_labels_has_their_numbers_where_they_lie():
    rng = np.random.default_rng(0)
    names = [f"kind {i:02}" for i in range(27)] + ["costs $5 or $6"]
    labels = [name for name in names for _ in range(8)]
    vectors = np.eye(28)[[names.index(label) for label in labels]] + 0.01 * rng.normal(size=(len(labels), 28))
    figure = map_figure([("imu", vectors, labels)])
    told = [t.get_text() for t in figure.legends[1].get_texts()]
    assert told[:2] == [r"1 costs \$5 or \$6", "2 kind 00"]
    assert len(told) == 28
    near = figure.axes[1]
    assert [t.get_text() for t in near.texts] == [str(i) for i in range(1, 29)]
    (points,) = (collection.get_offsets() for collection in near.collections)
    for text, name in zip(near.texts, sorted(names)):
        nearest = np.linalg.norm(points - np.array(text.get_position()), axis=1).argmin()
        assert labels[nearest] == name
    FigureCanvasAgg(figure).draw()


def test_a_large_confusion_matrix_is_as_large_as_its_labels_need():
    names = [f"a class of a long name {i}" for i in range(36)]
    matrix = np.diag(np.arange(36)) + np.eye(36, k=1) * 1234
    figure = confusion_figure(matrix, names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / 36
    height = axes.get_xticklabels()[0].get_window_extent().width
    assert cell > 1.2 * height, "labels do not touch"
    assert {t.get_text() for t in axes.texts} == {str(i) for i in range(1, 36)} | {"1234"}
    assert all(t.get_window_extent().width < cell for t in axes.texts)
    box = figure.bbox
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        extent = label.get_window_extent()
        assert extent.x0 >= box.x0
        assert extent.y0 >= box.y0


def test_shots_have_their_intervals_and_chance():
    points = [(10, Interval(0.8, 0.7, 0.9, 5)), (1, Interval(0.5, 0.4, 0.6, 5))]
    few = [(1, Interval(0.3, None, None, 1, "no interval")), (10, Interval(0.4, None, None, 1, "no interval"))]
    figure = shots_figure({"imu": Shots({"linear": points}, 0.1, 0.2), "mocap": Shots({"linear": few}, 0.05, 0.3)})
    imu, mocap = figure.axes
    curve, chance, majority = imu.lines
    np.testing.assert_allclose(curve.get_xydata(), [(1, 0.5), (10, 0.8)])
    assert [line.get_ydata()[0] for line in (chance, majority)] == [0.1, 0.2]
    (band,) = imu.collections
    assert {tuple(point) for point in band.get_paths()[0].vertices} == {(1, 0.4), (1, 0.6), (10, 0.7), (10, 0.9)}
    assert not mocap.collections
    assert [t.get_text() for t in mocap.get_legend().get_texts()] == ["linear", "chance", "always the most frequent"]


def test_curves_stand_above_what_is_known():
    time = np.linspace(0, 4, 9)
    figure = curves_figure(time, {"walk": np.sin(time)}, [("walks", 0.0, 2.0), ("$x$", 2.0, 4.0)], "cosine")
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.lines[0].get_ydata(), np.sin(time))
    assert [(bar.get_x(), bar.get_width()) for bar in lower.patches] == [(0.0, 2.0), (2.0, 2.0)]
