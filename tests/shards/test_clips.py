"""Clips of video files: copied or encoded anew, each frame at its time."""

import io
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aura.data.video import decode_frames, encode_h264
from shards import clips as clips_module
from shards.clips import Clip, clips, look
from shards.films import Film
from tests.data.films import MATRICES, blocks, encoded, with_matrix


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that shows its number as eight black or white bars."""
    bars = np.array([255 * (index >> bit & 1) for bit in range(8)], np.uint8)
    return np.broadcast_to(np.repeat(bars, width // 8)[None, :, None], (height, width, 3))


def number(image: np.ndarray) -> int:
    lit = image.mean((0, 2)).reshape(8, -1).mean(1) > 127
    return int((lit * 2 ** np.arange(8)).sum())


def numbers(clip: Clip) -> list[int]:
    shown = decode_frames(clip.mp4, np.arange(clip.frames) / clip.rate_hz)
    return [number(image) for image in shown]


def file_of(path: Path, frames: int, fps: int = 30, size: tuple[int, int] = (48, 64), **options: str) -> Path:
    """A file of x264's own settings, or with options of it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(frames):
            image = np.ascontiguousarray(picture(index, *size))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_file_that_fits_is_copied_at_its_key_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(encode_h264(np.stack([picture(i) for i in range(100)]), 25))
    file = look(path)
    assert (file.fits, file.frames, file.rate_hz) == (True, 100, pytest.approx(25))
    first, second = clips(file, [(0.0, 1.5), (1.5, 4.0)])
    assert first is not None
    assert second is not None
    assert (first.copied, second.copied) == (True, True)
    assert (first.start_s, first.rate_hz, numbers(first)) == (0.0, pytest.approx(25), list(range(38)))
    # 1.5 s is frame 37.5: the clip begins at the key frame before, at 1 s.
    assert (second.start_s, numbers(second)) == (pytest.approx(1.0), list(range(25, 100)))
    assert next(clips(file, [(1.5, 4.0)])) == second
    assert list(clips(file, [(5.0, 6.0)])) == [None]


def test_groups_with_b_frames_are_copied_whole(tmp_path: Path) -> None:
    path = file_of(tmp_path / "b.mp4", 90, x264opts="keyint=30:min-keyint=30:scenecut=0:bframes=3:b-adapt=0")
    file = look(path)
    assert file.fits
    assert (np.diff(file.times) < 0).any()
    (clip,) = clips(file, [(1.2, 1.6)])
    assert clip is not None
    assert (clip.start_s, numbers(clip)) == (pytest.approx(1.0), list(range(30, 60)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"x264opts": "keyint=30:min-keyint=30:scenecut=0:bframes=3:b-adapt=0:open-gop=1"},
        {"x264opts": "keyint=60:scenecut=0"},
    ],
)
def test_others_are_encoded_anew_on_an_even_grid(tmp_path: Path, options: dict) -> None:
    file = look(file_of(tmp_path / "c.mp4", 100, **options))
    assert not file.fits
    first, second, beyond = clips(file, [(0.0, 1.5), (1.5, 4.0), (4.0, 5.0)])
    assert first is not None
    assert second is not None
    assert beyond is None
    assert (first.start_s, first.rate_hz, numbers(first)) == (0.0, 10.0, list(range(0, 45, 3)))
    # The file ends at 3.3 s, at frame 99.
    assert (second.start_s, numbers(second)) == (1.5, list(range(45, 100, 3)))
    assert not first.copied
    written = tmp_path / "again.mp4"
    written.write_bytes(first.mp4)
    assert look(written).fits


def test_a_larger_file_is_scaled_to_the_side(tmp_path: Path) -> None:
    path = tmp_path / "d.mp4"
    path.write_bytes(encode_h264(np.stack([picture(i, 96, 160) for i in range(30)]), 10))
    (clip,) = clips(look(path), [(0.0, 2.0)], side=48)
    assert clip is not None
    assert (clip.width, clip.height, clip.frames, clip.copied) == (80, 48, 20, False)
    assert numbers(clip) == list(range(20))
    (same,) = clips(look(path), [(0.0, 2.0)], side=96)
    assert same is not None
    assert (same.copied, same.width) == (True, 160)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_a_film_on_its_side_is_stored_upright(tmp_path: Path, clockwise: int) -> None:
    """The pictures are turned, and no reader of the clip turns them again."""
    path, plain = tmp_path / "turned.mp4", encoded(blocks(30))
    path.write_bytes(with_matrix(plain, *MATRICES[clockwise]))
    expected = np.rot90(decode_frames(plain, np.arange(30) / 10), -clockwise // 90, axes=(1, 2))
    file = look(path)
    assert ((file.height, file.width), file.fits) == (expected.shape[1:3], False)
    (clip,) = clips(file, [(0.0, 3.0)])
    assert clip is not None
    assert ((clip.height, clip.width), clip.copied) == (expected.shape[1:3], False)
    (film,) = Film(path).clips([(np.arange(30), 10.0)])
    assert not isinstance(film, str)
    assert (film[0]["camera"]["height"], film[0]["camera"]["width"]) == expected.shape[1:3]
    for mp4 in (clip.mp4, film[1]):
        shown = decode_frames(mp4, np.arange(30) / 10)
        assert np.abs(shown.astype(int) - expected).mean() < 10  # H.264 loses some
        with av.open(io.BytesIO(mp4)) as container:
            assert all(frame.rotation == 0 for frame in container.decode(video=0))


def test_pixels_that_are_not_square_are_stored_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    path.write_bytes(encoded(blocks(30), Fraction(4, 3)))
    (clip,) = clips(look(path), [(0.0, 3.0)])
    assert clip is not None
    assert (clip.width, clip.height, clip.copied) == (64, 36, False)
    with av.open(io.BytesIO(clip.mp4)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 0, 1)


def test_a_rate_that_varies_is_read_by_time(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in [*range(0, 30), *range(60, 90)]:  # half a second of frames is lost in between
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture(index)), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (clip,) = clips(look(path), [(0.0, 3.0)])
    assert clip is not None
    shown = numbers(clip)
    assert shown[:10] == list(range(0, 30, 3))
    assert shown[20:] == list(range(60, 90, 3))
    assert set(shown[10:20]) == {29, 60}


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good = encode_h264(np.stack([picture(i) for i in range(20)]), 10)
    for name, data in {"cut.mp4": good[: len(good) // 2], "text.mp4": b"not a video" * 9, "none.mp4": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=name) as found:
            list(clips(look(tmp_path / name), [(0.0, 2.0)]))
        assert str(tmp_path) not in str(found.value), "what is dropped is written to the shards, the same everywhere"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.add_stream("aac", rate=8000)
    (tmp_path / "sound.mp4").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"sound\.mp4"):
        look(tmp_path / "sound.mp4")


def test_pictures_are_encoded_as_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip of 100 pictures takes the memory of a few, and its bytes are those of all of them at once."""
    path = tmp_path / "long.mp4"
    path.write_bytes(encode_h264(np.stack([picture(i, 96, 160) for i in range(100)]), 10))
    file, seen = look(path), []

    def film() -> bytes:
        (found,) = Film(path).clips([(np.arange(100), 10.0)])
        assert not isinstance(found, str)
        assert found[0]["length"] == 100
        return found[1]

    def clip() -> bytes:
        (found,) = clips(file, [(0.0, 10.0)], side=80)
        assert found is not None
        assert not found.copied
        assert found.frames == 100
        return found.mp4

    for make in (film, clip):
        make()
        tracemalloc.start()
        mp4 = make()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 * 96 * 160 * 3
        with monkeypatch.context() as patch:
            real = clips_module._picture
            patch.setattr(clips_module, "_picture", lambda *rest, real=real: seen.append(real(*rest)) or seen[-1])
            make()
        assert mp4 == encode_h264(np.stack(seen), 10.0)
        assert len(seen) == 100
        seen.clear()
