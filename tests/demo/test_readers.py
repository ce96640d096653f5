import io
from pathlib import Path

import numpy as np
import pytest

from aura.data.video import encode_h264
from aura.demo import readers
from aura.demo.readers import check_file, read_file, read_film, read_table
from tests.data.films import MATRICES, huge, with_matrix

VALUES = np.random.default_rng(0).normal(0, 5, (100, 6)).round(4)
HEAD = "acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"


def write(folder: Path, columns: np.ndarray, head: str = "", separator: str = ",") -> Path:
    text = io.StringIO()
    np.savetxt(text, columns, delimiter=separator, fmt="%.10g")
    path = folder / "recording.csv"
    path.write_text((f"{head}\n" if head else "") + text.getvalue(), encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("head", ["", HEAD])
def test_a_table_without_time_takes_the_given_rate(tmp_path, head, separator):
    path = write(tmp_path, VALUES, head.replace(",", separator), separator)
    values, rate, notes = read_table(path, 40.0)
    np.testing.assert_allclose(values, VALUES)
    assert (rate, notes) == (40.0, [])
    with pytest.raises(ValueError, match="no column named time: give its rate"):
        read_table(path, None)


def test_the_order_of_named_columns_does_not_matter(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("wx,wy,wz,ax,ay,az\n" + "4,5,6,1,2,3\n" * 3)
    assert read_table(path, 50.0)[0].tolist() == [[1, 2, 3, 4, 5, 6]] * 3


@pytest.mark.parametrize(("name", "unit"), [("time", 1.0), ("Timestamp (ms)", 1e3), ("t", 1e6), ("time_ns", 1e9)])
def test_a_time_column_gives_the_rate_in_any_unit(tmp_path, name, unit):
    times = (1.7e9 if unit > 1 else 12.0) * unit + np.arange(100) / 50 * unit
    path = tmp_path / "a.csv"
    rows = [",".join([f"{t:.3f}" if unit == 1.0 else f"{t:.0f}", *map(str, row)]) for t, row in zip(times, VALUES)]
    path.write_text("\n".join([f"{name},{HEAD}", *rows]))
    values, rate, notes = read_table(path, 999.0)
    assert (rate, notes) == (50.0, [])
    np.testing.assert_allclose(values, VALUES)


def test_dates_and_a_bare_first_column_are_times(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"2024-01-01T10:00:0{i / 50:.3f}Z,1,2,{i}" for i in range(100)]
    path.write_text("\n".join(["time,x,y,z", *rows]))
    values, rate, _ = read_table(path, None)
    assert rate == 50.0
    assert values[7].tolist() == [1, 2, 7]
    values, rate, _ = read_table(write(tmp_path, np.c_[np.arange(100) / 25, VALUES[:, :3]]), None)
    assert rate == 25.0
    np.testing.assert_allclose(values, VALUES[:, :3])


def test_columns_are_found_by_their_names_in_any_order(tmp_path):
    order = [5, 0, 3, 1, 2, 4]
    head = ",".join(["label", *(HEAD.split(",")[i] for i in order)])
    path = write(tmp_path, np.c_[np.zeros(100), VALUES[:, order]], head)
    np.testing.assert_allclose(read_table(path, 50.0)[0], VALUES)
    path = write(
        tmp_path, np.c_[np.arange(100) * 2e7, np.arange(100) / 50, VALUES[:, [2, 1, 0]]], "time,seconds_elapsed,z,y,x"
    )
    values, rate, _ = read_table(path, None)
    assert rate == 50.0
    np.testing.assert_allclose(values, VALUES[:, :3])


def test_uneven_times_are_interpolated(tmp_path):
    times = np.arange(200) / 50
    times[100:] += 0.013  # a short gap
    wave = np.stack([np.sin(2 * times), np.cos(2 * times), times], 1)
    values, rate, notes = read_table(write(tmp_path, np.c_[times, wave], "time,x,y,z"), None)
    assert rate == 50.0
    assert "interpolated to 50 Hz" in notes[0]
    grid = np.arange(len(values)) / 50
    np.testing.assert_allclose(values, np.stack([np.sin(2 * grid), np.cos(2 * grid), grid], 1), atol=1e-3)


def bad(text: str | bytes, match: str):
    return pytest.param(text if isinstance(text, bytes) else text.encode(), match, id=match[:30])


ROW = "1,2,3\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        bad("x,y,z\n" + ROW, "has 1 row of numbers"),
        bad("x,y,z\n", "has 0 rows of numbers"),
        bad("\n\n", "has 1 column"),
        bad("just some words\nand more\n", "has 1 column"),
        bad("1,2\n3,4\n", "2 without names: it needs 3|has 2 column"),
        bad("p,q,r,s,u\n" + "1,2,3,4,5\n" * 3, "has the columns p, q, r, s, u: it needs 3"),
        bad("rot_x,rot_y,rot_z,mag_x,mag_y,mag_z\n" + "1,2,3,4,5,6\n" * 3, "has the columns rot_x, rot_y, rot_z"),
        bad(
            "left_acc_x,left_acc_y,left_acc_z,right_acc_x,right_acc_y,right_acc_z\n" + "1,2,3,4,5,6\n" * 3,
            "has the columns",
        ),
        bad("mag_x,mag_y,mag_z\n" + ROW * 3, "has the columns mag_x"),
        bad("x,y,z\n" + ROW + "1,two,3\n", "'two', in line 3"),
        bad("x,y,z\n" + ROW + "1,,3\n", "nothing, in line 3"),
        bad(ROW + "nan,2,3\n", "column 1 are no numbers, the first, nothing, in line 2"),
        bad(ROW + "inf,2,3\n", "'inf', in line 2"),
        bad(ROW + "1e300,2,3\n", "no sensor measures so much"),
        bad("x,y,z\n" + "True,2,3\n" * 3, "holds True, not numbers"),
        bad(ROW + "1,2,3,4\n", "is no table: .*Expected 3 fields in line 2, saw 4"),
        bad("time,x,y,z\n0,1,2,3\n0.02,1,2,3\n0.01,1,2,3\n0.03,1,2,3\n", "the time goes back or stands still"),
        bad("time,x,y,z\n0,1,2,3\n0.02,1,2,3\n5,1,2,3\n5.02,1,2,3\n", "a gap of 4.98 s at second 0.02"),
        bad("time,x,y,z\n" + "".join(f"{t * 1e12},1,2,3\n" for t in range(5)), "5 to 2000 Hz in no unit"),
        bad("time,x,y,z\nmonday,1,2,3\ntuesday,1,2,3\n", "column time are no numbers, the first, 'monday'"),
        bad(b"\xff\xfe" + "1,2,3\n1,2,3\n".encode("utf-16-le"), "is not text"),
        bad(b"x,y,z\n1,2,3\n\xe9\xe8,2,3\n", "is not text in UTF-8"),
        bad(b"PK\x03\x04\0\0\0", "is not text"),
        bad(",".join(["1"] * 100) + "\n", "more than 64 columns"),
    ],
)
def test_bad_tables_are_refused_in_words(tmp_path, content, match):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_table(path, 50.0)


def test_long_tables_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path, VALUES)
    with pytest.raises(ValueError, match=r"lasts 1,000 s at 0.1 Hz: at most 600 s"):
        read_table(path, 0.1)
    monkeypatch.setattr(readers, "MOST_ROWS", 99)
    with pytest.raises(ValueError, match="more than 99 rows"):
        read_table(path, 50.0)


def test_files_are_judged_by_name_and_size_before_they_are_read(tmp_path, demo_model, monkeypatch):
    large = tmp_path / "large.csv"
    with open(large, "wb") as file:
        file.truncate(2 << 30)  # takes no room
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(ValueError, match=r"large.csv has 2,048.0 MB, the limit is 50 MB"):
        read_file(large, demo_model, 50.0)
    monkeypatch.undo()
    for name, content, match in (
        ("a.zip", b"x", r"of the kind .zip: give one of .csv, .mp4, .mov"),
        ("a.csv", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=match):
            check_file(tmp_path / name, 50.0)
    with pytest.raises(ValueError, match=r"none.csv cannot be read: No such file"):
        check_file(tmp_path / "none.csv", 50.0)


def test_a_file_is_drawn_in_si_units_and_given_to_the_model_as_it_is(tmp_path, demo_model):
    path = write(tmp_path, np.c_[VALUES[:, :3] / 9.80665, np.degrees(VALUES[:, 3:])], HEAD)
    loaded = read_file(path, demo_model, 1.0, 50.0, "g", "deg/s", "left wrist")
    np.testing.assert_allclose(loaded.arrays["imu"][0], VALUES, rtol=1e-5)
    assert loaded.streams["imu"]["sensors"][0]["placement"] == "left wrist"
    assert loaded.extent_s == (0.0, 2.0)
    expected = demo_model.embed(imu=VALUES, rate_hz=50.0, placements=["left wrist"])
    np.testing.assert_allclose(demo_model.embed(**loaded.given["imu"]), expected, atol=1e-5)


def film(width: int = 32, height: int = 24, seconds: float = 2.0, fps: int = 25) -> bytes:
    """Brighter from frame to frame; the left half is black."""
    count = round(seconds * fps)
    frames = np.repeat(np.linspace(40, 250, count).astype(np.uint8), height * width * 3)
    frames = frames.reshape(count, height, width, 3).copy()
    frames[:, :, : width // 2] = 0
    return encode_h264(frames, fps)


def test_films_are_read_ten_times_a_second(tmp_path):
    frames, rate = read_film(film())
    assert rate == 10.0
    assert frames.shape == (20, 24, 32, 3)
    bright = frames[:, :, 20:].mean((1, 2, 3))
    np.testing.assert_allclose(bright, np.linspace(40, 250, 50)[np.rint(np.arange(20) * 2.5).astype(int)], atol=8)


def test_a_film_that_is_to_be_turned_is_turned():
    frames, _ = read_film(with_matrix(film(), *MATRICES[90]))
    assert frames.shape == (20, 32, 24, 3)
    assert frames[-1, :12].mean() < 20 < 200 < frames[-1, 20:].mean()  # what was left is above


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (3000, 200)])
def test_a_film_of_any_shape_becomes_small(width, height):
    frames, _ = read_film(huge(width, height, 3))
    assert frames.shape[2] / frames.shape[1] == pytest.approx(width / height, rel=0.02)
    assert 0.95 * readers.FILM_PIXELS < frames.shape[1] * frames.shape[2] < 1.05 * readers.FILM_PIXELS


def test_bad_films_are_refused_in_words(tmp_path, demo_model, monkeypatch):
    path = tmp_path / "a.mov"
    path.write_bytes(b"no film at all")
    with pytest.raises(ValueError, match=r"a.mov is no film that can be read"):
        read_file(path, demo_model, 1.0)
    path.write_bytes(film()[:1500])
    with pytest.raises(ValueError, match=r"a.mov"):
        read_file(path, demo_model, 1.0)
    path.write_bytes(film())
    assert read_file(path, demo_model, 1.0).given["video"]["video"].shape == (20, 24, 32, 3)
    monkeypatch.setattr(readers, "MOST_FRAMES", 49)
    with pytest.raises(ValueError, match=r"a.mov: it has 50 frames: at most 49, cut it"):
        read_file(path, demo_model, 1.0)
    monkeypatch.setattr(readers, "LONGEST_FILM_S", 1.0)
    with pytest.raises(ValueError, match=r"a.mov: it lasts 2 s: at most 1 s, cut it"):
        read_file(path, demo_model, 1.0)
    path.write_bytes(huge(4096, 2400, 2))
    with pytest.raises(ValueError, match=r"a.mov: its frames are of 4096 x 2400 pixels, at most 4096 x 2304 are read"):
        read_file(path, demo_model, 1.0)


def test_a_film_for_a_model_without_video(tmp_path, demo_run):
    import aura

    path = tmp_path / "a.mp4"
    path.write_bytes(film())
    with pytest.raises(ValueError, match="the model tiny reads no video"):
        read_file(path, aura.from_pretrained(demo_run, ["imu", "text"]), 1.0)
