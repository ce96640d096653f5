"""Folders of CSV files: what the files were written from, against the samples; clocks, units, mistakes in the YAML."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from aura.data.sample import Sample, validate
from aura.data.writer import Dropped, ShardError
from shards.csv import plan, read, run, samples_of
from shards.csv_config import Table, read_table
from shards.rows import clock
from tests.shards.reading import samples_in

G, DEG = 9.80665, np.pi / 180
ACC, GYRO = ["ax", "ay", "az"], ["gx", "gy", "gz"]
BASE = {
    "dataset": "study",
    "licence": "CC BY 4.0",
    "time": {"column": "t", "unit": "ms"},
    "sensors": [
        {
            "placement": "left wrist",
            "acc": {"columns": ACC, "unit": "g", "range": 8},
            "gyro": {"columns": GYRO, "unit": "dps"},
        }
    ],
}


def signals(n: int, seed: int = 0) -> np.ndarray:
    """(n, 6) in g and deg/s with three decimals."""
    rng = np.random.default_rng(seed)
    acc = rng.normal([0, 0, 1], 0.05, (n, 3))
    return np.round(np.concatenate([acc, rng.normal(0, 20, (n, 3))], 1), 3)


def write(
    path: Path, times: list, x: np.ndarray, more: dict | None = None, *, sep: str = ",", end: str = "\n"
) -> list[str]:
    """A table with time `t`, the six channels and more columns; NaN becomes an empty cell. Gives its lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    more = more or {}
    lines = [sep.join(["t", *ACC, *GYRO, *more])]
    for i, t in enumerate(times):
        cells = ["" if np.isnan(v) else repr(float(v)) for v in x[i]]
        lines.append(sep.join([str(t), *cells, *(str(values[i]) for values in more.values())]))
    path.write_bytes((end.join(lines) + end).encode())
    return lines


def si(x: np.ndarray) -> np.ndarray:
    return (x * ([G] * 3 + [DEG] * 3)).astype(np.float32)


def convert(source: Path, **changes) -> tuple[list[tuple[str, Sample]], dict[str, tuple[int, float]]]:
    """(split, sample) in order, and of each note its count and seconds."""
    table = Table.model_validate(BASE | changes)
    found, notes = [], {}
    for recording in plan(source, source, table):
        for item in samples_of(recording, table):
            if isinstance(item, Dropped):
                count, seconds = notes.get(item.reason, (0, 0.0))
                notes[item.reason] = count + item.count, round(seconds + item.seconds, 6)
            else:
                validate(item[1])
                found.append(item)
    return found, notes


def imu(sample: Sample) -> np.ndarray:
    found = sample.arrays["imu"]
    assert isinstance(found, np.ndarray)
    return found


def test_units_placements_names_and_splits(tmp_path: Path) -> None:
    x = signals(2500)
    for subject in ("s1", "s2", "s3"):
        write(tmp_path / subject / "monday_walking.csv", [1_700_000_000_000 + 20 * i for i in range(2500)], x)
    name = r"(?P<subject>s\d)/(?P<session>[a-z]+)_(?P<activity>[a-z]+)\.csv$"
    label = {"activity": {"names": {"walking": "level_walking"}}}
    found, notes = convert(
        tmp_path, name=name, labels=label, splits={"test": ["s3"]}, descriptions={"level_walking": ["A person walks."]}
    )
    assert not notes
    assert [(split, s.subject, s.session, s.start_s, s.duration_s) for split, s in found] == [
        (split, subject, "monday", start, length)
        for split, subject in (("train", "s1"), ("train", "s2"), ("test", "s3"))
        for start, length in ((0.0, 16.66), (16.66, 16.68), (33.34, 16.66))
    ]
    sample = found[1][1]
    np.testing.assert_array_equal(imu(sample)[0], si(x[833:1667]))
    assert sample.streams["imu"]["sensors"] == [
        {"placement": "left wrist", "channels": ["acc", "gyro"], "virtual": False, "range": [8 * G, 0.0]}
    ]
    assert sample.streams["imu"]["rate_hz"] == 50
    assert sample.labels == {"activity": "level_walking"}
    assert [(t["text"], t["kind"]) for t in sample.texts] == [
        ("level walking", "label"),
        ("A person walks.", "description"),
    ]


def test_jittered_clock_is_laid_on_an_even_grid(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(1000) / 99.4 + rng.uniform(-0.002, 0.002, 1000)
    wave = np.sin(2 * np.pi * 1.5 * times)
    x = np.stack([wave / 4, 0 * times, 1 + 0 * times, 30 * wave, 0 * times, 0 * times], 1)
    write(tmp_path / "a.csv", [f"{t:.6f}" for t in times], x)
    ((_, sample),), notes = convert(tmp_path, time={"column": "t", "unit": "s"})
    assert not notes
    assert sample.streams["imu"]["rate_hz"] == 100
    grid = times[0] + np.arange(imu(sample).shape[1]) / sample.streams["imu"]["rate_hz"]
    np.testing.assert_allclose(imu(sample)[0, :, 0], G / 4 * np.sin(2 * np.pi * 1.5 * grid), atol=0.01)
    assert sample.duration_s == pytest.approx(times[-1] - times[0], abs=0.03)


def test_label_and_text_columns_cut_and_caption(tmp_path: Path) -> None:
    x = signals(1000)
    activity = ["1"] * 300 + ["0"] * 100 + ["2"] * 400 + [""] * 200
    caption = [""] * 450 + ["turns left"] * 100 + [""] * 450
    write(tmp_path / "a.csv", [20 * i for i in range(1000)], x, {"act": activity, "note": caption})
    found, notes = convert(
        tmp_path,
        labels={"activity": {"column": "act", "names": {1: "walking", 2: "running"}, "ignore": [0]}},
        texts=[{"column": "note", "kind": "commentary"}],
    )
    assert [(s.start_s, s.duration_s, s.labels) for _, s in found] == [
        (0.0, 6.0, {"activity": "walking"}),
        (8.0, 8.0, {"activity": "running"}),
        (16.0, 4.0, {}),
    ]
    assert found[1][1].texts == [
        {"text": "running", "start_s": 0.0, "end_s": 8.0, "kind": "label"},
        {"text": "turns left", "start_s": 1.0, "end_s": 3.0, "kind": "commentary"},
    ]
    assert notes == {"rows with activity '0', to be left out": (100, 2.0)}


def test_other_signals_are_streams_of_their_own(tmp_path: Path) -> None:
    n, step = 32 * 90, 8
    eda = np.full(n, np.nan)
    eda[::step] = np.round(2 + np.sin(np.arange(n // step) / 40), 4)
    eda[800:960] = np.nan  # 5 s
    skin = np.where(np.isnan(eda), np.nan, 33.25)
    skin[0] = np.nan
    skin[800] = 33.25  # what one channel lacks the other keeps
    breath = np.round(np.cos(np.arange(n) / 64), 4)
    more = {"EDA": eda, "TEMP": skin, "BR": breath}
    write(tmp_path / "s1.csv", [i * 31.25 for i in range(n)], signals(n), more)
    series = {
        "band": {"columns": {"eda uS": "EDA", "skin_temperature degC": "TEMP"}, "rate_hz": 4},
        "breath": {"columns": {"volume l": "BR"}},
    }
    found, _ = convert(tmp_path, series=series)
    made = [sample for _, sample in found]
    band = np.concatenate([sample.arrays["series_band"] for sample in made])
    np.testing.assert_array_equal(band, np.stack([eda, skin], 1)[::step].astype(np.float32))
    np.testing.assert_array_equal(np.concatenate([s.arrays["series_breath"] for s in made])[:, 0], breath.astype("f4"))
    entry = made[0].streams["series_band"]
    assert (entry["rate_hz"], entry["channels"]) == (4, ["eda uS", "skin_temperature degC"])
    assert made[0].streams["series_breath"]["rate_hz"] == 32
    with pytest.raises(ValueError, match=r"s1.csv: column 'EDA' has 4 values a second, series.x says 32: correct"):
        convert(tmp_path, series={"x": {"columns": {"eda uS": "EDA"}}})


def test_clocks_that_jump_run_back_or_stand(tmp_path: Path) -> None:
    x = signals(1000)
    times = [20 * i for i in range(1000)]
    times[100], times[101] = times[101], times[100]
    times[200] = times[199]
    times[300] = ""  # type: ignore
    times[400:] = [t + 5000 for t in times[400:]]  # the recorder stood still
    times[700:] = [20 * i for i in range(300)]  # the clock was set back
    write(tmp_path / "a.csv", times, x)
    found, notes = convert(tmp_path)
    assert [(s.recording, s.start_s, s.duration_s) for _, s in found] == [
        ("a", 0.0, 8.0),
        ("a", 13.0, 6.0),
        ("a_clock2", 0.0, 6.0),
    ]
    first = imu(found[0][1])[0]
    np.testing.assert_array_equal(first[100], si(x[101:102])[0])
    np.testing.assert_array_equal(first[101], si(x[100:101])[0])
    np.testing.assert_allclose(first[300], (si(x[299:300])[0] + si(x[301:302])[0]) / 2, atol=1e-5)
    np.testing.assert_array_equal(imu(found[2][1])[0], si(x[700:]))
    assert notes == {
        "rows without a time": (1, 0.0),
        "rows out of order: put in the order of their times": (1, 0.0),
        "rows with the time of another": (1, 0.0),
        "clock set back: what follows is a recording of its own": (1, 0.0),
        "gap of the clock longer than 0.1 s: cut there": (1, 5.0),
        "left wrist: gaps of up to 0.1 s filled by interpolation": (2, 0.04),
    }


def test_missing_values_wrong_counts_and_a_cut_file(tmp_path: Path) -> None:
    x = signals(600)
    x[50:53, 1] = np.nan  # 0.06 s
    x[200:210] = np.nan  # 0.2 s
    lines = write(tmp_path / "a.csv", [20 * i for i in range(600)], x)
    lines[301] += ",7"
    (tmp_path / "a.csv").write_text("\r\n".join(lines)[:-20])
    found, notes = convert(tmp_path)
    assert [(s.start_s, s.duration_s) for _, s in found] == [(0.0, 4.0), (4.2, pytest.approx(7.78))]
    want = si(x[49:50])[0] + np.arange(1, 4)[:, None] / 4 * (si(x[53:54])[0] - si(x[49:50])[0])
    np.testing.assert_allclose(imu(found[0][1])[0, 50:53], want, atol=1e-4)
    assert notes == {
        "lines with another number of cells than the first": (2, 0.0),
        "left wrist: gaps of up to 0.1 s filled by interpolation": (4, 0.08),
        "left wrist: gaps longer than 0.1 s or at an end cut out": (10, 0.2),
    }


@pytest.mark.parametrize("unit", ["ns", "us", "iso", "iso zone"])
def test_times_of_day_keep_their_fractions(tmp_path: Path, unit: str) -> None:
    x, step = signals(400), 1_250_000  # 800 Hz: a float of nanoseconds since 1970 would be off by up to 256 ns
    first = 1_769_860_800_000_000_001
    if unit == "ns":
        times: list = [first + step * i for i in range(400)]
    elif unit == "us":
        times = [(first + step * i) / 1000 for i in range(400)]
    else:
        stamps = np.array([first + step * i for i in range(400)], "datetime64[ns]")
        times = [str(t) + ("+02:00" if "zone" in unit else "") for t in stamps]
    write(tmp_path / "a.csv", times, np.tile(x, (1, 1)))
    table = Table.model_validate(BASE | {"time": {"column": "t", "unit": unit.split()[0]}, "rate_hz": 800})
    (recording,) = plan(tmp_path, tmp_path, table)
    notes = [item.reason for item in samples_of(recording, table) if isinstance(item, Dropped)]
    assert notes == ["pieces shorter than 1 s"]  # no gap, nothing out of order
    kind = {"ns": pa.int64(), "us": pa.float64()}.get(unit, pa.string())
    found, _ = read(recording.file, {"t": kind}, table)
    seconds, rate = clock(found, table)
    np.testing.assert_allclose(seconds, np.arange(400) * 0.00125, atol=3e-7 if unit == "us" else 1e-12)
    assert rate == 800


def test_other_dialects(tmp_path: Path) -> None:
    """No header, semicolons, decimal commas, a preamble, CRLF; and no clock."""
    x = signals(200)
    rows = [";".join(str(v).replace(".", ",") for v in row) for row in x.tolist()]
    (tmp_path / "a.txt").write_bytes("\r\n".join(["Device 7", "v2", *rows]).encode())
    ((_, sample),), notes = convert(
        tmp_path,
        files=["*.txt"],
        time=None,
        rate_hz=100,
        header=[*ACC, *GYRO],
        skip_rows=2,
        delimiter=";",
        decimal=",",
        sensors=[{"placement": "head", "gyro": {"columns": GYRO, "unit": "deg/s"}}],
    )
    assert not notes
    assert (sample.duration_s, sample.streams["imu"]["sensors"][0]["channels"]) == (2.0, ["gyro"])
    np.testing.assert_array_equal(imu(sample)[0, :, 3:], si(x)[:, 3:])
    assert not imu(sample)[0, :, :3].any()


def test_subjects_of_a_column(tmp_path: Path) -> None:
    x = signals(900)
    times = [20 * (i % 300) for i in range(900)]
    write(tmp_path / "all.tsv", times, x, {"who": ["p1"] * 300 + ["p2"] * 300 + ["p3"] * 300}, sep="\t")
    found, _ = convert(tmp_path, subject_column="who", splits={"val": ["p2"]})
    assert [(split, s.subject, s.duration_s) for split, s in found] == [
        ("train", "p1", 6.0),
        ("val", "p2", 6.0),
        ("train", "p3", 6.0),
    ]
    np.testing.assert_array_equal(imu(found[1][1])[0], si(x[300:600]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": {"column": "time", "unit": "ms"}}, r"a\.csv: has no column 'time' \(its columns: t, ax, .*'t'"),
        ({"time": {"column": "t", "unit": "us"}}, r"a\.csv: time column 't' in us has 5e\+04 rows .*time\.unit"),
        ({"rate_hz": 100}, r"a\.csv: .* has 50 rows a second, rate_hz says 100"),
        (
            {"sensors": [{"placement": "head", "acc": {"columns": ACC, "unit": "m/s2"}}]},
            r"a\.csv: columns ax, ay, az: their norm is 1 m/s\^2 .* gravity in g: correct the unit",
        ),
        (
            {"sensors": [{"placement": "head", "acc": {"columns": ACC, "unit": "mg"}}]},
            r"a\.csv: columns ax, ay, az: their norm is 1 mg .* gravity in g: correct the unit",
        ),
        (
            {"sensors": [{"placement": "head", "acc": {"columns": ["ax", "ay", "word"], "unit": "g"}}]},
            r"a\.csv: cannot be read as a table: .*'hello'.*missing",
        ),
        ({"delimiter": ";"}, r"a\.csv: has no column .*delimiter"),
        ({"skip_rows": 100_000}, r"a\.csv: has no first line with names of columns: it is empty"),
    ],
)
def test_files_that_are_not_what_the_yaml_says(tmp_path: Path, changes: dict, message: str) -> None:
    write(tmp_path / "a.csv", [20 * i for i in range(200)], signals(200), {"word": ["hello"] * 200})
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, **changes)


def test_a_clock_that_counts_seconds_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [i // 50 for i in range(400)], signals(400))
    with pytest.raises(ValueError, match=r"a\.csv: .*98% of the rows have the time of the row before; .*rate_hz"):
        convert(tmp_path, time={"column": "t", "unit": "s"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensor": []}, "sensor: there is no such key; the nearest is 'sensors'"),
        ({"sensors": [{"placement": "wrist"}]}, "sensors.0.placement: unknown sensor placement 'wrist'"),
        ({"sensors": [{"placement": "wrist"}]}, "sensors.0.placement: [^;]*; there are 'left wrist', 'right wrist'$"),
        ({"sensors": []}, "sensors: Tuple should have at least 1 item"),
        ({"sensors": [{"placement": "head"}]}, "sensors.0: needs acc or gyro"),
        ({"series": {"x": {"columns": {"eda": "EDA"}}}}, "series.x: columns: 'eda' is no name and unit"),
        ({"series": {"X-Y": {"columns": {"eda uS": "EDA"}}}}, "series.X-Y.*should match pattern"),
        ({"name": "(?P<subject>s)", "splits": {"vals": ["s1"]}}, "splits: 'vals' is no split; give train, val or test"),
        ({"time": None}, "needs time .* or rate_hz"),
        ({"name": "(?P<subject"}, "name: .*no regular expression"),
        ({"splits": {"test": ["s1"]}}, "splits: subjects are not known; give subject_column"),
        ({"labels": {"activity": {}}}, r"labels.activity: give its column, or a group \(\?P<activity>"),
        ({"time": {"column": "t", "unit": "min"}}, "time.unit: Input should be 's', 'ms'"),
    ],
)
def test_mistakes_in_the_yaml(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(BASE | changes))
    with pytest.raises(ShardError, match=rf"study\.yaml: .*{message}"):
        read_table(path)


def test_names_and_subjects_that_do_not_fit_the_files(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", [0, 20], signals(2))
    with pytest.raises(ShardError, match=r"x\.csv: the pattern .* is not found"):
        convert(tmp_path, name=r"(?P<subject>s\d)")
    with pytest.raises(ShardError, match=r"no recording has the subject s9: .*; there are x$"):
        convert(tmp_path, name=r"(?P<subject>x)", splits={"test": ["s9"]})
    with pytest.raises(ShardError, match=r"no files such as \*\.log"):
        convert(tmp_path, files=["*.log"])


def test_command_line_workers_and_verified_shards(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / "in" / f"s{i}_walk.csv", [20 * j for j in range(300)], signals(300, i))
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(BASE | {"name": r"(?P<subject>s\d+)_(?P<activity>\w+)\.csv"}))
    manifest = run(tmp_path / "in", tmp_path / "one", config=config)
    assert [len(about["subjects"]) for about in manifest["splits"].values()] == [1, 8, 1]
    command = [sys.executable, "-m", "shards.csv", "--source", tmp_path / "in", "--out", tmp_path / "two"]
    done = subprocess.run([*command, "--config", config, "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in sorted((tmp_path / "one").iterdir()):
        assert (
            hashlib.sha256(path.read_bytes()).digest()
            == hashlib.sha256((tmp_path / "two" / path.name).read_bytes()).digest()
        ), path.name
    done = subprocess.run([sys.executable, "tools/verify_shards.py", tmp_path / "two"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_yaml_of_the_docs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    text = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "dataset: walks" in block)
    (tmp_path / "walks.yaml").write_text(text)
    for subject in ("s1", "s2", "s3", "s4"):
        (tmp_path / "walks" / subject).mkdir(parents=True)
        x = signals(200)
        with open(tmp_path / "walks" / subject / "morning_walking.csv", "w") as file:
            file.write("timestamp,ax,ay,az,gx,gy,gz\n")
            file.writelines(f"{20 * i},{','.join(map(str, row))}\n" for i, row in enumerate(x.tolist()))
    run(tmp_path / "walks", tmp_path / "out", config=tmp_path / "walks.yaml")
    found = {
        s.subject: (split, s.session, s.labels, [t["text"] for t in s.texts])
        for split, s in samples_in(tmp_path / "out").values()
    }
    assert found == {
        who: (split, "morning", {"activity": "walking"}, ["walking"])
        for who, split in (("s1", "train"), ("s2", "train"), ("s3", "val"), ("s4", "test"))
    }
