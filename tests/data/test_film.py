"""Films as cameras write them are shown as they are meant to be."""

from fractions import Fraction

import numpy as np
import pytest

from aura.data.film import measure
from aura.data.video import decode_frames
from tests.data.films import MATRICES, blocks, encoded, huge, with_matrix

TIMES = np.arange(12) / 10


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_frames_are_turned_upright(clockwise):
    film = encoded(blocks(12))
    stored = decode_frames(film, TIMES)
    turned = with_matrix(film, *MATRICES[clockwise])
    shown = decode_frames(turned, TIMES)
    np.testing.assert_array_equal(shown, np.rot90(stored, -clockwise // 90, axes=(1, 2)))
    assert shown.flags.c_contiguous
    assert decode_frames(turned, []).shape == (0, *shown.shape[1:])
    found = measure(turned)
    assert ((found.height, found.width), found.frames) == (shown.shape[1:3], 12)
    assert found.seconds == pytest.approx(1.2)


def test_frames_are_mirrored():
    film = encoded(blocks(12))
    stored = decode_frames(film, TIMES)
    np.testing.assert_array_equal(decode_frames(with_matrix(film, -1, 0, 0, 1), TIMES), stored[:, :, ::-1])
    np.testing.assert_array_equal(decode_frames(with_matrix(film, 0, 1, 1, 0), TIMES), stored.swapaxes(1, 2))


@pytest.mark.parametrize(
    ("pixel", "clockwise", "size"),
    [(Fraction(4, 3), 0, (64, 36)), (Fraction(1, 2), 0, (32, 48)), (Fraction(4, 3), 90, (36, 64))],
)
def test_pixels_become_square(pixel, clockwise, size):
    film = with_matrix(encoded(blocks(12), pixel), *MATRICES[clockwise])
    found = measure(film)
    shown = decode_frames(film, TIMES)
    assert (found.width, found.height) == (shown.shape[2], shown.shape[1]) == size
    # What was in a corner is in the corner where it belongs.
    corner = {0: (slice(1, 4), slice(1, 4)), 90: (slice(1, 4), slice(-4, -1))}[clockwise]
    np.testing.assert_allclose(shown[0][corner].mean((0, 1)), blocks(12)[0, 0, 0], atol=20)


def test_a_frame_is_kept_as_it_is_wanted():
    film = encoded(blocks(12))
    seen = []
    kept = decode_frames(film, TIMES, lambda image: seen.append(image.shape) or image[:2, :3, 0])
    np.testing.assert_array_equal(kept, decode_frames(film, TIMES)[:, :2, :3, 0])
    assert seen == [(48, 64, 3)] * 12


def test_frames_that_are_too_large_are_not_decoded():
    film = huge(8000, 8000, 2)
    for read in (measure, lambda film: decode_frames(film, [0.0])):
        with pytest.raises(ValueError, match="frames are of 8000 x 8000 pixels, at most 8192 x 4608 are read"):
            read(film)


def test_strips_are_refused():
    for film in (huge(1700, 96, 2), with_matrix(huge(1700, 96, 2), *MATRICES[90]), encoded(blocks(2), Fraction(20))):
        for read in (measure, lambda film: decode_frames(film, [0.0])):
            with pytest.raises(ValueError, match="frames are strips of"):
                read(film)
