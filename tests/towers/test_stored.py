"""The hash of a frozen tower: it changes with what changes the embeddings, and with nothing else."""

import pytest
import torch

from aura.data.config import Window
from aura.towers import build_tower, make_tokenizer
from aura.towers.stored import check_storable, tower_hash
from tests.towers.tiny import TOWERS

WINDOW = Window()


def make(name, seed=0, **changes):
    """A frozen tower, its input, its tokenizer; `changes` are of the tower's configuration."""
    torch.manual_seed(seed)
    config, settings, _ = TOWERS[name]
    config = type(config).model_validate(config.model_dump() | {"tuning": "frozen"} | changes)
    return build_tower(config, settings, 5.0), settings, config


def hash_of(name, seed=0, window=WINDOW, settings=None, **changes):
    tower, own, config = make(name, seed, **changes)
    tokenize = make_tokenizer({"text": config}) if own.kind == "text" else None
    return tower_hash(tower, own if settings is None else settings, window, tokenize)


@pytest.mark.parametrize("name", ["clip_video", "hf_video", "clip_text"])
def test_the_weights_decide(name):
    assert hash_of(name) == hash_of(name)
    assert len(hash_of(name)) == 16
    assert hash_of(name) != hash_of(name, seed=1)


def test_one_weight_of_a_trunk_is_enough():
    tower, settings, _ = make("clip_video")
    before = tower_hash(tower, settings, WINDOW, None)
    with torch.no_grad():
        list(tower.trunk.parameters())[-1].flatten()[3] += 1e-6
    assert tower_hash(tower, settings, WINDOW, None) != before


def test_what_a_tower_is_given_decides():
    settings = TOWERS["clip_video"][1]
    plain = hash_of("clip_video")
    assert hash_of("clip_video", normalize=False) != plain
    assert hash_of("clip_video", settings=settings.model_copy(update={"grid_hz": 4.0})) != plain
    # An image tower sees one frame at a time.
    assert hash_of("clip_video", settings=settings.model_copy(update={"frames": 2, "stored": True})) == plain
    assert hash_of("clip_video", window=Window(seconds=2.0)) == plain
    clips = hash_of("hf_video")
    assert hash_of("hf_video", settings=settings.model_copy(update={"frames": 2})) != clips
    assert hash_of("hf_video", window=Window(seconds=2.0)) != clips
    assert hash_of("clip_text", max_words=5) != hash_of("clip_text")


def test_what_follows_the_trunk_does_not_decide():
    tower, settings, _ = make("clip_video_temporal")
    before = tower_hash(tower, settings, WINDOW, None)
    with torch.no_grad():
        next(tower.temporal.parameters()).add_(1)
    assert tower_hash(tower, settings, WINDOW, None) == before


def test_only_frozen_towers_of_video_and_text_can_be_stored():
    assert check_storable("video", make("clip_video")[0], WINDOW).frozen
    with pytest.raises(ValueError, match=r"towers\.video is trained.*set towers\.video\.tuning=frozen"):
        check_storable("video", make("clip_video", tuning={"kind": "last"})[0], WINDOW)
    with pytest.raises(ValueError, match="of video and text towers only, this is ImuTransformer"):
        check_storable("imu", make("imu")[0], WINDOW)
    with pytest.raises(ValueError, match="of the stream `text` only"):
        check_storable("text_b", make("clip_text")[0], WINDOW)
