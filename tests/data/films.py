"""Films of cameras that lie on their side, and films of frames that are too large."""

import io
import struct
from fractions import Fraction

import av
import numpy as np

# How a player turns the picture, clockwise, as phones write it: x' = a x + c y, y' = b x + d y.
MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def with_matrix(mp4: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """The file with another display matrix, which is nine numbers in the header of its track."""
    at = mp4.index(_matrix(1, 0, 0, 1), mp4.index(b"tkhd"))
    return mp4[:at] + _matrix(a, b, c, d) + mp4[at + 36 :]


def _matrix(a: int, b: int, c: int, d: int) -> bytes:
    return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)


def blocks(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames (T, H, W, 3) of blocks of 8 pixels: no turned or mirrored one looks like another."""
    colours = np.random.default_rng(5).integers(0, 255, (count, height // 8, width // 8, 3))
    return np.kron(colours, np.ones((1, 8, 8, 1))).astype(np.uint8)


def encoded(frames: np.ndarray, pixel: Fraction = Fraction(1), fps: int = 10) -> bytes:
    """mp4 whose pixels have this width to their height, a key frame each second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.sample_aspect_ratio = pixel
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = fps, 0
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def huge(width: int, height: int, count: int, fps: int = 10) -> bytes:
    """mp4 of one grey frame again and again: few bytes, many pixels, and soon made."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([100]) * plane.buffer_size)
        (key,) = [*stream.encode(frame), *stream.encode()]
        for number in range(count):
            packet = av.Packet(bytes(key))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, fps), True
            packet.pts = packet.dts = number
            container.mux(packet)
    return buffer.getvalue()
