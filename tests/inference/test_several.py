"""Recordings of several rates, units, places and lengths in one call: each answer is that of a call of its own."""

import warnings

import numpy as np
import pytest
import torch

import aura
from aura.body.skeletons import SKELETONS
from aura.data.units import G
from aura.inference.spread import spread
from aura.train.recipe import make_recipe
from tests.inference.tiny import tiny_aura
from tests.train.batches import tiny_recipe


@pytest.fixture(scope="module")
def model():
    return tiny_aura()


@pytest.fixture(scope="module")
def placed():
    """A model that reads the sensors at two places."""
    values = tiny_recipe().model_dump(mode="json")
    values["inputs"]["imu"] |= {"placements": ["left wrist", "left hip"]}
    return tiny_aura(recipe=make_recipe(values))


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", aura.InputWarning)
        yield


def signal(seconds: float, rate_hz: float, sensors: int = 1, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(sensors, round(seconds * rate_hz), 6))
    values[..., 2] += G
    return values[0] if sensors == 1 else values


def alone(ask, settings: list[dict]) -> list:
    return [ask(**one) for one in settings]


def check(ask, settings: list[dict], together: dict) -> None:
    """Of embeddings; and that another order of what is said of them gives others."""
    expected = torch.stack(alone(ask, settings))
    torch.testing.assert_close(ask(**together), expected, atol=1e-6, rtol=0)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_rates_units_and_places_of_each(model):
    a, b, c = signal(5, 50), signal(3, 100, seed=1) * 0.1, signal(2, 31.7, sensors=2, seed=2)
    said = [
        {"rate_hz": 50, "units": "m/s^2", "gyro_units": "rad/s", "placements": ["left wrist"]},
        {"rate_hz": 100, "units": "g", "gyro_units": "deg/s", "placements": "left hip"},
        {"rate_hz": 31.7, "units": "mg", "gyro_units": "rad/s", "placements": ["chest", "right thigh"]},
    ]
    values = [a, b, c]
    settings = [{"imu": x, **one} for x, one in zip(values, said)]
    together = {"imu": values} | {name: [one[name] for one in said] for name in said[0]}
    check(model.embed, settings, together)
    arrays = together | {"rate_hz": np.array(together["rate_hz"]), "units": tuple(together["units"])}
    assert torch.equal(model.embed(**arrays), model.embed(**together))

    by_window = model.embed(by_window=True, **together)
    assert by_window.recording.tolist() == [0, 0, 0, 1, 1, 2]
    each = [model.embed(by_window=True, **one) for one in settings]
    for name in ("vectors", "start_s", "span_s"):
        wanted = torch.cat([getattr(one, name) for one in each])
        torch.testing.assert_close(getattr(by_window, name), wanted, atol=1e-6, rtol=0)

    labels = ["walking", "sitting"]
    for found, one in zip(model.classify(labels, **together), settings):
        wanted = model.classify(labels, **one)
        assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
        torch.testing.assert_close(found.by_window, wanted.by_window, atol=1e-6, rtol=0)
    hits = model.search(by_window.vectors[4], by_window, k=1)
    assert (hits[0].recording, hits[0].start_s) == (1, 1.0)


def test_one_value_holds_for_all(model):
    values = [signal(4, 50), signal(2, 50, seed=1)]
    said = {"rate_hz": 50, "units": "m/s^2", "placements": ["left hip"]}
    check(model.embed, [{"imu": x, **said} for x in values], {"imu": values, **said})
    stacked = np.stack([signal(3, 50, 2), signal(3, 50, 2, seed=1)])
    said["placements"] = ["left hip", "chest"]
    check(model.embed, [{"imu": x, **said} for x in stacked], {"imu": stacked, **said})


def test_what_one_recording_is_changes_nothing_of_another(placed):
    """One at the places of training, one elsewhere with more sensors: the first is still read by its places alone."""
    a, b, c = signal(3, 20, 2), signal(4, 20, 3, seed=1), signal(2, 20, seed=2)
    places = [["left hip", "head"], ["head", "chest", "neck"], ["left wrist"]]
    settings = [{"imu": x, "rate_hz": 20, "placements": p} for x, p in zip((a, b, c), places)]
    check(placed.embed, settings, {"imu": [a, b, c], "rate_hz": 20, "placements": places})
    only = placed.embed(imu=a[0], rate_hz=20, placements=["left hip"])
    torch.testing.assert_close(placed.embed(**settings[0]), only, atol=1e-6, rtol=0)  # that at the head is not read


def test_names_of_places_without_lists_of_their_own():
    """Flat names are those of every recording's sensors; of several recordings with one sensor each, theirs in order."""
    one, two = np.ones((40, 6)), np.ones((2, 40, 6))
    names = ["left wrist", "left hip"]

    def read(recordings):
        return [settings["placements"] for settings in spread({"placements": names}, recordings)]

    assert read([two, two]) == [names, names]
    assert read([two]) == [names]
    assert read([one, one]) == names
    assert read([one[None], one.tolist()]) == names
    for recordings, told in (([one, two], "1, 2"), ([one, one, one], "1, 1, 1"), ([two, two, one], "2, 2, 1")):
        with pytest.raises(ValueError, match=rf"names 2 sensors, the {len(recordings)} recordings have {told}: give"):
            read(recordings)
    nested = [names, ["chest"]]
    assert [s["placements"] for s in spread({"placements": nested}, [two, one])] == nested
    assert spread({"placements": "left hip"}, [one, one]) == [{"placements": "left hip"}] * 2
    assert spread({"placements": [None, "left hip"]}, [one, one]) == [{"placements": None}, {"placements": "left hip"}]


def test_skeletons_units_and_axes_of_bodies(model):
    rng = np.random.default_rng(3)
    body = rng.uniform(0, 1.7, (1, 20, 3)) + 0.01 * rng.normal(size=(60, 20, 3)).cumsum(0)
    order = rng.permutation(20)
    tree = SKELETONS["kinect20"]
    new = {int(old): i for i, old in enumerate(order)}
    parents = [new[tree.parents[i]] if tree.parents[i] >= 0 else -1 for i in order]
    other = {"joints": [tree.joints[i] for i in order], "parents": parents}
    values = [body, 1000 * body[:40][:, order]]
    said = {"rate_hz": [10, 20], "units": ["m", "mm"], "up": ["z", "y"], "skeleton": ["kinect20", other]}
    settings = [{"mocap": x} | {name: each[i] for name, each in said.items()} for i, x in enumerate(values)]
    check(model.embed, settings, {"mocap": values, **said})


def test_sizes_of_images(model):
    pose = np.concatenate([np.random.default_rng(4).uniform(0, 300, (50, 17, 2)), np.ones((50, 17, 1))], -1)
    values = [pose, pose[:30] / 2]
    sizes = [(640, 480), (320, 240)]
    for given, read in (
        (sizes, sizes),
        (np.array(sizes), [[640, 480], [320, 240]]),
        (sizes[0], [sizes[0]] * 2),
        (np.array(sizes[0]), [sizes[0]] * 2),
        ([640, 480], [[640, 480]] * 2),
    ):
        found = [settings["image_size"] for settings in spread({"image_size": given}, values)]
        assert [list(size) for size in found] == [list(size) for size in read]
    settings = [{"pose2d": x, "rate_hz": r, "image_size": s} for x, r, s in zip(values, (10, 25), sizes)]
    check(model.embed, settings, {"pose2d": values, "rate_hz": [10, 25], "image_size": sizes})


def test_films_of_several_rates(model):
    frames = np.random.default_rng(5).integers(0, 255, (60, 16, 16, 3)).astype(np.uint8)
    values = [frames[:20], frames[20:]]
    settings = [{"video": x, "rate_hz": rate} for x, rate in zip(values, (10, 20))]
    check(model.embed, settings, {"video": values, "rate_hz": [10, 20]})


def test_bodies_of_several_images_are_localised(model):
    rng = np.random.default_rng(6)
    pose = np.concatenate([rng.uniform(0, 300, (80, 17, 2)), np.ones((80, 17, 1))], -1)
    worn = {"imu": signal(8, 20, 2), "rate_hz": 20}
    bodies = {"pose2d": [pose, pose[::-1] * [2, 2, 1]], "rate_hz": 10}
    found = model.localise(worn, bodies | {"image_size": [(640, 480), (1280, 960)]})
    each = [
        model.localise(worn, {"pose2d": x, "rate_hz": 10, "image_size": size})
        for x, size in zip(bodies["pose2d"], [(640, 480), (1280, 960)])
    ]
    torch.testing.assert_close(found.similarity, torch.cat([x.similarity for x in each]), atol=1e-6, rtol=0)


def test_orientations_of_each():
    a, b = np.ones((2, 40, 4)), np.ones((2, 60, 4))
    values = [np.ones((2, 40, 6)), np.ones((2, 60, 6))]
    assert [s["orientation"].shape for s in spread({"orientation": [a, b]}, values)] == [a.shape, b.shape]
    assert [s["orientation"].shape for s in spread({"orientation": a}, values)] == [a.shape] * 2
    assert [s["orientation"].shape for s in spread({"orientation": np.stack([a, a])}, values)] == [a.shape] * 2
    assert [np.shape(s["orientation"]) for s in spread({"orientation": a.tolist()}, values)] == [a.shape] * 2


WRONG = [
    ({"rate_hz": [50]}, "rate_hz has 1 values, there are 2 recordings: give one that holds for all"),
    ({"rate_hz": [50, 50, 50]}, "rate_hz has 3 values, there are 2 recordings"),
    ({"rate_hz": 50, "units": ["g", "mg", "g"]}, "units has 3 values, there are 2 recordings"),
    ({"rate_hz": 50, "units": ["m/s^2", "G"]}, "recording 1: units is 'G'"),
    ({"rate_hz": [50, 0]}, "recording 1: rate_hz is 0"),
    ({"rate_hz": [50, None]}, "recording 1: rate_hz is None"),
    ({"rate_hz": 50, "placements": [["left hip"]]}, "placements has 1 values, there are 2 recordings"),
    ({"rate_hz": 50, "placements": ["left hip", "chest", "head"]}, "names 3 sensors, the 2 recordings have 1, 1"),
    (
        {"rate_hz": 50, "placements": [["left hip"], ["chest", "head"]]},
        "recording 1: placements names 2 sensors, imu has 1",
    ),
    ({"rate_hz": 50, "orientation": [np.ones((1, 100, 4))] * 3}, "orientation has 3 values, there are 2 recordings"),
    ({"units": "g"}, "rate_hz is missing"),
]


@pytest.mark.parametrize(("said", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_does_not_fit_is_told_with_counts(model, said, message):
    with pytest.raises(ValueError, match=message):
        model.embed(imu=[signal(2, 50), signal(2, 50)], **said)


def test_lists_said_of_one_recording(model):
    given = {"imu": signal(2, 50), "rate_hz": 50}
    with pytest.raises(ValueError, match="rate_hz has 2 values, there is 1 recording"):
        model.embed(**given | {"rate_hz": [50, 100]})
    with pytest.raises(ValueError, match="units has 2 values, there is 1 recording"):
        model.synchronise({**given, "units": ["g", "g"]}, given)
    with pytest.raises(ValueError, match="a is a list of 2 recordings: give one"):
        model.synchronise({"imu": [given["imu"]] * 2, "rate_hz": [50, 50]}, given)
    with pytest.raises(ValueError, match="image_size is missing: say image_size"):
        model.embed(pose2d=np.ones((40, 17, 2)), rate_hz=10)
