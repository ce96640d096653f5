"""Video written and read back; frames are told apart by their brightness."""

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from aura.data.video import decode_frames, encode_h264


def gray(count: int, size: int = 32) -> np.ndarray:
    """Frames whose brightness is 5 times their index."""
    return np.repeat(np.arange(count, dtype=np.uint8) * 5, size * size * 3).reshape(count, size, size, 3)


def index_of(frames: np.ndarray) -> np.ndarray:
    return np.rint(frames.mean((1, 2, 3)) / 5).astype(int)


def mp4(count: int, *, gop: int, b_frames: int = 0, first: int = 0, gaps: tuple[int, ...] = ()) -> bytes:
    """A file with settings of others: 10 ticks a second, frames numbered from `first`, ticks in `gaps` left out."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"x264-params": "scenecut=0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        stream.codec_context.time_base = Fraction(1, 10)
        for image, tick in zip(gray(count), [t for t in range(count + len(gaps)) if t not in gaps]):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = first + tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def test_written_form_and_same_bytes_twice() -> None:
    data = encode_h264(gray(25), 10)
    assert data == encode_h264(gray(25), 10)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 10)
        assert not stream.codec_context.has_b_frames
        packets = [p for p in container.demux(stream) if p.size]
    assert [i for i, p in enumerate(packets) if p.is_keyframe] == [0, 10, 20]


def test_a_key_frame_at_least_every_second_at_any_rate() -> None:
    data = encode_h264(gray(40), 18.7)
    with av.open(io.BytesIO(data)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        keys = [float(p.pts * p.time_base) for p in packets if p.is_keyframe]
        assert float(packets[-1].pts * packets[-1].time_base) == pytest.approx(39 / 18.7, abs=1e-3)
    assert np.diff(keys).max() <= 1.0


@pytest.mark.parametrize("b_frames", [0, 2])
def test_nearest_frame_in_any_order_full_and_by_groups(b_frames: int) -> None:
    data = mp4(50, gop=10, b_frames=b_frames)
    times = np.arange(50) / 10
    np.testing.assert_array_equal(index_of(decode_frames(data, times)), np.arange(50))
    # Two groups of five: decoded from their key frames. Unsorted, one twice, off the grid.
    few = [3.14, 0.26, 3.14, 3.0, 3.9]
    np.testing.assert_array_equal(index_of(decode_frames(data, few)), [31, 3, 31, 30, 39])
    assert decode_frames(data, []).shape == (0, 32, 32, 3)


def test_few_frames_are_decoded_from_their_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of two frames near key frames is a few packets, not the file."""
    import aura.data.video as video

    fed = []
    original = video._decode_from

    def counted(context: object, packets: list, begin: int, *rest: object) -> None:
        fed.append(begin)
        original(context, packets, begin, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(video, "_decode_from", counted)
    data = mp4(50, gop=10)
    assert index_of(decode_frames(data, [1.0, 4.1])).tolist() == [10, 41]
    assert fed == [10, 40]


def test_first_stamp_is_not_zero() -> None:
    """Times count from the first frame, wherever the file's clock starts."""
    data = mp4(20, gop=10, first=37)
    with av.open(io.BytesIO(data)) as container:
        assert next(container.decode(video=0)).pts > 0
    np.testing.assert_array_equal(index_of(decode_frames(data, [0.0, 0.5, 1.9])), [0, 5, 19])


def test_uneven_stamps_are_read_by_stamp_not_by_index() -> None:
    data = mp4(20, gop=10, gaps=(5, 6, 7, 8, 9))
    np.testing.assert_array_equal(index_of(decode_frames(data, [0.4, 1.0, 2.4])), [4, 5, 19])


def test_time_outside() -> None:
    data = encode_h264(gray(20), 10)
    assert index_of(decode_frames(data, [-0.05, 2.0])).tolist() == [0, 19]
    with pytest.raises(ValueError, match=r"time 2\.500 s lies outside.*0 to 1\.900"):
        decode_frames(data, [0.0, 2.5])
    with pytest.raises(ValueError, match="lies outside"):
        decode_frames(data, [np.nan])


def test_truncated_and_damaged_files_name_the_cause(tmp_path: Path) -> None:
    data = encode_h264(np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8), 10)
    for part in (data[: len(data) // 2], data[:40], b"", b"not a video" * 100):
        with pytest.raises(ValueError, match="truncated or damaged"):
            decode_frames(part, [0.0])
    # The index at the front, the frames cut off.
    path = tmp_path / "front.mp4"
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    front = path.read_bytes()
    assert front.index(b"moov") < front.index(b"mdat")
    with pytest.raises(ValueError, match="truncated"):
        decode_frames(front[: len(front) // 2], [0.0])


def test_frames_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_h264(gray(3).astype(np.float32), 10)
    with pytest.raises(ValueError, match="even"):
        encode_h264(gray(3, size=31), 10)


@pytest.mark.realdata
def test_real_file_with_b_frames() -> None:
    """A camera's own file: frames by time are those of plain decoding."""
    root = Path(os.environ.get("AURA_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = root / "video_samples" / "cam01.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set AURA_DATA to the folder that holds video_samples")
    data = path.read_bytes()
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
    first = float(frames[0].time)
    picks = [0, 1, len(frames) // 2, len(frames) - 1]
    got = decode_frames(data, [float(frames[i].time) - first for i in picks])
    for image, i in zip(got, picks):
        np.testing.assert_array_equal(image, frames[i].to_ndarray(format="rgb24"))


def test_frames_one_by_one_give_the_same_bytes():
    frames = gray(25)
    assert encode_h264(iter(frames), 10) == encode_h264(frames, 10)
    with pytest.raises(ValueError, match="no frame"):
        encode_h264(iter(frames[:0]), 10)
    with pytest.raises(ValueError, match=r"frames must be uint8 \(T, H, W, 3\)"):
        encode_h264(iter(frames.astype(np.float32)), 10)
    with pytest.raises(ValueError, match="frames differ"):
        encode_h264(iter([frames[0], frames[1][:8]]), 10)
