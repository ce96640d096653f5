"""PAMAP2: files in the published layout, made here, against the samples."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aura.data.sample import Sample, validate
from aura.data.writer import Dropped, ShardError
from shards import pamap2
from shards.archives import SourceFile
from shards.pamap2_texts import ACTIVITIES, FILES
from shards.signals import Settings
from tests.shards.pamap2_writer import ANKLE, CHEST, HAND, lines, lose, printed, table, write


def convert(path: Path, subject: str = "101", part: str = "Protocol") -> tuple[list[Sample], dict[str, Dropped]]:
    """Samples in order of time, and notes by reason."""
    recording = pamap2.Recording(part, subject, "train", SourceFile(f"{part}/{path.name}", path))
    found, notes = [], {}
    for item in pamap2.samples_of(recording, Settings(), False):
        if isinstance(item, Dropped):
            before = notes.get(item.reason, Dropped(item.reason, 0.0, 0))
            notes[item.reason] = Dropped(item.reason, before.seconds + item.seconds, before.count + item.count)
        else:
            assert item[0] == "train"
            validate(item[1])
            found.append(item[1])
    return found, notes


def placements(sample: Sample) -> list[str]:
    return [sensor["placement"] for sensor in sample.streams["imu"]["sensors"]]


def test_values_activities_and_texts(tmp_path: Path) -> None:
    x = table([(0, 200), (1, 1000), (4, 2500), (0, 100), (24, 300)], quaternions=False)
    found, notes = convert(write(tmp_path / "subject101.dat", x))
    assert [(s.labels["activity"], s.start_s, s.duration_s) for s in found] == [
        ("lying", 2.0, 10.0),
        ("walking", 12.0, 12.5),
        ("walking", 24.5, 12.5),
        ("rope jumping", 38.0, 3.0),
    ]
    for sample in found:
        begin = round(sample.start_s * 100)
        imu = sample.arrays["imu"]
        assert isinstance(imu, np.ndarray)
        for sensor, first in enumerate((HAND, CHEST, ANKLE)):
            assert np.array_equal(imu[sensor], printed(x[begin : begin + imu.shape[1]], first))
        assert sample.streams["imu"]["rate_hz"] == 100
        assert placements(sample) == ["right wrist", "chest", "right ankle"]
        assert sample.labels["activity12"] == sample.labels["activity"]
        assert (sample.subject, sample.recording) == ("101", "protocol_subject101")
    assert [(t["kind"], t["text"], t["start_s"], t["end_s"]) for t in found[1].texts] == [
        ("label", "walking", 0.0, 12.5),
        ("description", ACTIVITIES[4].description, 0.0, 12.5),
    ]
    sensor = found[0].streams["imu"]["sensors"][0]
    assert sensor["range"][0] == pytest.approx(16 * 9.80665)
    assert not sensor["virtual"]
    transient = notes["rows between activities (transient, id 0)"]
    assert (transient.count, transient.seconds) == (300, pytest.approx(3.0))


def test_short_losses_are_filled_and_longer_ones_cut_for_their_sensor_alone(tmp_path: Path) -> None:
    x = table([(2, 1500)])
    lose(x, HAND, 100, 101)
    lose(x, CHEST, 200, 210)
    lose(x, HAND, 300, 311)  # 0.11 s
    lose(x, ANKLE, 700, 1000)
    found, notes = convert(write(tmp_path / "subject108.dat", x), "108")
    assert [(s.start_s, s.duration_s, placements(s)) for s in found] == [
        (0.0, 3.0, ["left wrist", "chest", "left ankle"]),
        (3.11, 3.89, ["left wrist", "chest", "left ankle"]),
        (7.0, 3.0, ["left wrist", "chest"]),
        (10.0, 5.0, ["left wrist", "chest", "left ankle"]),
    ]
    imu, hand, chest = found[0].arrays["imu"], printed(x, HAND), printed(x, CHEST)
    assert isinstance(imu, np.ndarray)
    np.testing.assert_allclose(imu[0, 100], (hand[99] + hand[101]) / 2, atol=1e-5)
    share = np.arange(1, 11)[:, None] / 11
    np.testing.assert_allclose(imu[1, 200:210], chest[199] + share * (chest[210] - chest[199]), atol=1e-5)
    cut = "gaps longer than 0.1 s or at an end cut out"
    assert notes["left wrist: gaps of up to 0.1 s filled by interpolation"].count == 1
    assert notes["chest: gaps of up to 0.1 s filled by interpolation"].count == 10
    assert (notes[f"left wrist: {cut}"].count, notes[f"left ankle: {cut}"].count) == (11, 300)
    assert notes["pieces shorter than 1 s"].seconds == pytest.approx(0.11)


def test_heart_rate_is_laid_on_its_own_grid_and_never_across_activities(tmp_path: Path) -> None:
    x = table([(2, 600), (3, 400), (4, 300)])
    x[:, 2] = np.nan
    rows = np.array(
        [*range(5, 300, 11), *range(401, 600, 11), *range(605, 1000, 11)]
    )  # 1.06 s without, from row 302 on
    x[rows, 2] = np.where(rows < 600, 60 + rows / 10, 150)
    found, _ = convert(write(tmp_path / "subject101.dat", x))
    assert [s.labels["activity"] for s in found] == ["sitting", "standing", "walking"]
    about = {"rate_hz": 10.0, "start_s": 0.0, "length": 60, "channels": ["heart_rate bpm"]}
    assert found[0].streams["series_heart"] == about
    first, second = (s.arrays["series_heart"] for s in found[:2])
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    row = np.arange(60) * 10  # of the file, at each item
    known = ((row >= rows[0]) & (row <= 291)) | ((row >= 401) & (row <= 599))
    assert (~np.isnan(first[:, 0])).tolist() == known.tolist()
    np.testing.assert_allclose(first[known, 0], 60 + row[known] / 10, atol=0.01)  # a straight line stays one
    assert np.isnan(second[0, 0])  # the value of the activity before is not drawn on
    assert (second[1:39] == 150).all()
    assert "series_heart" not in found[2].streams


def test_nothing_is_interpolated_from_one_activity_to_the_next(tmp_path: Path) -> None:
    x = table([(2, 300), (3, 300)])
    lose(x, HAND, 297, 303)
    found, notes = convert(write(tmp_path / "subject101.dat", x))
    assert [(s.start_s, s.duration_s) for s in found] == [(0.0, 2.97), (3.03, 2.97)]
    assert notes["right wrist: gaps longer than 0.1 s or at an end cut out"].count == 6


def test_time_stamps_place_the_rows(tmp_path: Path) -> None:
    x = table([(2, 1200)])
    keep = np.delete(np.arange(1200), [*range(300, 305), *range(600, 650)])  # lines that are not there at all
    x = x[keep]
    x[[100, 101]] = x[[101, 100]]
    found, notes = convert(write(tmp_path / "subject101.dat", x))
    assert [(s.start_s, s.duration_s) for s in found] == [(0.0, 6.0), (6.5, 5.5)]
    imu = found[0].arrays["imu"]
    assert isinstance(imu, np.ndarray)
    assert np.array_equal(imu[0, 305:600], printed(x[300:595], HAND))
    assert np.array_equal(imu[0, 100], printed(x[101:102], HAND)[0])
    assert notes["rows out of order: put in the order of their times"].count == 1
    assert notes["gap of the clock longer than 0.1 s: cut there"].seconds == pytest.approx(0.5)


def test_a_clock_that_starts_again_begins_a_recording(tmp_path: Path) -> None:
    x = np.concatenate([table([(2, 400)], start=50), table([(2, 400)], seed=1, start=5)])
    found, notes = convert(write(tmp_path / "subject101.dat", x))
    assert [(s.recording, s.start_s, s.duration_s) for s in found] == [
        ("protocol_subject101", 0.0, 4.0),
        ("protocol_subject101_clock2", 0.0, 4.0),
    ]
    assert notes["clock set back: what follows is a recording of its own"].count == 1


def test_truncated_file_wrong_counts_crlf_and_unknown_activities(tmp_path: Path) -> None:
    x = table([(5, 400), (8, 50)])
    text = lines(x, "\r\n")
    text[200] = " ".join(text[200].split()[:30]) + "\r\n"
    text[-1] = text[-1][:100]
    path = tmp_path / "subject101.dat"
    path.write_bytes("".join(text).encode())
    found, notes = convert(path)
    assert [(s.labels["activity"], s.duration_s) for s in found] == [("running", 4.0)]
    imu = found[0].arrays["imu"]
    assert isinstance(imu, np.ndarray)
    assert np.array_equal(np.delete(imu[2], 200, 0), printed(np.delete(x[:400], 200, 0), ANKLE))
    assert notes["lines that have not 54 numbers"].count == 2
    assert notes["rows of an activity that is not in the list: 8"].count == 49
    assert notes["file that is not of the published size, used: protocol_subject101"].count == 1


def test_a_damaged_number_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    text = lines(table([(5, 100)]))
    text[50] = text[50].replace(text[50].split()[4], "1.2x")
    path = tmp_path / "subject101.dat"
    path.write_text("".join(text))
    with pytest.raises(ValueError, match=r"Protocol/subject101.dat: .*1\.2x.*--check"):
        convert(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "PAMAP2_Dataset"
    for i, subject in enumerate((101, 105, 106)):
        write(source / "Protocol" / f"subject{subject}.dat", table([(0, 100), (1, 600), (24, 250)], seed=i))
    write(source / "Optional" / "subject101.dat", table([(9, 500)], seed=9), "\r\n")
    (source / "readme.pdf").write_bytes(b"%PDF")
    return source


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def test_zip_nested_zip_and_folder_give_the_same_shards(folder: Path, tmp_path: Path) -> None:
    shipped = zipped(folder, tmp_path / "PAMAP2_Dataset.zip")
    outer = tmp_path / "uci.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(shipped, shipped.name)
        archive.writestr("readme.pdf", b"%PDF")
    sources = {"folder": folder, "zip": shipped, "nested": outer}
    for name, source in sources.items():
        manifest = pamap2.run(source, tmp_path / "out" / name)
    hashes = {
        name: [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / "out" / name).glob("*.tar"))]
        for name in sources
    }
    assert hashes["folder"] == hashes["zip"] == hashes["nested"]
    assert {s: about["subjects"] for s, about in manifest["splits"].items()} == {
        "train": ["101"],
        "val": ["105"],
        "test": ["106"],
    }
    assert manifest["splits"]["train"]["labels"] == {
        "activity": {"lying": 1, "rope jumping": 1, "watching TV": 1},
        "activity12": {"lying": 1, "rope jumping": 1},
    }
    card = (tmp_path / "out" / "zip" / "README.md").read_text()
    assert "rows between activities (transient, id 0) | 300 | 3 |" in card
    done = subprocess.run(
        [sys.executable, "tools/verify_shards.py", tmp_path / "out" / "zip"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_compares_sizes_and_hashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = pamap2.plan(pamap2.find(folder, folder), ("105",), ("106",))
    with pytest.raises(ShardError, match=r"Optional/subject101.dat has .* not 121246257, a8b713714060"):
        pamap2.check(recordings)
    for r in recordings:
        data = r.file.read()
        name = f"{r.part}/subject{r.subject}.dat"
        monkeypatch.setitem(FILES, name, (len(data), hashlib.sha256(data).hexdigest()[:12]))
    report = pamap2.check(recordings)
    assert report.count("as published") == 4
    assert report.count("not there") == 10
    path = folder / "Protocol" / "subject105.dat"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1  # the size stays
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"differ.*: Protocol/subject105.dat"):
        pamap2.check(recordings)


def test_a_damaged_zip_is_named(folder: Path, tmp_path: Path) -> None:
    shipped = zipped(folder, tmp_path / "PAMAP2_Dataset.zip")
    data = bytearray(shipped.read_bytes())
    data[5000] ^= 0xFF  # inside the first file's compressed bytes; the directory at the end stays
    shipped.write_bytes(data)
    recordings = pamap2.plan(pamap2.find(shipped, tmp_path), (), ())
    with pytest.raises(ShardError, match=r"PAMAP2_Dataset.zip: .*subject101.dat cannot be read, download it again"):
        pamap2.check(recordings)


@pytest.mark.parametrize(
    ("val", "test", "message"), [(("110",), (), "no subject 110"), (("105",), ("105",), "both splits")]
)
def test_splits_that_cannot_be(folder: Path, val: tuple, test: tuple, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        pamap2.plan(pamap2.find(folder, folder), val, test)


def test_a_source_without_the_files_says_what_to_download(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_text("1")
    with pytest.raises(ShardError, match=r"Protocol/subject101.dat: download PAMAP2 from https"):
        pamap2.plan(pamap2.find(tmp_path, tmp_path), (), ())


def test_long_files_cost_blocks_of_memory_and_lose_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = table([(1, 1000)])
    path = write(tmp_path / "subject101.dat", x)
    monkeypatch.setattr("shards.columns.BLOCK_BYTES", 1000)  # lines are some 450 bytes: blocks cut them anywhere
    found, _ = convert(path)
    imu = found[0].arrays["imu"]
    assert isinstance(imu, np.ndarray)
    assert np.array_equal(imu[1], printed(x, CHEST))


@pytest.mark.realdata
def test_the_table_and_the_real_line() -> None:
    data = Path(os.environ.get("AURA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pamap2"
    if not data.exists():
        pytest.skip(f"{data} is absent: set AURA_DATA to the folder that holds pamap2")
    rows = [line.split(",", 2) for line in (data / "labels.csv").read_text().splitlines()[1:]]
    for number, name, rest in rows[1:]:
        known = ACTIVITIES[int(number)]
        assert (known.name, known.subset12) == (name, rest.endswith("true"))
        assert known.description in rest
    assert len(ACTIVITIES) == len(rows) - 1 == 18
    listed = [line.split(",") for line in (data / "files.csv").read_text().splitlines()[1:]]
    assert {name: (int(size), sha) for name, size, sha in listed} == FILES
    line = data / "subject101_line1.dat"
    recording = pamap2.Recording("Protocol", "101", "train", SourceFile(line.name, line))
    times, activity, values, heart, _ = pamap2.read(recording, False)
    assert (times.tolist(), activity.tolist(), heart.tolist()) == ([8.38], [0], [104])
    assert [round(float(np.linalg.norm(x[0, :3])), 1) for x in values] == [9.6, 9.9, 9.8]
    assert (
        values[2][0].tolist()
        == np.float32([9.65918, -1.65569, -0.0997967, 0.00830026, 0.00925038, -0.0175803]).tolist()
    )
