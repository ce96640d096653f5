"""inspect_shards says what a folder holds, and draws a sample of it."""

import re

import fsspec
import numpy as np
import pytest
from PIL import Image

from aura.data.writer import ShardWriter
from tests.data.samples import make_sample, write_set
from tools.inspect_shards import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("inspect") / "set"
    streams = ("imu", "orientation", "mocap", "pose2d", "video")
    write_set(out, 5, streams=streams, also=[("val", make_sample(6, streams=("imu",)))])
    return out


def words(out: str, start: str) -> list[str]:
    """Cells of the line that begins with a word."""
    line = next(line for line in out.splitlines() if line.startswith(start + " "))
    return re.split(r"  +", line)


def test_table(folder, capsys):
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert words(out, "train")[:4] == ["train", "5", "0.00833", "3"]
    assert words(out, "val")[-1] == "clip-0006"
    assert words(out, "imu") == ["imu", "train 5, val 1", "0.01", "100", "chest 6, left wrist 6"]
    assert words(out, "mocap")[1:] == ["train 5", "0.00833", "20", "kinect20 5"]
    assert words(out, "text")[-1] == "description 12, label 6"
    assert words(out, "label activity")[1:] == ["4", "a0 2, a2 2, a1 1, a3 1"]
    assert "aura-shards/1, written by test" in out


def test_picture_of_a_sample(folder, tmp_path, capsys):
    assert main([str(folder), "--key", "clip-0003", "--out", str(tmp_path / "new" / "a.png")]) == 0
    assert "clip-0003 of train" in capsys.readouterr().out
    pixels = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    assert pixels.shape[1] == 1650
    assert pixels.std() > 10


def test_page_needs_nothing_else(folder, tmp_path):
    assert main([str(folder), "--out", str(tmp_path / "a.html")]) == 0
    page = (tmp_path / "a.html").read_text()
    assert re.findall(r'(?:src|href)="(.{15})', page) == ["data:image/png;"]
    assert "clip-0000" in page
    assert "the first half" in page
    assert "left wrist (acc, gyro)" in page


def test_tars_of_strangers_and_urls(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AURA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "one.tar").write_bytes((folder / "train-000000.tar").read_bytes())
    assert main([str(tmp_path / "one.tar"), "--out", str(tmp_path / "a.png")]) == 0
    out = capsys.readouterr().out
    assert "no manifest" in out
    assert words(out, "mocap")[-1].startswith("kinect20")
    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.pipe(f"/inspected/{path.name}", path.read_bytes())
    assert main(["memory://inspected", "--key", "clip-0006", "--out", str(tmp_path / "b.png")]) == 0
    assert "clip-0006 of val" in capsys.readouterr().out
    store.rm("/inspected", recursive=True)


def test_mistakes_are_named(folder, tmp_path, capsys):
    with pytest.raises(SystemExit, match="no sample 'x'; there are clip-0000, clip-0001"):
        main([str(folder), "--key", "x"])
    with pytest.raises(SystemExit, match="does not exist"):
        main([str(tmp_path / "absent")])
    with pytest.raises(SystemExit):
        main([str(folder), "--out", "a.jpg"])
    assert "ends in .png or .html" in capsys.readouterr().err


def test_a_damaged_video_is_named(tmp_path):
    sample = make_sample(streams=("video",))
    video = sample.arrays["video"]
    assert isinstance(video, bytes)
    sample.arrays["video"] = video[: len(video) // 2]
    with ShardWriter(tmp_path / "set", name="test") as writer:
        writer.write("train", sample)
    with pytest.raises(SystemExit, match="error: video"):
        main([str(tmp_path / "set"), "--out", str(tmp_path / "a.png")])
