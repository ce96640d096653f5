"""Projection against the pinhole equations."""

import numpy as np
import pytest

from aura.body.cameras import Camera, look_at, project


def test_axes_and_pinhole_equations() -> None:
    """A camera 4 m before the origin, looking along +y: image right is +x, image up is +z."""
    camera = look_at([0, -4, 1], [0, 0, 1], width=101, height=81, fov_deg=90)
    assert camera.fx == pytest.approx(50.5)
    points = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 2], [1, 4, 0]], float)
    expected = [[50, 40, 1], [50 + 50.5 / 4, 40, 1], [50, 40 - 50.5 / 4, 1], [50 + 50.5 / 8, 40 + 50.5 / 8, 1]]
    np.testing.assert_allclose(project(points, camera), expected, atol=1e-9)
    assert camera.intrinsics() == {"width": 101, "height": 81, "fx": camera.fx, "fy": camera.fy, "cx": 50, "cy": 40}


def test_unseen_points_have_no_confidence_and_no_place() -> None:
    camera = look_at([0, -4, 1], [0, 0, 1], width=101, height=81, fov_deg=90)
    behind, at_the_lens, left, below = [0, -8, 1], [0, -4, 1], [-9, 0, 1], [0, 0, -9]
    np.testing.assert_array_equal(project(np.array([behind, at_the_lens, left, below], float), camera), 0)
    assert project(np.zeros((7, 17, 3)), camera).shape == (7, 17, 3)


def test_edges_of_the_image() -> None:
    """The first pixel's centre is 0: the image goes from -0.5 to width - 0.5."""
    camera = Camera(10, 10, 1.0, 1.0, 0.0, 0.0, np.eye(3), np.zeros(3))
    xs = np.array([-0.51, -0.5, 9.49, 9.5])
    seen = project(np.stack([xs, 0 * xs, 0 * xs + 1], -1), camera)[:, 2]
    np.testing.assert_array_equal(seen, [0, 1, 1, 0])


def test_rotation_is_a_rotation_from_anywhere() -> None:
    rng = np.random.default_rng(0)
    for eye, target in rng.normal(size=(20, 2, 3)):
        camera = look_at(eye, target, width=64, height=48, fov_deg=60)
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        np.testing.assert_allclose(project(target, camera), [31.5, 23.5, 1], atol=1e-9)
    with pytest.raises(ValueError, match="one above the other"):
        look_at([0, 0, 3], [0, 0, 0], width=64, height=48, fov_deg=60)
