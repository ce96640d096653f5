"""Recordings as tracks of tokens, and the offset of two of any length, with a model whose tokens are what it was shown."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aura.data.config import ImuInput, Pose2dInput
from aura.data.index import BadSample, open_folder
from aura.data.writer import ShardWriter
from aura.model import parts_of
from aura.objectives.fine import Tokens
from aura.tasks.pieces import Cutting, draw_pieces, spans, sync_on
from aura.tasks.recordings import align, find_recording, picture
from aura.tasks.tracks import Encoder, Span, extent, phases, tracks
from tests.data.samples import make_sample
from tests.tasks.test_sync import motion

RATE, TOKEN_S = 20, 0.2
INPUTS = {"imu": ImuInput(rate_hz=RATE, sensors=2), "pose2d": Pose2dInput()}


class Shown:
    """Tokens: means over 0.2 s of what the sensors showed. Embeddings: means of the first sensor over the window."""

    token_s = {"imu": TOKEN_S}  # noqa: RUF012
    fine = {"imu": SimpleNamespace(compares=True)}  # noqa: RUF012
    towers = {"imu": SimpleNamespace(any_length=True)}  # noqa: RUF012

    def __init__(self):
        self.seconds = []

    def parameters(self):
        yield torch.zeros(())

    def tokens_stream(self, name, stream):
        items = round(TOKEN_S * RATE)
        self.seconds.append(stream.values.shape[2] / RATE)
        values = stream.values.unflatten(2, (-1, items)).mean(3)
        mask = stream.valid.unflatten(2, (-1, items)).all(3) & stream.sensor_mask[..., None]
        n, s = mask.shape[:2]
        return Tokens(values, mask, values.new_zeros(n, s, 0), parts_of(stream, s), torch.zeros(n, dtype=torch.int64))

    def embed_stream(self, name, stream):
        return stream.values[:, 0].mean(1)


def encoder(by_tokens=True):
    model = Shown()
    if not by_tokens:
        model.fine = {}
    return Encoder(model, INPUTS, seconds=1.0)


def sample(key, recording, start_s, seconds, curve, rate=0.0, late_s=0.0):
    """Two sensors that show the curve at (second of the recording) / (1 - rate), the imu beginning `late_s` later."""
    made = make_sample(seconds=seconds, imu_hz=RATE, streams=("imu", "pose2d"), texts=False)
    times = start_s + late_s + np.arange(made.streams["imu"]["length"]) / RATE
    show = np.stack([curve(times / (1 - rate)).numpy(), -curve(times / (1 - rate)).numpy()]).astype(np.float32)
    entry = {**made.streams["imu"], "start_s": late_s}
    return replace(
        made,
        id=key,
        recording=recording,
        start_s=float(start_s),
        arrays={**made.arrays, "imu": show},
        streams={**made.streams, "imu": entry},
    )


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """`a`: 140 s in 7 samples with a gap; `b`: begins 3.37 s later, in 3 samples, by a clock that is 200 ppm off; `short`."""
    curve, out = motion(channels=6), tmp_path_factory.mktemp("long") / "shards"
    with ShardWriter(out, name="test") as writer:
        for i in range(7):
            writer.write("test", sample(f"a{i}", "a", 20.0 * i, 19.5 if i == 3 else 20.0, curve))
        for i in range(3):
            moved = lambda t: curve(t + 3.37 / (1 - 2e-4))  # noqa: E731
            writer.write("test", sample(f"b{i}", "b", 45.0 * i, 45.0, moved, 2e-4))
        writer.write("test", sample("short", "short", 5.0, 4.0, curve, late_s=0.1))
    return open_folder(str(out))


def test_tokens_of_a_long_recording_are_those_of_windows(splits):
    """Windows of 1 s that overlap by half, in place of 12 s at once."""
    record = splits["test"].record(0)
    use = encoder()
    found = tracks(use, "imu", [Span(record, "imu", 3.0), Span(record, "imu", 7.5)], 12.3)
    assert found.values.shape == (2, 2, 61, 6)
    assert set(use.model.seconds) == {1.0}
    assert found.mask.all()
    whole = Encoder(Shown(), INPUTS, seconds=30.0)
    once = tracks(whole, "imu", [Span(record, "imu", 3.0), Span(record, "imu", 7.5)], 12.3)
    assert whole.model.seconds == [pytest.approx(12.2)]
    torch.testing.assert_close(found.values, once.values)
    assert found.part.tolist() == once.part.tolist() == [[0, 5]] * 2


def test_what_a_span_lacks_is_masked(splits):
    record = splits["test"].record(0)
    found = tracks(
        encoder(), "imu", [Span(record, "imu", -0.6), Span(record, "imu", 18.0), Span(record, "imu", 40.0)], 4.0
    )
    assert found.mask[0, 0].tolist() == [False] * 3 + [True] * 17
    assert found.mask[1, 0].tolist() == [True] * 10 + [False] * 10
    assert not found.mask[2].any()


def test_phases_begin_parts_of_a_token_later(splits):
    record = splits["test"].record(0)
    found = phases(encoder(), "imu", [Span(record, "imu", 2.0)], 2.0)
    assert [p.mask[0, 0].sum().item() for p in found] == [10, 9, 9, 9, 9]
    later = tracks(encoder(), "imu", [Span(record, "imu", 2.08)], 1.8)
    torch.testing.assert_close(found[2].values[:, :, :9], later.values)


def test_streams_without_tokens_are_windows_at_a_stride(splits):
    record = splits["test"].record(0)
    found = tracks(encoder(), "imu", [Span(record, "imu", 2.0)], 3.0, by_tokens=False)
    assert found.values.shape == (1, 1, 11, 6)
    values = torch.from_numpy(np.array(record.array("imu")))[0]
    torch.testing.assert_close(found.values[0, 0, 4], values[56:76].mean(0))
    with pytest.raises(ValueError, match="no window of 1 s"):
        tracks(encoder(), "imu", [Span(record, "imu", 2.0)], 0.9, by_tokens=False)


def of(splits, key):
    found = find_recording(splits.values(), key, "imu", "imu")
    assert found is not None
    return found


@pytest.mark.parametrize("by_tokens", [True, False])
@pytest.mark.parametrize("shift", [0.0, 0.73, -0.48])
def test_a_shift_put_in_by_hand_is_found(splits, shift, by_tokens):
    short = of(splits, "short")
    found = align(encoder(by_tokens), short, short, shift_s=shift)
    assert found.offset.offset_s == pytest.approx(shift, abs=0.01)
    assert found.offset.decided
    assert found.drift is None
    assert found.extent_s[::2] == pytest.approx((0.1, 0.1)), "on the sample's clock, where the stream begins later"
    assert picture(found, "one", "other").axes[1].get_title().startswith(f"{found.offset.offset_s:+.3f} s")


def test_recordings_of_many_samples_and_their_drift(splits):
    a, b = of(splits, "a"), of(splits, "b")
    assert (len(a.records), len(b.records)) == (7, 3)
    found = align(encoder(), a, b)
    assert found.offset.offset_s == pytest.approx(3.37 + 2e-4 * 70, abs=0.02)
    assert found.drift is not None
    assert found.drift.ppm == pytest.approx(200, abs=10)
    assert found.drift.start_s == pytest.approx(3.37, abs=0.002)
    assert max(found.similarity.shape) <= 500
    one = align(encoder(), of(splits, "a2"), b)
    assert one.offset.offset_s == pytest.approx(3.37 - 40, abs=0.02), "a sample has a clock of its own"


def test_limits_and_nothing_to_compare(splits):
    short = of(splits, "short")
    assert abs(align(encoder(), short, short, shift_s=0.73, max_offset_s=0.3).offset.offset_s) <= 0.32
    with pytest.raises(ValueError, match=r"lasts under 0\.2 s"):
        align(encoder(), short, short, shift_s=3.95)
    assert find_recording(splits.values(), "nobody", "imu", "imu") is None
    with pytest.raises(BadSample, match="has no stream video; it has imu, pose2d"):
        extent(short.records[0], "video")


def test_pieces_lie_in_their_samples_with_offsets_in_the_range(splits):
    cutting = Cutting(piece_s=5.0, range_s=1.5, draws=30)
    pieces, left_out = draw_pieces(splits["test"], "imu", "imu", cutting)
    assert len(pieces) == 30 * 10
    assert left_out == {"shorter than 6.5 s": 1}
    offsets = np.array([p.offset_s for p in pieces])
    assert np.abs(offsets).max() <= 1.5 + 1e-9
    assert np.abs(offsets).max() > 1.45
    assert abs(offsets.mean()) < 0.2
    for piece in pieces:
        first, last = extent(piece.record, "imu")
        assert min(piece.begin_a, piece.begin_b) >= first - 1e-9
        assert max(piece.begin_a, piece.begin_b) + 5.0 <= last + 1e-9
    assert [vars(p)["begin_a"] for p in draw_pieces(splits["test"], "imu", "imu", cutting)[0]] == [
        p.begin_a for p in pieces
    ]
    assert draw_pieces(splits["test"], "imu", "video", cutting)[1] == {"without imu or video": 11}
    with pytest.raises(ValueError, match="the range must be shorter"):
        Cutting(1.0, 1.0)


def test_offsets_of_pieces_by_all_methods(splits):
    cutting = Cutting(piece_s=4.0, range_s=1.0, draws=2)
    pieces, _ = draw_pieces(splits["test"], "imu", "imu", cutting)
    assert [span.begin_s for span in spans(pieces, "imu", first=True)] == [p.begin_a for p in pieces]
    found = {name: synced.figures for name, synced in sync_on(encoder(), pieces, "imu", "imu", cutting).items()}
    # Both sides are the same stream of the same model: the second is read at its own place.
    assert found["tokens, five phases"]["MAE"] < 0.01
    assert found["tokens, five phases"]["n"] == len(pieces)
    assert found["tokens, five phases"]["pool"] == 11
    grid = found["tokens, grid of 0.2 s"]
    assert grid["MAE"] == pytest.approx(grid["grid/MAE"], abs=0.02)
    assert found["windows, top-5 votes"]["MAE"] < 0.5 * found["windows, top-5 votes"]["chance/MAE"]
    assert found["tokens and classical"]["MAE"] < 0.05
    assert 0.3 < found["classical"]["zero/MAE"] < 0.7
    assert found["classical"]["chance/Acc@0.2"] == pytest.approx(0.2, abs=0.03)


def test_a_pair_trained_on_parts_alone_goes_by_windows():
    """Its tokens have no width: they cannot be compared."""
    made = encoder()
    assert made.by_tokens("imu", "imu")
    made.model.fine = {"imu": SimpleNamespace(compares=False)}
    assert not made.by_tokens("imu", "imu")
    assert made.step_s("imu", "imu") == made.stride_s


def test_a_tower_of_one_length_reads_windows_of_it(splits):
    """Of 1 s: a recording of 1.8 s is read in two that overlap, where others read it whole; tokens are the same."""
    spans_ = [Span(splits["test"].record(0), "imu", 0.4)]
    whole, parts = encoder(), encoder()
    parts.model.towers = {"imu": SimpleNamespace(any_length=False)}
    found, expected = tracks(parts, "imu", spans_, 1.8), tracks(whole, "imu", spans_, 1.8)
    assert whole.model.seconds == [pytest.approx(1.8)]
    assert parts.model.seconds == [pytest.approx(1.0)]
    torch.testing.assert_close(found.values, expected.values)
    assert torch.equal(found.mask, expected.mask)
    with pytest.raises(ValueError, match=r"reads windows of 1 s alone: pieces must be a token longer, not 0.8 s"):
        tracks(parts, "imu", spans_, 0.8)
