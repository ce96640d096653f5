"""Series as people have them."""

import warnings

import numpy as np
import pytest
import torch

import aura
from aura.model_card import model_card
from tests.inference.tiny import tiny_aura
from tests.train.batches import CLIP, tiny_recipe

NAMES = ["heart_rate bpm", "breath_rate 1/min"]


@pytest.fixture(scope="module")
def model():
    values = tiny_recipe().model_dump()
    recipe = type(tiny_recipe()).model_validate(
        {
            "name": "tiny",
            "data": values["data"],
            "inputs": {
                "series_body": {"rate_hz": 2, "channels": NAMES, "mean": [80, 15], "std": [20, 5]},
                "video": {"frames": 2, "size": 16},
                "text": {},
            },
            "towers": {
                "series_body": {"kind": "series_transformer", "width": 16, "depth": 1, "heads": 2},
                "video": {"kind": "clip_video", "model": CLIP},
                "text": {"kind": "clip_text", "model": CLIP},
            },
            "embedding": 16,
            "objective": {"pairs": ["series_body:text", "series_body:video"]},
            "train": values["train"],
        }
    )
    made = tiny_aura(recipe=recipe)
    known = {"rate_hz": [2, 2, 2], "channels": {NAMES[0]: [60, 80, 150]}}
    made.config = made.config.model_copy(update={"statistics": {"series_body": known}})
    return made


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    found = np.stack([rng.normal(80, 5, 40), rng.normal(15, 2, 40)], 1)
    found[6:8] = np.nan
    return found


def test_lists_forms_and_missing_values(model, values):
    one = model.embed(series_body=values, rate_hz=2)
    assert one.norm() == pytest.approx(1)
    other = model.embed(series_body=[values, values[:20]], rate_hz=[2, 4])
    torch.testing.assert_close(other[0], one)
    filled = np.where(np.isnan(values), 80, values)
    assert not torch.allclose(model.embed(series_body=filled, rate_hz=2), one)


def test_channels_are_matched_by_name(model, values):
    one = model.embed(series_body=values, rate_hz=2)
    turned = model.embed(series_body=values[:, ::-1], rate_hz=2, channels=NAMES[::-1])
    torch.testing.assert_close(turned, one)
    heart = model.embed(series_body=values[:, 0], rate_hz=2, channels=NAMES[:1])
    assert heart.shape == (16,)
    with pytest.raises(ValueError, match="has 1 channels, channels names 2: heart_rate bpm"):
        model.embed(series_body=values[:, 0], rate_hz=2)
    with pytest.raises(ValueError, match=r"has 'heart_rate Hz', .* asks for 'heart_rate bpm'"):
        model.embed(series_body=values[:, 0], rate_hz=2, channels=["heart_rate Hz"])
    with pytest.raises(ValueError, match="series_body: channels: 'heart_rate' is no name and unit, such as"):
        model.embed(series_body=values[:, 0], rate_hz=2, channels=["heart_rate"])


def test_what_cannot_be_read_or_looks_odd_is_told(model, values):
    with pytest.raises(ValueError, match="every value is missing"):
        model.embed(series_body=np.full((40, 2), np.nan), rate_hz=2)
    with pytest.raises(ValueError, match="not finite"):
        model.embed(series_body=values * np.inf, rate_hz=2)
    with pytest.raises(ValueError, match="rate_hz is missing"):
        model.embed(series_body=values)
    with pytest.warns(aura.InputWarning, match=r"heart_rate is 1\.\d+ bpm, 60 to 150 bpm in training"):
        model.embed(series_body=values / 60, rate_hz=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.embed(series_body=values, rate_hz=2)


def test_the_card_says_what_is_read(model):
    card = model_card(model.config.model_dump(mode="json"))
    assert "heart_rate bpm, breath_rate 1/min, at 2 Hz" in card
    assert "signals over time" in card


def test_a_window_of_missing_values_is_named(model, values):
    values[4:16] = np.nan
    with pytest.raises(
        ValueError, match="too few values that are not missing from 2 to 4 s: the model needs at least 1 s of them"
    ):
        model.embed(series_body=values, rate_hz=2)
