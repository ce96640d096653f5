"""Towers small enough for tests, of every kind."""

import torch

from aura.data.config import ImuInput, MocapInput, Pose2dInput, SeriesInput, TextInput, VideoInput
from aura.towers.baselines.rnn import MocapRnnConfig, Mw2Config
from aura.towers.baselines.senvt import SenvtConfig
from aura.towers.imu import ImuTransformerConfig
from aura.towers.motion import MotionTransformerConfig
from aura.towers.series import SeriesTransformerConfig
from aura.towers.text import ClipTextConfig, HfTextConfig
from aura.towers.video import ClipVideoConfig, HfVideoConfig
from tests.towers.streams import imu_stream, series_stream, skeleton_stream, text_stream, video_stream

CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 3, "head_width": 32},
    "text_cfg": {"width": 32, "heads": 2, "layers": 3, "context_length": 16},
}
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
}
MAE = {
    "model_type": "videomae",
    "image_size": 32,
    "patch_size": 16,
    "num_frames": 4,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SMALL = {"width": 32, "depth": 3, "heads": 2, "stem": 8}


def ids(rows=3, length=16, vocabulary=100):
    made = torch.randint(3, vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))
    made[:, 10] = 49407 if vocabulary > 49000 else 2
    made[:, 11:] = 0
    return made


# name -> configuration, its input, a stream that fits; windows of 5 s
TOWERS = {
    "imu": (ImuTransformerConfig(**SMALL), ImuInput(sensors=2), lambda: imu_stream(3, 2)),
    "mocap": (MotionTransformerConfig(**SMALL), MocapInput(), lambda: skeleton_stream("mocap")),
    "pose2d": (MotionTransformerConfig(**SMALL), Pose2dInput(), lambda: skeleton_stream("pose2d", "coco17")),
    "series": (
        SeriesTransformerConfig(**SMALL),
        SeriesInput(rate_hz=4, channels=("a 1", "b 1"), mean=(80, 15), std=(20, 5)),
        series_stream,
    ),
    "clip_video": (ClipVideoConfig(model=CLIP), VideoInput(size=32), video_stream),
    "clip_video_temporal": (ClipVideoConfig(model=CLIP, temporal="transformer"), VideoInput(size=32), video_stream),
    "hf_video": (HfVideoConfig(model=MAE), VideoInput(size=32), video_stream),
    "clip_text": (ClipTextConfig(model=CLIP), TextInput(), lambda: text_stream(ids(vocabulary=49400))),
    "hf_text": (HfTextConfig(model=BERT, length=16), TextInput(), lambda: text_stream(ids())),
    "senvt": (SenvtConfig(dropout=0.0), ImuInput(rate_hz=200), lambda: imu_stream(2, 1, 1000)),
    "mw2": (Mw2Config(width=32), ImuInput(rate_hz=200), lambda: imu_stream(2, 1, 1000)),
    "mocap_rnn": (
        MocapRnnConfig(width=32),
        MocapInput(rate_hz=10, skeleton="coco17"),
        lambda: skeleton_stream("mocap", "coco17", items=50),
    ),
}
