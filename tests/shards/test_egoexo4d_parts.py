"""Ego-Exo4D: the clock, the filter, pieces of takes, whole poses, the offset, and what annotations say."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from aura.body.skeletons import SKELETONS, skeleton
from aura.body.virtual_imu import GRAVITY
from aura.data.writer import ShardError
from shards.aria_vrs import UnitData
from shards.egoexo4d import cut_take, texts_in
from shards.egoexo4d_cameras import asked, read_calibration
from shards.egoexo4d_imu import Clock, Imu, fit_clock, lay
from shards.egoexo4d_offset import estimate
from shards.egoexo4d_pose import Run, read_poses, skeleton_of, whole
from shards.egoexo4d_takes import Take, read_takes, shared, split_takes, truth
from shards.egoexo4d_texts import Wanted, with_texts

TAKE = Take("a_1", "u1", "takes/a_1", "a", "7", 30.0, (0, 900), "aria01", (), (), "", "Waltz", {"scenario": "Dance"})


def stamps(count: int, start_ns: int = 9_000_000_000_000, speed: float = 1.0) -> np.ndarray:
    return start_ns + np.arange(count) / 30 * 1e9 * speed


def test_the_clock_is_the_line_through_rows_with_holes_jitter_and_wrong_ones() -> None:
    rng = np.random.default_rng(0)
    rows = stamps(900, speed=1 / 1.0004) + rng.uniform(-16e6, 16e6, 900)
    rows[:40] = np.nan
    rows[100::7] = np.nan
    rows[300:330] += 3e9
    clock, notes = fit_clock(rows)
    at = (9_000_000_000_000 + np.array([0, 15e9, 29e9]) / 1.0004).astype(np.int64)
    np.testing.assert_allclose(clock.seconds(at), [0, 15, 29], atol=2e-3)
    assert {note.reason.split(":")[0]: note.count for note in notes} == {
        "rows of timesync.csv without a stamp": int(np.isnan(rows).sum()),
        "rows of timesync.csv off the line of the others": int(np.isfinite(rows[300:330]).sum()),
    }


@pytest.mark.parametrize(
    "rows",
    [
        np.full(90, np.nan),
        np.concatenate([stamps(450), stamps(450, 9_100_000_000_000)]),  # set anew in the middle of the take
        stamps(900, speed=1.05),
        stamps(900)[::-1],
    ],
)
def test_a_clock_that_is_no_line_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"timesync.csv"):
        fit_clock(rows)


def unit(times: np.ndarray, values: np.ndarray) -> UnitData:
    return UnitData((5e9 + times * 1e9).astype(np.int64), values.astype(np.float32))


CLOCK = Clock(5_000_000_000, 0.0, 1.0)


@pytest.mark.parametrize("rate_hz", [1000.0, 798.2, 807.4])
def test_the_filter_keeps_motion_and_removes_what_would_alias(rate_hz: float) -> None:
    t = np.arange(-300, 10 * rate_hz) / rate_hz
    if rate_hz == 1000:  # its stamps are uneven, and true
        t += np.random.default_rng(0).uniform(-6e-5, 6e-5, len(t))
    slow = np.sin(2 * np.pi * 20 * t)[:, None] * np.arange(1, 7)
    fast = np.sin(2 * np.pi * 170 * t)[:, None] * np.ones(6)  # would appear at 30 Hz
    at = np.arange(2000) / 200
    values, live, notes = lay(unit(t, slow), CLOCK, 10.0, 200.0, 0.1)
    assert live.all()
    assert not notes
    wanted = np.sin(2 * np.pi * 20 * at)[:, None] * np.arange(1, 7)
    assert np.abs(values - wanted)[20:-20].max() < 0.03
    values, _, _ = lay(unit(t, fast), CLOCK, 10.0, 200.0, 0.1)
    assert np.abs(values)[20:-20].max() < (0.015 if rate_hz == 1000 else 0.003)
    whole_number = np.abs(
        lay(unit(t, slow), CLOCK, 10.0, 160.0, 0.1)[0][:, 0] - np.sin(np.arange(1600) / 8 * np.pi * 2)
    )
    assert whole_number[20:-20].max() < 0.01


def test_gaps_of_a_unit_are_filled_cut_and_counted() -> None:
    t = np.arange(-500, 5500) / 1000
    values = np.full((len(t), 6), 9.0)
    values[1000:1003] = np.nan  # at 0.5 s
    keep = np.ones(len(t), bool)
    keep[2500:3000] = False  # 2 to 2.5 s
    keep[4500:] = False  # from 4 s
    order = np.flatnonzero(keep)
    order[[10, 11]] = order[[11, 10]]
    out, live, notes = lay(unit(t[order], values[order]), CLOCK, 5.0, 200.0, 0.1)
    assert np.allclose(out[live], 9)
    assert not out[~live].any()
    gone = np.flatnonzero(~live) / 200
    assert np.allclose([gone[0], gone[99 - 1]], [2.0, 2.49], atol=0.011)
    assert gone[-1] == 4.995
    said = {note.reason: round(note.seconds, 3) for note in notes}
    assert said["gaps of up to 0.1 s filled by interpolation"] == pytest.approx(0.003, abs=1e-3)
    assert said["seconds of the take that it does not cover"] == pytest.approx(1.5, abs=0.02)
    assert "rows out of order: put in the order of their times" in said
    # A clock that starts again: the longer part alone.
    both = UnitData(
        np.concatenate([unit(t, values).stamps, unit(t[:900], values).stamps]), np.tile(values, (2, 1))[:6900]
    )
    _, live, notes = lay(both, CLOCK, 5.0, 200.0, 0.1)
    assert live.all()
    assert any(note.reason.startswith("samples of a clock that was set back") and note.count == 900 for note in notes)
    _, live, notes = lay(unit(t + 100, values), CLOCK, 5.0, 200.0, 0.1)
    assert not live.any()
    assert notes[-1].seconds == 5


def test_takes_are_cut_where_streams_go_on_and_into_equal_parts() -> None:
    assert cut_take(15.0, []) == [(0.0, 15.0)]
    assert cut_take(50.0, []) == [(0.0, 16.7), (16.7, 33.3), (33.3, 50.0)]
    assert cut_take(59.9, []) == [(0.0, 20.0), (20.0, 39.9), (39.9, 59.9)]
    assert len(cut_take(59.98, [])) == 3
    assert cut_take(30.0, [12.68, 13.1, 29.5, 0.4]) == [(0.0, 12.6), (12.6, 30.0)]
    assert cut_take(0.5, [0.2]) == [(0.0, 0.5)]
    rng = np.random.default_rng(0)
    for _ in range(200):
        seconds = float(rng.uniform(1, 200))
        parts = cut_take(seconds, rng.uniform(0, seconds, rng.integers(8)).tolist())
        assert [parts[0][0], parts[-1][1]] == [0.0, seconds]
        assert all(a[1] == b[0] for a, b in pairwise(parts))
        assert all(0.9 < b - a < 20 + 1e-6 for a, b in parts)


def test_texts_go_to_the_parts_that_hold_them() -> None:
    def text(start: float, end: float) -> dict:
        return {"text": "x", "start_s": start, "end_s": end, "kind": "label"}

    def where(start: float, end: float) -> list[list[tuple[float, float]]]:
        spans = [(0.0, 10.0), (10.0, 20.0)]
        found = [texts_in([text(start, end)], a, b, b == 20) for a, b in spans]
        return [[(t["start_s"], t["end_s"]) for t in here] for here in found]

    assert where(10.0, 10.0) == [[], [(0.0, 0.0)]]
    assert where(20.0, 20.0) == [[], [(10.0, 10.0)]]
    assert where(0.0, 20.0) == [[(0.0, 10.0)], [(0.0, 10.0)]]
    assert where(5.5, 10.5) == [[(5.5, 10.0)], []]  # half a second is too little of five
    assert where(8.0, 13.0) == [[(8.0, 10.0)], [(0.0, 3.0)]]
    assert where(9.8, 10.2) == [[(9.8, 10.0)], [(0.0, 0.2)]]


def test_the_largest_whole_part_of_a_pose() -> None:
    points = np.zeros((100, 17, 3))
    assert whole(points)[:2] == (0, 100)
    points[30:90, 9, 2] = np.nan  # a wrist for long: given up
    points[98, 3] = np.nan  # an ear at the end: the time is given up
    begin, end, kept = whole(points)
    assert (begin, end, sorted(set(range(17)) - set(kept.tolist()))) == (0, 98, [9])
    assert whole(np.full((10, 17, 3), np.nan))[:2] == (0, 0)
    made = skeleton(skeleton_of(kept))
    assert made.joints == tuple(n for n in SKELETONS["coco17"].joints if n != "left_wrist")
    without = skeleton_of(np.array([3, 4, 7, 9]))  # ears, left elbow and wrist: the tree skips what is not there
    assert (without["joints"], without["parents"]) == (
        ["left_ear", "right_ear", "left_elbow", "left_wrist"],
        [-1, -1, -1, 2],
    )


def test_spacing_is_measured_and_frames_off_the_grid_are_put_on_it(tmp_path: Path) -> None:
    def record(frame: int) -> list[dict]:
        point = {"x": frame / 100, "y": 0.0, "z": 1.0, "num_views_for_3d": 4}
        return [
            {"annotation3D": {"left_wrist": point, "tail": point}, "annotation2D": {"cam01": {"left-wrist": point}}}
        ]

    frames = [9, 12, 15, 19, 21, 24, 30, 33, 60, 61, 64, 67]  # 19 is off the grid, 27 is missing, then a gap
    path = tmp_path / "pose.json"
    path.write_text(json.dumps({str(f): record(f) for f in reversed(frames)}))
    runs, _ = read_poses(path, 2, ["cam01"])
    assert [(run.start_s, run.rate_hz, run.length) for run in runs] == [(0.3, 10, 9), (2.0, 10, 3)]
    np.testing.assert_allclose(runs[0].points[:, 9, 0], np.arange(9, 34, 3) / 100, atol=1e-6)
    flat = runs[0].images["cam01"][:, 9]
    assert flat[:, 2].tolist() == [1, 1, 1, 0, 1, 1, 0, 1, 1]  # nothing is put between image points far apart
    unseen, none = record(9), record(12)
    unseen[0]["annotation3D"]["left_wrist"]["num_views_for_3d"] = 0
    del none[0]["annotation3D"]["left_wrist"]["num_views_for_3d"]  # nothing says that it is too few
    path.write_text(json.dumps({"9": unseen, "12": none, "15": None}))
    (run,), notes = read_poses(path, 2, [])
    assert np.isfinite(run.points[:, 9, 0]).tolist() == [False, True]
    assert {(note.reason, note.count) for note in notes} == {
        ("frames without a pose", 1),
        ("joints that fewer than 2 cameras saw", 1),
    }
    path.write_text('{"1": [{"annotation3D": {"left_wrist": {"x": 1}}}]}')
    with pytest.raises(ValueError, match="cannot be read"):
        read_poses(path, 2, [])


@pytest.mark.parametrize("rate_hz", [10.0, 30.0])
@pytest.mark.parametrize("late_s", [0.13, -0.4])
def test_the_offset_of_a_moving_head_is_found(rate_hz: float, late_s: float) -> None:
    rng = np.random.default_rng(1)
    waves = [(rng.uniform(0.01, 0.03), f, rng.uniform(0, 6)) for f in (0.4, 0.9, 1.3, 1.7, 2.1)]

    def height(t: np.ndarray) -> np.ndarray:
        return sum((a * np.sin(2 * np.pi * f * t + p) for a, f, p in waves), np.zeros(len(t)))

    def lift(t: np.ndarray) -> np.ndarray:
        return sum((-a * (2 * np.pi * f) ** 2 * np.sin(2 * np.pi * f * t + p) for a, f, p in waves), np.zeros(len(t)))

    t = np.arange(60 * 200) / 200
    imu = Imu(200.0, np.zeros((len(t), 1, 6), np.float32), np.ones((len(t), 1), bool), ("imu-right",))
    imu.values[:, 0, 1] = lift(t) + GRAVITY + rng.normal(0, 0.3, len(t))
    frames = np.arange(round(50 * rate_hz)) / rate_hz + 5
    points = np.zeros((len(frames), 17, 3), np.float32)
    points[..., 2] = height(frames - late_s)[:, None]
    points += rng.normal(0, 0.004, points.shape)
    points[100:140, 1:5] = np.nan
    found = estimate(imu, [Run(5.0, rate_hz, points, {})])
    assert found is not None
    assert found.seconds == pytest.approx(late_s, abs=0.015)
    assert found.correlation > 0.5
    points[..., 2] = rng.normal(0, 0.004, points.shape[:2])
    assert estimate(imu, [Run(5.0, rate_hz, points, {})]) is None
    assert estimate(imu, []) is None


def test_words_of_truth() -> None:
    assert [truth(x) for x in (True, "1", "true", 1, False, "0", "false", "", None, 0)] == [True] * 4 + [False] * 6


def annotate(folder: Path, name: str, content: object) -> None:
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / name).write_text(json.dumps(content))


def test_texts_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    rows = [
        {"text": "C runs, says C; CC stays.", "timestamp": 1, "unsure": "0"},
        {"text": "C runs, says C; CC stays.", "timestamp": 1.0},
        {"text": "  ", "timestamp": 2.0},
        {"text": "x", "timestamp": None},
        {"text": "x", "timestamp": -1.0},
        {"text": "x", "timestamp": float("nan")},
        {"text": "x", "timestamp": 31.0},
        {"text": "The man X waves.", "timestamp": 3.0, "subject": "The man X"},
        {"text": "The man Y waves.", "timestamp": 4.0, "narration_subject": "The man Y"},
    ]
    said = [
        {"rejected": "0", "descriptions": rows},
        {"rejected": "1", "descriptions": rows[:2]},
        {"descriptions": None},
    ]
    annotate(tmp_path, "atomic_descriptions_train.json", {"annotations": {"u1": said, "u9": said}})
    (take,), named = with_texts([TAKE], tmp_path, Wanted(("atomic",), wearer="a person"))
    assert named == {"u1", "u9"}
    assert [t["text"] for t in take.texts] == ["a person runs, says a person; CC stays."]
    assert {note.reason: note.count for note in take.notes} == {
        "atomic descriptions of a rejected annotation": 2,
        "description text whose time is not in the take": 4,
        "description text without words": 1,
        "atomic descriptions of what somebody else does": 2,
        "texts that are there twice at one time": 1,
    }
    (take,), _ = with_texts([TAKE], tmp_path, Wanted(("atomic",), others=True))
    assert [t["text"] for t in take.texts][1:] == ["The man X waves.", "The man Y waves."]
    comments = [{"text": " Good.", "video_time": 9.0}, {"text": "When?", "video_time": None}]
    annotate(tmp_path, "expert_commentary_train.json", {"annotations": {"u1": [{"commentary_data": comments}]}})
    said_how = [(Wanted(("commentary",), "plain"), 1), (Wanted(("commentary",), "prefixed"), 1)]
    for wanted, count in [*said_how, (Wanted(("commentary",), "both"), 2)]:
        (take,), _ = with_texts([TAKE], tmp_path, wanted)
        assert [(t["start_s"], t["end_s"]) for t in take.texts] == [(4.0, 9.0)] * count
        assert [(n.reason, n.count) for n in take.notes] == [("commentary text whose time is not in the take", 1)]
    (take,), _ = with_texts([TAKE], tmp_path, Wanted(("label",)))
    assert [(t["text"], t["start_s"], t["end_s"]) for t in take.texts] == [("Dance", 0, 30), ("Waltz", 0, 30)]


def entry(name: str, rows: tuple[int, int] | None, **more: object) -> dict:
    start, end = rows or (None, None)
    return {
        "take_name": name, "take_uid": f"uid-{name}", "timesync_start_idx": start, "timesync_end_idx": end,
        "task_id": 6003, "frame_aligned_videos": {"cam01": {"0": {"relative_path": None}}, "collage": {}}, **more,
    }  # fmt: skip


def test_takes_with_little_known_and_takes_at_one_time(tmp_path: Path) -> None:
    capture = {"capture_uid": "c", "capture_name": "b", "cameras": [{"cam_id": "aria03", "is_ego": "1"}]}
    listed = [
        entry("b_1", (0, 300), capture=capture),
        entry("b_2", (200, 400), capture_uid="c"),
        entry("b_3", (400, 500), capture_uid="c", duration_sec=3.5, task_id=None, parent_task_name="Soccer"),
        entry("lost", None),
        entry("old", (0, 9), is_dropped="1"),
    ]
    (tmp_path / "takes.json").write_text(json.dumps(listed))
    (tmp_path / "captures.json").write_text(json.dumps([capture]))
    takes, why = read_takes(tmp_path)
    assert [(t.id, t.capture, t.headset, t.group, t.duration_s) for t in takes] == [
        ("b_1", "b", "aria03", "b@0", 10.0),
        ("b_2", "b", "aria03", "b@0", pytest.approx(200 / 30)),
        ("b_3", "b", "aria03", "", 3.5),
    ]
    assert [t.labels["scenario"] for t in takes] == ["Basketball", "Basketball", "Soccer"]
    assert takes[0].exo == (("cam01", "frame_aligned_videos/cam01.mp4"),)
    assert takes[0].vrs == ("aria03_noimagestreams.vrs", "aria03.vrs")
    assert dict(why) == {"take without a duration": 1, "take that the publisher dropped (is_dropped)": 1}
    annotate(tmp_path, "splits.json", {"take_uid_to_split": {"uid-b_1": "train", "uid-b_3": "val"}})
    kept, why = split_takes(takes, tmp_path, "official")
    assert [(t.id, t.split) for t in kept] == [("b_1", "train"), ("b_3", "val")]
    assert dict(why) == {"take without an official split": 1}
    annotate(tmp_path, "splits.json", {"take_uid_to_split": {"uid-b_1": "training"}})
    with pytest.raises(ShardError, match="'training' is none of train, val, test"):
        split_takes(takes, tmp_path, "official")


def test_random_splits_depend_on_the_names_alone(tmp_path: Path) -> None:
    takes = [replace(TAKE, id=f"c{i // 2}_{i % 2}", capture=f"c{i // 2}", participant=str(i // 2)) for i in range(100)]
    (first, _), (again, _) = (split_takes(x, tmp_path, "take-random") for x in (takes, takes[::-1]))
    assert {t.id: t.split for t in first} == {t.id: t.split for t in again}
    assert [sum(t.split == s for t in first) for s in ("train", "val", "test")] == [80, 10, 10]
    both = shared(first, "capture")["train", "test"]
    assert len(both) >= 5
    assert both == [f"c{x}" for x in sorted(shared(first, "participant")["train", "test"])]


def test_calibrations_and_cameras_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "gopro_calibs.csv"
    assert read_calibration(path) == {}
    path.write_text("cam_uid,quality\ncam01,1\n")
    with pytest.raises(ValueError, match=r"gopro_calibs.csv is not as documented: KeyError"):
        read_calibration(path)
    assert asked(" cam01, cam02") == ("cam01", "cam02")
    for wrong in ("", "all,cam01", "none,best_exo"):
        with pytest.raises(ShardError, match="--cameras"):
            asked(wrong)
