"""Recordings as people have them: every form of the same recording gives the same embedding, and all of it is read."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import aura
from aura.body.skeletons import SKELETONS
from aura.data.video import decode_frames, encode_h264
from aura.inference.model import Aura
from aura.inference.pieces import pieces
from aura.inference.recordings import imu_record, mocap_record, video_record
from aura.train.recipe import make_recipe
from tests.data.films import MATRICES, blocks, encoded, with_matrix
from tests.inference.tiny import tiny_aura
from tests.train.batches import tiny_recipe

RATE = 20.0


@pytest.fixture(scope="module")
def model():
    return tiny_aura()


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", aura.InputWarning)
        yield


@pytest.fixture
def signal():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(int(5 * RATE), 6)).astype(np.float32)
    values[:, 2] += 9.81
    return values


@pytest.fixture
def walk():
    """A body of kinect20 that moves, z up: (T, 20, 3) metres at 10 Hz."""
    rng = np.random.default_rng(4)
    still = rng.uniform(0, 1.7, size=(1, 20, 3))
    return (still + 0.1 * rng.normal(size=(60, 20, 3)).cumsum(0) * 0.1).astype(np.float32)


def test_every_form_of_an_array_is_the_same(model, signal):
    expected = model.embed(imu=signal, rate_hz=RATE)
    assert expected.shape == (16,)
    assert expected.norm() == pytest.approx(1)
    forms = [torch.from_numpy(signal), signal[None], pd.DataFrame(signal), signal.tolist(), signal[None].tolist()]
    for form in forms:
        torch.testing.assert_close(model.embed(imu=form, rate_hz=RATE), expected)
    assert model.embed(imu=[signal], rate_hz=RATE).shape == (1, 16)
    assert model.embed(imu=signal[None, None], rate_hz=RATE).shape == (1, 16)


def test_acceleration_alone_has_no_angular_velocity(model, signal):
    record = imu_record(signal[:, :3], RATE)
    assert record.head["streams"]["imu"]["sensors"][0]["channels"] == ["acc"]
    zeros = np.concatenate([signal[:, :3], np.zeros_like(signal[:, 3:])], 1)
    alone, with_zeros = (model.embed(imu=x, rate_hz=RATE) for x in (signal[:, :3], zeros))
    assert alone.shape == with_zeros.shape


def test_y_up_and_millimetres_are_z_up_and_metres(model, walk):
    expected = model.embed(mocap=walk, rate_hz=10)
    y_up = np.stack([walk[..., 0], walk[..., 2], -walk[..., 1]], -1) * 1000
    torch.testing.assert_close(model.embed(mocap=y_up, rate_hz=10, up="y", units="mm"), expected, atol=1e-5, rtol=0)
    # Right-handed before and after: the frame is turned, not mirrored.
    basis = mocap_record(np.eye(3)[:, None].repeat(20, 1), 1, "kinect20", up="y").array("mocap")[:, 0]
    assert np.linalg.det(basis) == pytest.approx(1)


def test_a_skeleton_in_place_is_matched_by_names(model, walk):
    tree = SKELETONS["kinect20"]
    order = np.random.default_rng(0).permutation(20)
    place = {int(old): new for new, old in enumerate(order)}
    parents = [place[tree.parents[i]] if tree.parents[i] >= 0 else -1 for i in order]
    given = {"joints": [tree.joints[i] for i in order], "parents": parents}
    found = model.embed(mocap=walk[:, order], rate_hz=10, skeleton=given)
    torch.testing.assert_close(found, model.embed(mocap=walk, rate_hz=10), atol=1e-6, rtol=0)


def test_a_film_as_path_bytes_or_frames(model, tmp_path):
    rng = np.random.default_rng(5)
    frames = np.kron(rng.integers(0, 255, (30, 4, 4, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    film = encode_h264(frames, 10, crf=1)
    (tmp_path / "film.mp4").write_bytes(film)
    record = video_record(film)
    assert (record.entry["duration_s"], record.head["streams"]["video"]["rate_hz"]) == (3.0, 10.0)
    expected = model.embed(video=film)
    assert torch.equal(model.embed(video=tmp_path / "film.mp4"), expected)
    assert torch.equal(model.embed(video=str(tmp_path / "film.mp4")), expected)
    torch.testing.assert_close(model.embed(video=frames, rate_hz=10), expected, atol=0.02, rtol=0)  # H.264 loses some
    assert model.embed(video=[film, film]).shape == (2, 16)


@pytest.mark.parametrize("clockwise", MATRICES)
def test_a_film_that_lies_on_its_side_is_turned(model, clockwise):
    stored = blocks(30)
    film = encoded(stored)
    upright = np.rot90(decode_frames(film, np.arange(30) / 10), -clockwise // 90, axes=(1, 2))
    turned = with_matrix(film, *MATRICES[clockwise])
    camera = video_record(turned).head["streams"]["video"]["camera"]
    assert (camera["height"], camera["width"]) == upright.shape[1:3]
    found = model.embed(video=turned)
    torch.testing.assert_close(found, model.embed(video=upright, rate_hz=10), atol=1e-6, rtol=0)
    assert clockwise == 0 or not torch.allclose(found, model.embed(video=film), atol=1e-2)


def test_frames_may_be_a_view(model):
    frames = blocks(30)
    view = frames[..., ::-1]  # as OpenCV's BGR becomes RGB
    view.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(model.embed(video=view, rate_hz=10), model.embed(video=view.copy(), rate_hz=10))


def test_all_of_a_long_recording_is_read(model, signal):
    windows = model.embed(imu=signal, rate_hz=RATE, by_window=True)
    assert windows.start_s.tolist() == [0, 2, 3]  # the last one ends with the recording of 5 s
    late = signal.copy()
    late[-4:] += 5
    changed = model.embed(imu=late, rate_hz=RATE, by_window=True)
    assert torch.equal(changed.vectors[0], windows.vectors[0])
    assert not torch.allclose(changed.vectors[2], windows.vectors[2])
    assert model.embed(imu=signal, rate_hz=RATE, by_window=True, stride_s=0.5).start_s.tolist() == [
        0, 0.5, 1, 1.5, 2, 2.5, 3,
    ]  # fmt: skip
    assert model.embed(imu=signal, rate_hz=RATE, by_window=True, window_s=4).span_s.tolist() == [4, 4]
    found = model.embed(imu=[signal, signal[: int(2 * RATE)]], rate_hz=RATE, by_window=True)
    assert found.recording.tolist() == [0, 0, 0, 1]
    mean = torch.nn.functional.normalize(found.vectors[:3].mean(0), dim=-1)
    torch.testing.assert_close(found.means[0], mean)


def test_a_model_of_whole_clips_reads_a_recording_as_one(signal):
    model = tiny_aura({"whole": True})
    assert model.embed(imu=signal, rate_hz=RATE, by_window=True).span_s.tolist() == [5]
    cut = model.embed(imu=signal, rate_hz=RATE, by_window=True, window_s=2)
    assert cut.start_s.tolist() == [0, 2, 3]
    first = model.embed(imu=signal[: int(2 * RATE)], rate_hz=RATE)
    torch.testing.assert_close(cut.vectors[0], first, atol=0.02, rtol=0)  # the filter sees a bit beyond the cut
    record = imu_record(signal, RATE)
    assert [p.cut.share for p in pieces(0, record, model.config.window.model_copy(update={"stride_s": 2.0}), 2.0)] == [
        0.4
    ] * 3


def test_a_model_of_whole_clips_tells_no_moments(walk):
    model = tiny_aura({"whole": True})
    with pytest.raises(ValueError, match="cannot tell when something happened"):
        model.synchronise({"mocap": walk, "rate_hz": 10}, {"mocap": walk, "rate_hz": 10})


def test_a_body_of_which_little_is_seen_is_answered_by_what_is(model):
    from aura.inference.align import _assigned

    similarity = torch.full((3, 6), -torch.inf)
    similarity[:, 0], similarity[:, 5] = torch.tensor([0.9, 0.1, 0.2]), torch.tensor([0.3, 0.8, 0.1])
    mean, parts = _assigned(similarity)
    assert parts == ["left arm", "trunk", "left arm"]
    assert mean == pytest.approx(0.85)
    assert _assigned(torch.full((2, 6), -torch.inf))[1] == ["", ""]


def test_a_recording_of_several_activities_is_the_mean_of_its_windows(model, signal):
    found = model.classify(
        labels=["walking", "running", "sitting"], imu=np.concatenate([signal, -3 * signal]), rate_hz=RATE
    )
    assert len(found.by_window) > 2
    assert list(found.probabilities.values()) == pytest.approx(found.by_window.mean(0).tolist())
    assert found.label == max(found.probabilities, key=found.probabilities.get)


def test_search_finds_the_window_of_an_embedding(model, signal):
    other = np.roll(signal, 7, axis=1)
    windows = model.embed(imu=[signal, other], rate_hz=RATE, by_window=True)
    hits = model.search(windows.vectors[4], windows, k=2)
    assert (hits[0].recording, hits[0].start_s) == (1, 2.0)
    assert hits[0].score == pytest.approx(1, abs=1e-6)
    assert hits[0].score >= hits[1].score
    assert len(model.search("a word", windows, k=99)) == 6


def test_a_query_is_one_embedding_of_any_library(model, signal):
    windows = model.embed(imu=[signal, signal[:50]], rate_hz=RATE, by_window=True)
    query = windows.vectors[1]
    expected = model.search(query, windows, k=3)
    for form in (query.numpy(), query.tolist(), 3 * query.double(), query[None]):
        found = model.search(form, windows, k=np.int64(3))
        assert [(hit.recording, hit.start_s) for hit in found] == [(hit.recording, hit.start_s) for hit in expected]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)
    assert len(model.search(query, windows, k=10**9)) == len(windows.vectors)


@pytest.mark.parametrize("k", [-1, 0, 1.5, "3", None])
def test_a_number_of_hits_that_is_none_is_told(model, signal, k):
    windows = model.embed(imu=signal, rate_hz=RATE, by_window=True)
    with pytest.raises(ValueError, match=f"k is {k!r}: say how many windows"):
        model.search(windows.vectors[0], windows, k=k)


QUERIES = [
    (torch.ones(2, 16), r"the query has shape \(2, 16\): give one embedding \(D,\) at a time"),
    (torch.tensor(1.0), r"the query has shape \(\)"),
    (torch.ones(5), "the query has 5 numbers, each window 16: embed both by the same model"),
    (torch.full((16,), torch.nan), "the query: 16 of 16 numbers are not finite"),
    (torch.zeros(16), "the query is all zeros"),
    (["walking", "sitting"], "the query is a list: give words, or one embedding"),
    (None, "the query is a NoneType"),
    ("", "strings that say something"),
]


@pytest.mark.parametrize(("query", "message"), QUERIES, ids=[message for _, message in QUERIES])
def test_a_query_that_fits_nothing_is_told(model, signal, query, message):
    windows = model.embed(imu=signal, rate_hz=RATE, by_window=True)
    with pytest.raises(ValueError, match=message):
        model.search(query, windows)


def test_a_gallery_of_others_is_told(model, signal):
    windows = model.embed(imu=signal, rate_hz=RATE, by_window=True)
    with pytest.raises(ValueError, match=r"windows is a Tensor: give what embed\(..., by_window=True\) gives"):
        model.search("a word", windows.vectors)
    with pytest.raises(ValueError, match="the query has 16 numbers, each window 12"):
        model.search("a word", dataclasses.replace(windows, vectors=windows.vectors[:, :12]))
    broken = windows.vectors.clone()
    broken[1, 3] = torch.inf
    with pytest.raises(ValueError, match="windows: 1 of 48 numbers are not finite"):
        model.search("a word", dataclasses.replace(windows, vectors=broken))


def test_a_body_and_its_sensors_are_synchronised_and_placed(model, signal):
    rng = np.random.default_rng(6)
    pose = np.concatenate([rng.uniform(0, 300, (80, 17, 2)), np.ones((80, 17, 1))], -1)
    moved = {"pose2d": pose, "rate_hz": 10, "image_size": (640, 480)}
    long = np.tile(signal, (2, 2, 1))[:, :160]
    found = model.synchronise({"imu": long, "rate_hz": RATE, "placements": ["left wrist", "right ankle"]}, moved)
    assert np.isfinite(found.offset.offset_s)
    assert found.shared == 2
    placed = model.localise({"imu": long, "rate_hz": RATE}, moved | {"pose2d": [pose, pose[::-1]]})
    assert placed.similarity.shape[:2] == (2, 2)
    assert placed.body in (0, 1)
    assert len(set(placed.parts)) == 2


def told(ask, **given) -> list[str]:
    """What is odd of a recording; every warning points here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask(**given)
    assert {one.filename for one in caught} <= {__file__}
    return [str(one.message) for one in caught if issubclass(one.category, aura.InputWarning)]


def test_points_that_are_shares_of_the_image_are_told(model):
    shares = np.random.default_rng(7).uniform(0, 1, (40, 17, 2))
    for size in ((640, 480), (1, 1)):
        given = {"rate_hz": 10, "image_size": size}
        (message,) = told(model.embed, pose2d=shares, **given)
        assert "are they shares of the image? Multiply x by its width and y by its height" in message
        assert len(told(model.embed, pose2d=2 * shares - 1, **given)) == 1
        assert told(model.embed, pose2d=shares * [640, 480], **given) == []
    unknown = np.concatenate([shares * [640, 480], np.ones((40, 17, 1))], -1)
    unknown[:, :15] = 0  # points that are not known lie at the corner
    assert told(model.embed, pose2d=unknown, rate_hz=10, image_size=(640, 480)) == []
    messages = told(model.embed, pose2d=[shares, shares * [640, 480]], rate_hz=10, image_size=(640, 480))
    assert [message.split(":")[0] for message in messages] == ["recording 0"]


def trained(model, **imu) -> Aura:
    """The model as if it had been trained on such signals."""
    return Aura(model.config.model_copy(update={"statistics": {"imu": imu}}), model.module)


def test_places_that_are_not_said_are_told_once_by_a_model_that_reads_them(model, signal):
    given = {"imu": signal, "rate_hz": RATE}
    knows = trained(model, placements={"unknown": 3, "left wrist": 5, "chest": 2})
    (message,) = told(knows.embed, **given)
    assert "placements are not given: the model was trained with sensors at left wrist, chest, and reads" in message
    assert len(told(knows.embed, **given | {"imu": [signal, signal, signal]})) == 1
    assert len(told(knows.embed, **given | {"imu": [signal, signal], "placements": [None, "chest"]})) == 1
    assert len(told(knows.classify, labels=["walking", "sitting"], **given)) == 1
    for said in ("chest", ["left_wrist"], "unknown"):
        assert told(knows.embed, **given, placements=said) == []
    assert told(knows.embed, imu=np.stack([signal, signal]), rate_hz=RATE, placements="unknown") == []
    assert told(model.embed, **given) == []  # nothing is known of its training
    assert told(trained(model, placements={"unknown": 9}).embed, **given) == []
    values = tiny_recipe().model_dump(mode="json")
    values["towers"]["imu"]["placements"] = False
    blind = tiny_aura(recipe=make_recipe(values))
    assert told(trained(blind, placements={"chest": 9}).embed, **given) == []
    values["inputs"]["imu"] |= {"placements": ["left ankle", "chest"]}  # which are read, and no others
    chosen = told(tiny_aura(recipe=make_recipe(values)).embed, **given)
    assert "trained with sensors at left ankle, chest" in chosen[0]


def test_fewer_sensors_than_ever_are_told_once(model, signal):
    both = trained(model, sensors=[2, 2])
    given = {"imu": signal, "rate_hz": RATE, "placements": "unknown"}
    (message,) = told(both.embed, **given)
    assert "1 sensor is given, the model was trained with 2 at a time, never with fewer" in message
    assert len(told(both.embed, **given | {"imu": [signal, signal, signal]})) == 1
    assert len(told(both.classify, labels=["walking", "sitting"], **given)) == 1
    assert told(both.embed, **given | {"imu": np.stack([signal, signal])}) == []
    assert told(trained(model, sensors=[1, 2]).embed, **given) == []
    values = tiny_recipe().model_dump(mode="json")
    values["inputs"]["imu"]["augment"]["drop_sensor"] = 0.3
    assert told(trained(tiny_aura(recipe=make_recipe(values)), sensors=[2, 2]).embed, **given) == []
    values = tiny_recipe().model_dump(mode="json")
    values["inputs"]["imu"] |= {"placements": ["left ankle", "chest"]}
    named = trained(tiny_aura(recipe=make_recipe(values)), sensors=[2, 2])
    two = {"imu": np.stack([signal, signal]), "rate_hz": RATE}
    assert told(named.embed, **two, placements=["chest", "left ankle"]) == []
    assert any("1 sensor is given" in text for text in told(named.embed, **two, placements=["chest", "head"]))


def test_who_asks_where_sensors_are_is_not_asked(model, signal):
    knows = trained(model, placements={"left wrist": 5})
    pose = np.random.default_rng(6).uniform(0, 300, (50, 17, 2))
    bodies = {"pose2d": pose, "rate_hz": 10, "image_size": (640, 480)}
    assert told(knows.localise, sensors={"imu": signal, "rate_hz": RATE}, bodies=bodies) == []


def test_rates_below_the_models_are_told(model, signal):
    assert "at 10 Hz: the model reads 20 Hz" in told(model.embed, imu=signal, rate_hz=10)[0]
    assert told(model.embed, imu=signal, rate_hz=19) == []
    assert told(trained(model, rate_hz=[8.0, 20.0, 50.0]).embed, imu=signal, rate_hz=10) == []  # as some were
    messages = told(model.embed, imu=[signal, signal], rate_hz=[20, 5])
    assert [message.split(":")[0] for message in messages] == ["recording 1"]


def test_units_go_by_every_spelling(model, signal, walk):
    expected = model.embed(imu=signal, rate_hz=RATE, gyro_units="deg/s")
    torch.testing.assert_close(model.embed(imu=signal, rate_hz=RATE, units="m/s2", gyro_units="°/s"), expected)
    expected = model.embed(mocap=walk * 100, rate_hz=10, units="cm")
    torch.testing.assert_close(model.embed(mocap=walk * 100, rate_hz=10, units="centimetres"), expected)


WRONG = [
    ({"imu": np.zeros((9, 4)), "rate_hz": RATE}, r"imu has shape \(9, 4\)"),
    ({"imu": np.zeros((0, 6)), "rate_hz": RATE}, r"shape \(0, 6\)"),
    ({"imu": [[1, 2, "x"]], "rate_hz": RATE}, "not an array of numbers"),
    ({"imu": np.full((40, 3), np.nan), "rate_hz": RATE}, r"120 of 120 values are not finite, first at \(0, 0\)"),
    ({"imu": np.ones((40, 3))}, "rate_hz"),
    ({"imu": np.ones((40, 3)), "rate_hz": 0}, "rate_hz is 0"),
    ({"imu": np.ones((40, 3)), "rate_hz": RATE, "units": "G"}, "units is 'G': one of m/s"),
    ({"imu": np.ones((40, 3)), "rate_hz": RATE, "placements": ["left wirst"]}, "the nearest known one is 'left wrist'"),
    (
        {"imu": np.ones((40, 3)), "rate_hz": RATE, "placements": ["pocket"]},
        "there are 'left hip pocket', 'right hip pocket', 'left chest",
    ),
    (
        {"imu": np.ones((40, 3)), "rate_hz": RATE, "unit": "g"},
        "unexpected keyword argument 'unit'; did you mean units?",
    ),
    ({"imu": np.ones((40, 3)), "rate_hz": RATE, "placements": ["chest", "head"]}, "names 2 sensors, imu has 1"),
    ({"imu": np.ones((40, 3)), "rate_hz": RATE, "colour": "red"}, "unexpected keyword argument 'colour'"),
    (
        {"imu": np.ones((10, 3)), "rate_hz": RATE},
        "recording 0 lasts 0.5 s: it must last at least 1 s, for the model reads windows of 2 s",
    ),
    ({"imu": [], "rate_hz": RATE}, r"imu has shape \(0,\)"),
    ({}, "give one of imu, mocap, pose2d, video; given: none"),
    ({"imu": np.ones((40, 3)), "mocap": np.ones((40, 20, 3)), "rate_hz": RATE}, "given: imu, mocap"),
    ({"imu_b": np.ones((40, 3)), "rate_hz": RATE}, "tiny reads no imu_b"),
    ({"mocap": np.ones((40, 19, 3)), "rate_hz": 10}, "has 19 joints, the skeleton kinect20 has 20"),
    ({"mocap": np.ones((40, 20, 3)), "rate_hz": 10, "skeleton": "kinect"}, "unknown skeleton 'kinect'"),
    ({"mocap": np.ones((40, 20, 3)), "rate_hz": 10, "up": "x"}, "up is 'x'"),
    ({"pose2d": np.ones((40, 17, 2)), "rate_hz": 10}, "image_size"),
    ({"pose2d": np.full((40, 17, 3), 2.0), "rate_hz": 10, "image_size": (9, 9)}, "confidences go from 2 to 2"),
    ({"video": b"no film"}, "no film"),
    ({"video": "nowhere.mp4"}, "nowhere.mp4 cannot be read"),
    ({"video": np.ones((9, 8, 8, 3))}, "frames are float64"),
    ({"video": []}, "video is an empty list"),
    ({"text": ""}, "strings that say something"),
    ({"text": "a", "by_window": True}, "text takes nothing else"),
    ({"imu": [np.ones((60, 3)), np.ones((60, 4))], "rate_hz": RATE}, "recording 1: imu has shape"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_read_is_told(model, given, message):
    with pytest.raises(ValueError, match=message):
        model.embed(**given)


def test_labels_that_are_none_are_told(model, signal):
    given = {"imu": signal, "rate_hz": RATE}
    for labels, message in (
        (None, "no classes of its own"),
        ("walk", "give a list of strings"),
        (["walk", "walk"], "two or more"),
        ([1, 2], "give a list of strings"),
    ):
        with pytest.raises(ValueError, match=message):
            model.classify(labels=labels, **given)
    wordings = model.classify(labels={"go": ["walking", "running"], "stay": "sitting"}, **given)
    assert set(wordings.probabilities) == {"go", "stay"}
    with pytest.raises(ValueError, match="pose2d was not trained with text; imu"):
        model.classify(labels=["a", "b"], pose2d=np.ones((40, 17, 2)), rate_hz=10, image_size=(9, 9))


def test_importing_the_package_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, aura; assert not {'torch', 'numpy', 'transformers'} & sys.modules.keys(), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        aura.nothing  # noqa: B018
