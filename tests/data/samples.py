"""Small samples whose values tell their time, so that a test can see which seconds it was given."""

from functools import lru_cache, partial

import numpy as np

from aura.data.sample import Sample
from aura.data.video import encode_h264
from aura.data.writer import ShardWriter


def clock(rate_hz, seconds, start_s=0.0):
    return start_s + np.arange(round(rate_hz * seconds)) / rate_hz


@lru_cache
def grey_video(count, fps):
    """Frames of one grey each: 4 x the frame's number (modulo 250)."""
    frames = np.broadcast_to((4 * np.arange(count) % 250).astype(np.uint8)[:, None, None, None], (count, 32, 48, 3))
    return encode_h264(frames, fps)


def make_sample(
    number=0,
    *,
    seconds=6.0,
    sensors=("left wrist", "chest"),
    imu_hz=100,
    streams=("imu", "orientation", "mocap", "pose2d"),
    texts=True,
    video_fps=10,
    subject=None,
):
    """imu: acceleration x is the time in the recording's clock, 100 x number + seconds; so are mocap's x of every joint
    and pose2d's x, in their units. Gravity is along z."""
    zero = 100.0 * number
    entries, arrays = {}, {}
    if "imu" in streams:
        times = clock(imu_hz, seconds)
        imu = np.zeros((len(sensors), len(times), 6), np.float32)
        imu[..., 0] = zero + times
        imu[..., 2] = 9.81
        imu[..., 3:] = np.arange(len(sensors))[:, None, None] + 1
        meta = [{"placement": p, "channels": ["acc", "gyro"], "virtual": False, "range": [0, 0]} for p in sensors]
        entries["imu"] = {"rate_hz": imu_hz, "start_s": 0, "length": len(times), "sensors": meta}
        arrays["imu"] = imu
    if "orientation" in streams:
        half = np.broadcast_to(clock(imu_hz, seconds) / 4, arrays["imu"].shape[:2])
        arrays["orientation"] = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], -1).astype(np.float32)
    if "mocap" in streams:
        times = clock(20, seconds)
        body = np.random.default_rng(number).normal((0, 0, 1), 0.4, (20, 3))
        mocap = np.repeat(body[None], len(times), 0)
        mocap[..., 0] += times[:, None]
        entries["mocap"] = {"rate_hz": 20, "start_s": 0, "length": len(times), "skeleton": "kinect20"}
        arrays["mocap"] = mocap.astype(np.float32)
    if "pose2d" in streams:
        times = clock(15, seconds)
        pose = np.ones((len(times), 17, 3))
        pose[..., 0] = 20 * times[:, None] + np.arange(17)
        pose[..., 1] = 100 + np.arange(17)
        camera = {"width": 640, "height": 480}
        entries["pose2d"] = {
            "rate_hz": 15,
            "start_s": 0,
            "length": len(times),
            "skeleton": "coco17",
            "camera": camera,
        }
        arrays["pose2d"] = pose.astype(np.float32)
    if "video" in streams:
        count = round(video_fps * seconds)
        camera = {"width": 48, "height": 32}
        entries["video"] = {"rate_hz": video_fps, "start_s": 0, "length": count, "camera": camera}
        arrays["video"] = grey_video(count, video_fps)
    words = [
        {"text": f"activity {number % 4}", "start_s": 0, "end_s": seconds, "kind": "label"},
        {"text": "the first half", "start_s": 0, "end_s": seconds / 2, "kind": "description"},
        {"text": "the end", "start_s": seconds - 1, "end_s": seconds, "kind": "description"},
    ]
    return Sample(
        id=f"clip-{number:04d}",
        dataset="test",
        recording=f"take_{number}",
        duration_s=seconds,
        streams=entries,
        arrays=arrays,
        session=f"room {number % 2}",
        subject=f"s{number % 3}" if subject is None else subject,
        start_s=zero,
        licence="CC0-1.0",
        labels={"activity": f"a{number % 4}"},
        texts=words if texts else [],
    )


def write_set(out, count=12, *, split="train", shard_bytes=120_000, also=(), **settings):
    """A folder of `count` samples in several shards; `also` are further (split, sample)."""
    with ShardWriter(out, name="test", shard_bytes=shard_bytes) as writer:
        for number in range(count):
            writer.write(split, make_sample(number, **settings))
        for other, sample in also:
            writer.write(other, sample)
    assert writer.manifest is not None
    return writer.manifest


def samples_of(recording, seconds=2.0):
    """A converter: two samples of a recording `rNN`, in train or val."""
    number = int(recording[1:])
    split = "val" if number % 4 == 3 else "train"
    return [(split, make_sample(2 * number + i, seconds=seconds)) for i in range(2)]


def failing_samples_of(recording, bad):
    if recording == bad:
        raise ValueError("a broken file")
    return samples_of(recording)


short_samples_of = partial(samples_of, seconds=1.0)
