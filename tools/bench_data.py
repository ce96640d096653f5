"""What `tools/bench.py` reads: shards and clips made for it, and how they are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], float]  # of a variant: does it once, and says how many units it did

READ_INPUTS = {
    "imu": {"rate_hz": 200},
    "mocap": {"rate_hz": 20, "skeleton": "coco17"},
    "pose2d": {"rate_hz": 15, "skeleton": "coco17"},
}


def prepare(settings: dict) -> None:
    """Writes what the cases read, into the folder of the settings."""
    import bench_convert

    from aura.data.video import encode_h264

    folder = Path(settings["folder"])
    if "short" in settings:
        make_shards(Path(settings["short"]), settings["samples"], 5.0, 1)
    if "long" in settings:
        make_shards(Path(settings["long"]), settings["long_samples"], 60.0, 5)
    if "clips" in settings:
        for i in range(settings["clips"]):
            (folder / f"default-{i}.mp4").write_bytes(encode_default(make_frames(i, 30, 224), 30))
            (folder / f"ours-{i}.mp4").write_bytes(encode_h264(make_frames(i, 10, 224), 10))
    if "stored" in settings:
        clips = [encode_h264(make_frames(i, 10, 224), 10) for i in range(4)]
        make_shards(Path(settings["video"]), settings["video_samples"], 5.0, 1, clips)
        make_stored(settings["video"], settings["stored"], settings["model"], settings["batch"])
    bench_convert.prepare(settings)


def make_sample(number: int, seconds: float, sensors: int, video: bytes | None = None, frames: int = 0) -> Any:
    """A sample of noise: IMU of 200 Hz, 17 joints of motion capture (20 Hz) and of 2D pose (15 Hz), video if given."""
    from aura.body.placements import PLACEMENTS
    from aura.data.sample import Sample

    rng = np.random.default_rng(number)
    camera = {"width": 640, "height": 480}
    imu, mocap = rng.normal(0, 5, (sensors, round(200 * seconds), 6)), rng.normal(0, 1, (round(20 * seconds), 17, 3))
    pose = rng.uniform(1, 400, (round(15 * seconds), 17, 3))
    pose[..., 2] = 1
    streams = {
        "imu": {
            "rate_hz": 200,
            "sensors": [{"placement": name, "channels": ["acc", "gyro"]} for name in list(PLACEMENTS)[1 : sensors + 1]],
        },
        "mocap": {"rate_hz": 20, "skeleton": "coco17"},
        "pose2d": {"rate_hz": 15, "skeleton": "coco17", "camera": camera},
    }
    lengths = {"imu": imu.shape[1], "mocap": len(mocap), "pose2d": len(pose)}
    arrays: dict[str, Any] = {"imu": imu, "mocap": mocap, "pose2d": pose}
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    if video is not None:
        streams["video"] = {"rate_hz": 10, "camera": {"width": 224, "height": 224}}
        lengths["video"], arrays["video"] = frames, video
    return Sample(
        id=f"s{number:06d}",
        dataset="bench",
        recording=f"r{number:06d}",
        duration_s=seconds,
        streams={name: {"start_s": 0, "length": lengths[name]} | entry for name, entry in streams.items()},
        arrays=arrays,
        subject=f"p{number % 8}",
        labels={"activity": f"a{number % 16}"},
        texts=[{"text": f"a person does {number % 16}", "start_s": 0, "end_s": seconds, "kind": "label"}],
    )


def make_shards(folder: Path, samples: int, seconds: float, sensors: int, clips: list[bytes] | None = None) -> None:
    from aura.data.writer import ShardWriter

    size = 1_000_000 + samples * round(seconds * sensors * 12_000) // 4  # about four shards
    with ShardWriter(folder, name="bench", shard_bytes=size) as writer:
        for i in range(samples):
            video = clips[i % len(clips)] if clips else None
            writer.write("train", make_sample(i, seconds, sensors, video, round(10 * seconds)))


def make_frames(number: int, fps: int, side: int, seconds: float = 5.0) -> np.ndarray:
    """A texture that moves, with noise: frames (T, side, side, 3) uint8."""
    rng = np.random.default_rng(number)
    texture = rng.uniform(0, 255, (side // 8 + 16, side // 8 + 16, 3)).repeat(8, 0).repeat(8, 1)
    times = np.arange(round(fps * seconds)) / fps
    frames = [texture[round(12 * t) :, round(20 * t) :][:side, :side] for t in times]
    return np.clip(frames + rng.normal(0, 6, (len(times), side, side, 3)), 0, 255).astype(np.uint8)


def encode_default(frames: np.ndarray, fps: int) -> bytes:
    """H.264 as x264 writes it unless told otherwise (preset medium, B frames, CRF 23), with a key frame a second."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "23", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.gop_size = fps
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def config_of(folder: str, workers: int, seconds: float = 5.0) -> Any:
    from aura.data.config import DataConfig

    return DataConfig.model_validate(
        {
            "sources": [{"path": folder}],
            "eval": [{"path": folder, "split": "train"}],
            "window": {"seconds": seconds},
            "workers": workers,
        }
    )


def inputs_of(sensors: int = 1) -> dict[str, Any]:
    from aura.data.config import ImuInput, MocapInput, Pose2dInput

    kinds = {"imu": ImuInput, "mocap": MocapInput, "pose2d": Pose2dInput}
    made = {name: kinds[name].model_validate(settings) for name, settings in READ_INPUTS.items()}
    return made | {"imu": made["imu"].model_copy(update={"sensors": sensors})}


def train_recipe(folder: str, model: Any, batch: int, stored: bool) -> Any:
    from aura.train.recipe import make_recipe

    side = 224 if isinstance(model, str) else model["vision_cfg"]["image_size"]
    return make_recipe(
        {
            "name": "bench",
            "data": {"sources": [{"path": folder}], "window": {"seconds": 5.0}, "workers": 0},
            "inputs": {
                "imu": {"rate_hz": 50},
                "video": {"frames": 4, "size": side, "grid_hz": 2.0, "stored": stored},
            },
            "towers": {
                "imu": {"kind": "imu_transformer"},
                "video": {"kind": "clip_video", "model": model, "tuning": "frozen"},
            },
            "objective": {"pairs": ["imu:video"]},
            "train": {"steps": 1000, "batch": batch},
        }
    )


def make_stored(source: str, out: str, model: Any, batch: int) -> None:
    """Runs tools/precompute.py's function on the bench's video shards."""
    from precompute import precompute

    precompute(source, train_recipe(source, model, batch, False), Path(out), batch=32)
