"""Windows hold the seconds that they say, of every stream."""

from functools import partial

import numpy as np
import pytest
import torch

import aura.data.windows
from aura.body.placements import PLACEMENTS
from aura.body.skeletons import SKELETONS
from aura.data.config import ImuInput, MocapInput, Pose2dInput, TextInput, VideoInput, Window
from aura.data.cut import START_GRID_S, Cut, evaluation_count, evaluation_cut, training_cut
from aura.data.handover import allocate, flatten
from aura.data.index import BadSample, open_split
from aura.data.windows import Cutter, row_key
from aura.data.writer import ShardWriter
from tests.data.samples import make_sample, write_set

STREAMS = ("imu", "orientation", "mocap", "pose2d", "video")


def tokenize(texts):
    """One token a letter, zeros behind: what a row's words were can be read from its ids."""
    return torch.tensor([[ord(c) for c in text[:24].ljust(24, "\0")] for text in texts])


def cutter(window=None, *, training=True, **inputs):
    window = window or Window(seconds=2.0)
    return Cutter(inputs or {"imu": ImuInput(rate_hz=50, sensors=2)}, window, tokenize, training=training)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    out = tmp_path_factory.mktemp("windows") / "out"
    write_set(out, 6, streams=STREAMS)
    return open_split(str(out), "train")


@pytest.fixture
def one(tmp_path):
    """Writes one sample and opens it."""

    def write(sample):
        with ShardWriter(tmp_path / sample.id, name="test") as writer:
            writer.write("train", sample)
        return open_split(str(tmp_path / sample.id), "train").record(0)

    return write


ALL = {
    "imu": ImuInput(rate_hz=50, sensors=3, orientation=True),
    "mocap": MocapInput(rate_hz=20, skeleton="kinect20"),
    "pose2d": Pose2dInput(rate_hz=20),
    "video": VideoInput(frames=4, size=32, grid_hz=5),
    "text": TextInput(),
}


@pytest.mark.parametrize("training", [True, False])
def test_all_streams_show_the_same_seconds(split, training):
    made = cutter(training=training, **ALL)
    record = split.record(2)
    rows = [
        made.training_row(record, i, row_key(0, 0, 0, "x", i)) if training else made.evaluation_row(record, i, i)
        for i in range(3)
    ]
    batch = made.stack(rows)
    assert batch.row.tolist() == [0, 1, 2]
    assert batch.ids == ["clip-0002"] * 3
    assert batch.recordings == ["test/take_2"] * 3
    assert batch.labels[0] == {"activity": "a2"}
    if training:
        assert len(set(batch.start_s.tolist())) == 3
    else:
        assert batch.start_s.tolist() == [200.0, 202.0, 204.0]
    assert batch.span_s.tolist() == [2.0] * 3
    for i in range(3):
        start = batch.start_s[i].item()
        within = start - 200
        imu = batch.streams["imu"]
        assert imu.values.shape == (3, 3, 100, 6)
        inner = slice(12, -12)  # the filter's slope at the ends of a ramp
        seen = imu.values[i, 0, inner, 0].numpy()
        np.testing.assert_allclose(seen, start + np.arange(100)[inner] / 50, atol=2e-2)
        assert imu.sensor_mask[i].tolist() == [True, True, False]
        assert imu.valid[i].all(-1).tolist() == [True, True, False]
        assert not imu.values[i, 2].any()
        assert [PLACEMENTS[p] for p in imu.placement[i, :2]] == ["left wrist", "chest"]
        angle = 2 * torch.atan2(imu.orientation[i, 0, :, 3], imu.orientation[i, 0, :, 0])
        np.testing.assert_allclose(angle[inner], within / 2 + np.arange(100)[inner] / 100, atol=1e-3)
        mocap = batch.streams["mocap"].values[i].numpy()
        first = make_sample(2).arrays["mocap"][0, :, 0]
        middle = slice(9, -9) if 20 * within % 1 else slice(None)
        times = within + np.arange(40) / 20
        np.testing.assert_allclose((mocap[:, :, 0] - first)[middle], np.tile(times[middle, None], 20), atol=1e-2)
        pose = batch.streams["pose2d"].values[i]
        np.testing.assert_allclose(pose[9:-9, 0, 0], 20 * times[9:-9], atol=0.5)
        assert batch.streams["pose2d"].image_size[i].tolist() == [640, 480]
        frames = batch.streams["video"].values[i].float().mean((1, 2, 3))
        middles = within + np.array([0.25, 0.75, 1.25, 1.75])
        np.testing.assert_allclose(frames, 4 * 10 * middles, atol=4 * 10 * 0.1 + 3)  # half a step of the grid


def test_windows_of_a_row_depend_on_its_key_alone(split):
    made = cutter(**ALL)
    a = made.training_row(split.record(1), 0, 77)
    b = made.training_row(split.record(1), 5, 77)
    alone = cutter(imu=ALL["imu"]).training_row(split.record(1), 0, 77)
    for name in ("values", "placement"):
        np.testing.assert_array_equal(a.streams["imu"][name], b.streams["imu"][name])
        np.testing.assert_array_equal(a.streams["imu"][name], alone.streams["imu"][name])
    assert made.training_row(split.record(1), 0, 78).start_s != a.start_s


def test_training_starts_cover_the_sample_evenly_on_a_grid():
    starts = [training_cut(Window(seconds=2), 6.0, key).start_s for key in range(4000)]
    assert min(starts) == 0.0
    assert max(starts) == pytest.approx(4.0)
    np.testing.assert_allclose(np.array(starts) / START_GRID_S, np.rint(np.array(starts) / START_GRID_S), atol=1e-9)
    counts, _ = np.histogram(starts, bins=8, range=(0, 4 + START_GRID_S))
    assert counts.min() > 400
    assert training_cut(Window(seconds=8), 6.0, 1).start_s == 0.0


def test_evaluation_windows():
    window = Window(seconds=2, stride_s=1.5)
    assert [evaluation_count(window, d) for d in (0.5, 2.0, 3.4, 3.5, 6.0)] == [1, 1, 1, 2, 3]
    assert evaluation_cut(window, 6.0, 2) == Cut(3.0, 2.0, 2.0)
    assert evaluation_count(Window(seconds=2, whole=True), 60) == 1


def test_whole_maps_each_stream_by_its_own_clock(one):
    sample = make_sample(0, seconds=3.0, streams=("imu", "mocap"))
    sample.streams["mocap"]["rate_hz"] = 15.0  # the camera's clock is slow: 60 items last 4 s by it
    made = cutter(Window(seconds=2, whole=True), training=False, imu=ImuInput(rate_hz=50), mocap=MocapInput(rate_hz=20))
    batch = made.stack([made.evaluation_row(one(sample), 0, 0)])
    imu, mocap = batch.streams["imu"], batch.streams["mocap"]
    share = np.arange(100) / 100
    np.testing.assert_allclose(imu.values[0, 0, 12:-12, 0], (300 * share / 100)[12:-12], atol=2e-2)
    first = sample.arrays["mocap"][0, :, 0]
    places = 60 * np.arange(40) / 40
    np.testing.assert_allclose((mocap.values[0, :, :, 0].numpy() - first)[8:-8, 0], (places / 20)[8:-8], atol=1e-2)
    np.testing.assert_allclose(imu.step_s, 3.0 / 100, rtol=1e-5)
    np.testing.assert_allclose(mocap.step_s, 4.0 / 40, rtol=1e-5)
    assert (batch.start_s.item(), batch.span_s.item()) == (0.0, 3.0)


def test_crop_keeps_its_share_and_warp_its_ends():
    window = Window(seconds=2, whole=True, crop=0.6, warp=0.3)
    cuts = [training_cut(window, 4.0, key) for key in range(300)]
    shares = np.array([cut.share for cut in cuts])
    assert 0.6 <= shares.min() < 0.62
    assert 0.98 < shares.max() <= 1
    assert all(cut.first >= 0 and cut.first + cut.share <= 1 + 1e-12 for cut in cuts)
    assert all(cut.span_s == pytest.approx(4 * cut.share) for cut in cuts)
    u = np.linspace(0, 1, 1001)
    for cut in cuts[:50]:
        place = cut.warped(u)
        np.testing.assert_allclose(place[[0, -1]], [0, 1], atol=1e-9)
        speed = np.diff(place) * 1000
        assert speed.min() >= 1 - 0.3 - 1e-3
        assert speed.max() <= 1 + 0.3 + 1e-3
    assert max(np.ptp(np.diff(cut.warped(u))) * 1000 for cut in cuts) > 0.4


def test_warp_is_the_same_for_all_streams(split):
    window = Window(seconds=3, warp=0.4)
    inputs = {"imu": ImuInput(rate_hz=50), "mocap": MocapInput(rate_hz=50)}
    made = cutter(window, **inputs)
    record = split.record(0)
    key = next(k for k in range(99) if training_cut(window, 6.0, k).warp > 0.3)
    batch = made.stack([made.training_row(record, 0, key)])
    by_imu = batch.streams["imu"].values[0, 0, :, 0]
    by_mocap = batch.streams["mocap"].values[0, :, 0, 0] - make_sample(0).arrays["mocap"][0, 0, 0]
    np.testing.assert_allclose(by_imu[20:-20], by_mocap[20:-20], atol=0.02)
    straight = batch.start_s.item() + np.arange(150) / 50
    assert np.abs(by_imu.numpy() - straight).max() > 0.05
    steps = batch.streams["imu"].step_s[0]
    np.testing.assert_allclose(steps[1:].sum(), by_imu[-1] - by_imu[0], atol=0.05)
    assert steps.max() > 0.024
    assert cutter(window, training=False, **inputs).stack([made.filler()]).streams["imu"].step_s is None


def test_stream_that_covers_too_little_is_missing(one):
    sample = make_sample(0, seconds=6.0, streams=("imu", "mocap"))
    sample.arrays["mocap"] = sample.arrays["mocap"][:26]  # ends at 1.3 s
    sample.streams["mocap"]["length"] = 26
    record = one(sample)
    for cover, present in ((0.6, True), (0.7, False)):
        made = cutter(
            Window(seconds=2, min_cover=cover), training=False, imu=ImuInput(rate_hz=50), mocap=MocapInput(rate_hz=20)
        )
        batch = made.stack([made.evaluation_row(record, 0, 0), made.evaluation_row(record, 1, 1)])
        assert batch.streams["mocap"].present.tolist() == [present, False]
        assert batch.streams["mocap"].valid[0].sum() == (26 if present else 0)
        assert not batch.streams["mocap"].values[0, 26:].any()
        assert not batch.streams["mocap"].values[1].any()
        assert batch.streams["imu"].present.all()


def test_more_sensors_than_slots(one):
    places = ("left wrist", "right wrist", "chest", "left ankle")
    record = one(make_sample(0, sensors=places))
    made = cutter(imu=ImuInput(rate_hz=100, sensors=2))
    chosen = set()
    for key in range(40):
        fields = made.training_row(record, 0, key).streams["imu"]
        pair = tuple(PLACEMENTS[p] for p in fields["placement"])
        assert [places.index(p) + 1 for p in pair] == fields["values"][:, 0, 3].tolist()  # each its own values
        chosen.add(pair)
    assert len(chosen) == 6
    fields = cutter(training=False, imu=ImuInput(rate_hz=100, sensors=2)).evaluation_row(record, 0, 0).streams["imu"]
    assert [PLACEMENTS[p] for p in fields["placement"]] == ["left wrist", "right wrist"]


def test_missing_channels_and_joints(one):
    sample = make_sample(0)
    sample.streams["imu"]["sensors"][1]["channels"] = ["acc"]
    sample.arrays["imu"][1, :, 3:] = 0
    made = cutter(
        imu=ImuInput(rate_hz=100, sensors=2), pose2d=Pose2dInput(rate_hz=15), mocap=MocapInput(skeleton="coco17")
    )
    row = made.training_row(one(sample), 0, 1).streams
    assert row["imu"]["channel_mask"].tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    assert row["pose2d"]["joint_mask"].all()
    joints = SKELETONS["coco17"].joints
    mask = row["mocap"]["joint_mask"]
    assert not mask[joints.index("left_ear")]
    assert mask[joints.index("left_wrist")]
    source = SKELETONS["kinect20"].joints.index("left_wrist")
    place = row["mocap"]["values"][:, joints.index("left_wrist"), 1]
    np.testing.assert_allclose(place, sample.arrays["mocap"][0, source, 1], atol=1e-5)
    assert not row["mocap"]["values"][:, ~mask].any()


def test_texts_that_overlap(split):
    record = split.record(1)

    def drawn(start, key=None, kinds=("label", "description")):
        made = cutter(Window(seconds=1, stride_s=0.5), training=key is not None, text=TextInput(kinds=kinds))
        row = made.evaluation_row(record, 0, int(start / 0.5)) if key is None else made.training_row(record, 0, key)
        return row.streams["text"] and row.streams["text"]["text"]

    assert drawn(0.0) == "activity 1"
    assert drawn(0.0, kinds=("description",)) == "the first half"
    assert drawn(5.0, kinds=("description",)) == "the end"
    assert drawn(3.5, kinds=("description",)) is None
    assert drawn(0.0, kinds=("commentary",)) is None
    texts = {drawn(0.0, key=key) for key in range(60)}
    assert texts == {"activity 1", "the first half", "the end"}
    made = cutter(Window(seconds=1, stride_s=0.5), training=False, text=TextInput(kinds=("description",)))
    batch = made.stack([made.evaluation_row(record, 0, 0), made.evaluation_row(record, 1, 7)])
    assert batch.texts == ["the first half", ""]
    assert batch.streams["text"].present.tolist() == [True, False]
    assert "".join(map(chr, batch.streams["text"].values[0, :14])) == "the first half"
    assert not batch.streams["text"].values[1].any()


def test_stored_embeddings_are_read_and_checked(one):
    sample = make_sample(0, seconds=4.0, streams=("imu", "video"))
    rows = np.arange(20)[:, None] * np.ones((1, 8))
    sample.arrays["video.emb"] = rows.astype(np.float16)
    sample.streams["video.emb"] = {"tower": "abc", "rate_hz": 5.0, "start_s": 0.0, "length": 20}
    sample.arrays["text.emb"] = (10 * np.arange(3)[:, None] * np.ones((1, 6))).astype(np.float16)
    sample.streams["text.emb"] = {"tower": "def", "length": 3}
    record = one(sample)
    inputs = {"video": VideoInput(frames=4, size=32, grid_hz=5), "text": TextInput(kinds=("description",))}
    shapes = {"video": (4, 8), "text": (6,)}
    made = Cutter(inputs, Window(seconds=2), None, {"video": "abc", "text": "def"}, shapes)
    batch = made.stack([made.evaluation_row(record, 0, 1), made.filler()])
    assert batch.streams["video"].values.shape == (2, 4, 8)
    # Middles at 2.25, 2.75, 3.25, 3.75 s: rows 11, 14, 16, 19 of the grid of 0.2 s.
    assert batch.streams["video"].values[0, :, 0].tolist() == [11, 14, 16, 19]
    assert batch.streams["text"].values[0].tolist() == [20.0] * 6
    assert batch.texts == ["the end", ""]
    pixels = Cutter(inputs, Window(seconds=2), tokenize).evaluation_row(record, 0, 1).streams["video"]["values"]
    # The same frames as from pixels: the frame nearest to row k of the grid is frame 2k of the video.
    np.testing.assert_allclose(pixels.mean((1, 2, 3)), [4 * 2 * k % 250 for k in (11, 14, 16, 19)], atol=3)
    other = Cutter(inputs, Window(seconds=2), None, {"video": "xyz", "text": "def"}, shapes)
    with pytest.raises(ValueError, match=r"of tower 'abc', the recipe's is 'xyz'; run tools/precompute.py"):
        other.evaluation_row(record, 0, 0)


def test_draws_have_their_distribution(one):
    places = ("left wrist", "right wrist", "chest")
    record = one(make_sample(0, sensors=places, streams=("imu", "mocap", "pose2d")))
    made = cutter(
        imu=ImuInput(
            rate_hz=100, sensors=4, augment={"rotation_deg": 20, "gain": 0.2, "drop_sensor": 0.6, "acc_noise": 0.5}
        ),
        mocap=MocapInput(augment={"yaw_deg": 180, "scale": 0.1, "bone": 0.2, "drop_joint": 0.3, "offset": 0.02}),
        pose2d=Pose2dInput(rate_hz=15, augment={"offset": 0.01, "noise": 0.02}),
    )
    batch = made.stack([made.training_row(record, key, key) for key in range(300)])
    imu, mocap, pose = (batch.streams[name] for name in ("imu", "mocap", "pose2d"))
    assert {name: tuple(t.shape) for name, t in imu.draws.items()} == {
        "rotation": (300, 4, 4),
        "gain": (300, 4, 6),
        "drop": (300, 4),
    }
    assert {name: tuple(t.shape) for name, t in mocap.draws.items()} == {
        "yaw": (300,),
        "scale": (300,),
        "bone": (300, 20),
        "drop": (300, 20),
        "offset": (300, 20, 3),
    }
    angle = 2 * torch.rad2deg(torch.acos(imu.draws["rotation"][:, :3, 0].abs().clamp(max=1)))
    assert angle.pow(2).mean().sqrt().item() == pytest.approx(20, rel=0.1)
    torch.testing.assert_close(imu.draws["rotation"].norm(dim=-1), torch.ones(300, 4))
    assert imu.draws["gain"].min() > 0.8
    assert imu.draws["gain"].max() < 1.2
    drop = imu.draws["drop"][:, :3]
    assert not drop.all(1).any()  # one always stays
    assert drop.float().mean().item() == pytest.approx(0.6 - 0.6**3 / 3, abs=0.05)
    assert not imu.draws["drop"][:, 3].any()
    noise = imu.values[:, 0, :, 1]
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert not imu.values[:, 3].any()
    assert imu.values[:, 0, :, 3].std() == 0  # no noise on the gyroscope
    assert mocap.draws["yaw"].abs().max() > 3
    assert mocap.draws["drop"].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert pose.draws["offset"][..., 2].abs().max() == 0
    assert pose.draws["offset"][..., :2].std().item() == pytest.approx(4.8, rel=0.05)
    assert pose.values[..., 1].sub(100 + torch.arange(17)).std().item() == pytest.approx(9.6, rel=0.05)
    torch.testing.assert_close(pose.values[..., 2], torch.ones(300, 30, 17))


def test_no_draws_without_augmentation_and_in_evaluation(split):
    loud = {"imu": ImuInput(sensors=2, augment={"rotation_deg": 180, "acc_noise": 1.0})}
    quiet = cutter(**ALL).stack([cutter(**ALL).training_row(split.record(0), 0, 1)])
    assert all(not stream.draws for stream in quiet.streams.values())
    made = cutter(training=False, **loud)
    batch = made.stack([made.evaluation_row(split.record(0), 0, 0)])
    assert not batch.streams["imu"].draws
    assert batch.streams["imu"].values[0, 0, :, 1].abs().max() < 1e-5
    mixed = cutter(**loud).stack([cutter(**loud).filler()])
    assert mixed.streams["imu"].draws["rotation"][0, 0].tolist() == [1, 0, 0, 0]


LOUD = {
    "imu": ImuInput(
        rate_hz=100,
        sensors=3,
        orientation=True,
        augment={"rotation_deg": 9, "gain": 0.1, "drop_sensor": 0.5, "acc_noise": 1},
    ),
    "mocap": MocapInput(rate_hz=20, skeleton="coco17", augment={"yaw_deg": 9, "scale": 0.1, "bone": 0.1, "noise": 0.1}),
    "pose2d": Pose2dInput(rate_hz=15, augment={"drop_joint": 0.2, "offset": 0.1}),
    "video": ALL["video"],
    "text": ALL["text"],
}


@pytest.mark.parametrize("inputs", [ALL, LOUD])
@pytest.mark.parametrize("window", [Window(seconds=2), Window(seconds=7), Window(seconds=2, whole=True, warp=0.1)])
def test_rows_are_written_over_whatever_is_there(split, one, monkeypatch, window, inputs):
    """A batch begins as memory of any content: no value of it is left, neither beside data nor where there are none."""
    pose = make_sample(7, streams=("imu", "pose2d"), texts=False)
    pose.arrays["pose2d"][::3, 4] = 0  # unknown points
    late = make_sample(8, streams=("mocap",))
    late.streams["mocap"]["start_s"] = 1.0
    late.arrays["mocap"] = late.arrays["mocap"][:100]
    late.streams["mocap"]["length"] = 100
    records = [split.record(0), one(pose), one(late)]

    def half_made(out):
        """A bad sample in evaluation: some of its streams are there already."""
        for fields in out.values():
            for field in fields.values():
                field[...] = 3
        return made.filler()

    def batch(content):
        def allocate_with(shapes):
            tensors = allocate(shapes)
            for tensor in tensors.values():
                tensor.view(torch.uint8)[...] = content
            return tensors

        monkeypatch.setattr(aura.data.windows, "allocate", allocate_with)
        rows = [partial(made.training_row, record, i, i) for i, record in enumerate(records)]
        return flatten(made.fill(4, [*rows, half_made]))

    made = cutter(window, **inputs)
    clean, dirty = batch(0), batch(171)
    assert clean[1] == dirty[1]
    for name, tensor in clean[0].items():
        np.testing.assert_array_equal(tensor.numpy(), dirty[0][name].numpy(), err_msg=name)
    alone = flatten(made.stack([made.training_row(record, i, i) for i, record in enumerate(records)]))[0]
    for name, tensor in alone.items():
        np.testing.assert_array_equal(tensor.numpy(), clean[0][name][:3].numpy(), err_msg=name)


def test_values_that_are_not_finite_make_a_bad_sample(one):
    record = one(make_sample(0))
    offset = record.entry["offset"] + record._layout("imu")[0] + 24 * 50
    with open(record.shard.storage.folder / record.shard.file, "r+b") as file:
        file.seek(offset)
        file.write(np.array([np.nan], np.float32).tobytes())
    fresh = open_split(str(record.shard.storage.folder), "train").record(0)
    made = cutter(training=False)
    with pytest.raises(BadSample, match=r"train-000000\.tar: clip-0000\.imu\.npy: holds values that are not finite"):
        made.evaluation_row(fresh, 0, 0)
