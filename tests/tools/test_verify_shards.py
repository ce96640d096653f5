"""verify_shards finds each way in which a folder can be broken, and repairs what can be."""

import io
import json
import re
import shutil
import tarfile

import numpy as np
import pytest

from aura.data.index import open_split
from aura.data.sample import to_members
from aura.data.writer import MANIFEST, ShardError, ShardWriter
from tests.data.samples import make_sample, write_set
from tools.verify_shards import main, resting_norm


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    out = tmp_path_factory.mktemp("verify") / "good"
    streams = ("imu", "orientation", "mocap", "pose2d", "video")
    write_set(out, 6, streams=streams, shard_bytes=250_000, also=[("val", make_sample(6))])
    return out


@pytest.fixture
def folder(good, tmp_path):
    shutil.copytree(good, tmp_path / "set")
    return tmp_path / "set"


def rewrite(path, change):
    """Writes a tar anew with changed (name, bytes) of its files."""
    with tarfile.open(path) as tar:
        files = [(info.name, tar.extractfile(info).read()) for info in tar]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in change(files):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def check(folder, capsys, *expected, options=()):
    """Runs the tool: exit code 1, and every expected piece in its table."""
    code = main([str(folder), *map(str, options)])
    out = capsys.readouterr().out
    assert code == 1, out
    for piece in expected:
        assert piece in out, out
    return out


def test_whole_folder_is_right(good, capsys):
    assert main([str(good)]) == 0
    out = capsys.readouterr().out
    assert "nothing is wrong" in out
    assert "7 of 7 samples are good" in out


def test_truncated_tar(folder, capsys):
    path = folder / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:-40_000])
    out = check(folder, capsys, "truncated", "train-000000.tar: has ", "the manifest says")
    assert "6 of 7 samples are good" in out


def test_changed_byte(folder, capsys):
    entry = open_split(str(folder), "train").entry(0)
    with open(folder / "train-000000.tar", "r+b") as file:
        start, size, *_ = entry["members"]["mocap.npy"]
        file.seek(entry["offset"] + start + size - 3)
        file.write(b"\x01")
    check(folder, capsys, "SHA-256 differs from the manifest's", "clip-0000: the bytes of mocap are not those")


def test_interleaved_and_duplicate_keys(folder, capsys):
    def interleave(files):
        a, b = files[:6], files[6:12]
        return [a[0], b[0], *a[1:], *b[1:], *files[12:]]

    rewrite(folder / "train-000000.tar", interleave)
    rewrite(folder / "val-000000.tar", lambda files: [files[0], *files, files[1]])
    out = check(folder, capsys, "its files are not together", "is there twice")
    assert "clip-0006" in out


def test_one_key_in_two_shards(folder, capsys):
    shutil.copy(folder / "train-000000.tar", folder / "train-000001.tar")
    check(folder, capsys, "duplicate", "clip-0000: this key is in train-000000.tar too")


def faulty(tmp_path, change, count=3):
    """A folder whose second sample breaks a rule, as a writer without checks would make it."""
    import aura.data.sample

    kept = aura.data.sample.validate
    aura.data.sample.validate = lambda sample: None
    try:
        with ShardWriter(tmp_path / "faulty", name="test") as writer:
            for number in range(count):
                sample = make_sample(number)
                if number == 1:
                    change(sample)
                writer.write("train", sample)
    finally:
        aura.data.sample.validate = kept
    return tmp_path / "faulty"


def test_values_that_are_not_finite(tmp_path, capsys):
    def change(sample):
        sample.arrays["imu"][0, 5, 0] = np.inf

    out = check(faulty(tmp_path, change), capsys, "not finite", "clip-0001: imu: is not finite, first at (0, 5, 0)")
    assert "2 of 3 samples are good" in out


def test_wrong_rate(tmp_path, capsys):
    def change(sample):
        sample.streams["imu"]["rate_hz"] = 50.0

    check(faulty(tmp_path, change), capsys, "rate", "clip-0001: streams.imu: spans 0 to 11.98 s of a sample of 6 s")


def scaled(name, factor, part=slice(None)):
    def change(sample):
        sample.arrays[name][..., part] *= factor

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (scaled("imu", 1 / 9.81, slice(0, 3)), "g instead of m/s^2?"),
        (scaled("imu", 0.0, slice(2, 3)), "gravity removed?"),
        (scaled("imu", 100.0, slice(0, 3)), "acceleration reaches"),
        (scaled("imu", 57.3, slice(3, 6)), "above 70 rad/s: degrees?"),
        (scaled("mocap", 1000.0), "a body 0.3 to 4: not metres?"),
        (scaled("mocap", 0.001), "not metres?"),
        (scaled("pose2d", 1 / 640, slice(0, 2)), "not pixels?"),
    ],
)
def test_wrong_units(tmp_path, capsys, change, expected):
    def still(sample):
        sample.arrays["imu"][..., :2] = 0
        sample.arrays["imu"][..., 3:] = 0.01
        if "degrees" in expected:
            sample.arrays["imu"][..., 3:] = 2.0
        change(sample)

    out = check(faulty(tmp_path, still), capsys, "units", "clip-0001", expected)
    assert "2 of 3 samples are good" in out


def test_moving_sensor_says_nothing_about_gravity():
    times = np.arange(1000) / 100
    shaken = np.stack([20 * np.sin(12 * times), 0 * times, 9.81 + 0 * times], -1)
    assert resting_norm(shaken, None, 100.0) is None
    still = shaken.copy()
    still[300:420, 0] = 0
    assert resting_norm(still, None, 100.0) == pytest.approx(9.81)
    assert resting_norm(still, np.ones_like(still), 100.0) is None  # the gyroscope says that it turns


def edit_manifest(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def resize(split, samples):
    split["samples"] = split["shards"][0]["samples"] = samples


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["splits"]["train"].update(subjects=["s9"]), "split train: subjects: says ['s9']"),
        (lambda m: m["splits"]["train"]["streams"]["imu"].update(samples=3), "split train: streams:"),
        (lambda m: resize(m["splits"]["val"], 4), "has 1 samples, the manifest says 4"),
        (lambda m: m["splits"]["val"]["shards"][0].update(sha256="0" * 64), "SHA-256 differs"),
        (lambda m: m["splits"].pop("val"), "val-000000.tar: is not listed in the manifest"),
        (lambda m: m.update(format="other/2"), "format 'other/2'"),
        (lambda m: m["splits"]["val"]["shards"][0].pop("bytes"), "cannot be used: manifest.json is damaged at splits"),
    ],
)
def test_manifest_that_does_not_fit(folder, capsys, change, expected):
    edit_manifest(folder, change)
    check(folder, capsys, "manifest" if "SHA" not in expected else "hash", expected)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda m: m["splits"]["train"]["streams"]["imu"]["rates_hz"].update({"100": True}), "splits.train.streams.imu.rates_hz.100"),
        (lambda m: m.update(dropped="../x"), "dropped"),
        (lambda m: m.update(dropped={"short": {"count": -1, "seconds": 1.0}}), "dropped.short.count"),
        (lambda m: m["converter"].update(version=[]), "converter.version"),
        (lambda m: m["converter"].pop("arguments"), "converter.arguments"),
        (lambda m: m.pop("name"), "name"),
        (lambda m: m.update(name="tests"), "name: 'tests', the converter is 'test'"),
        (lambda m: m.update(splits=[]), "splits"),
        (lambda m: m["splits"]["train"].update(subjects=[1]), "splits.train.subjects.0"),
        (lambda m: m["splits"]["train"].update(seconds=float("inf")), "splits.train.seconds"),
        (lambda m: m["splits"]["train"].update(samples=7), "splits.train.samples: 7, its shards have 6"),
        (lambda m: m["splits"]["train"].update(shards=[]), "splits.train.shards"),
        (lambda m: m["splits"]["val"]["shards"][0].update(sha256="x"), "splits.val.shards.0.sha256"),
        (lambda m: m["splits"]["val"]["shards"][0].update(file="../x"), "splits.val.shards: the files are not val-000000.tar"),
        (lambda m: m["splits"].update(eval=m["splits"].pop("val")), "splits.eval.shards: the files are not eval-000000.tar"),
        (lambda m: m["splits"]["val"]["streams"]["imu"].update(samples=2), "splits.val.streams.imu.samples: 2 of 1"),
        (lambda m: m["splits"]["val"]["labels"]["activity"].update(a1=1), "splits.val.labels.activity: of 2 samples"),
        (lambda m: m["splits"]["val"].update(sessions=2), "splits.val.sessions: 2 of 1 samples"),
    ],
)  # fmt: skip
def test_a_manifest_of_wrong_values_is_not_read(folder, capsys, change, place):
    edit_manifest(folder, change)
    check(folder, capsys, f"cannot be used: manifest.json is damaged at {place}")
    with pytest.raises(ShardError, match=re.escape(f"{folder}/manifest.json is damaged at {place}")):
        open_split(str(folder), "train")


def test_totals_are_compared_whatever_else_is_wrong(folder, capsys):
    edit_manifest(folder, lambda m: m["splits"]["train"]["subjects"].append("s9"))
    (folder / "val-000000.idx.json").unlink()
    check(folder, capsys, "val-000000.idx.json: cannot be read", "split train: subjects: says ['s0', 's1', 's2', 's9']")


def test_missing_files(folder, capsys):
    (folder / "train-000001.tar").unlink()
    (folder / "val-000000.idx.json").unlink()
    check(
        folder, capsys, "train-000001.tar: is listed in the manifest and missing", "val-000000.idx.json: cannot be read"
    )
    (folder / MANIFEST).unlink()
    check(folder, capsys, "manifest.json: missing")


def test_index_that_does_not_fit(folder, capsys):
    path = folder / "train-000000.idx.json"
    path.write_text(path.read_text().replace("clip-0000", "clip-9999"))
    check(folder, capsys, "train-000000.idx.json: SHA-256 differs", "clip-9999: is in the index and not in the tar")


def test_an_index_whose_key_is_no_string(folder, capsys):
    path = folder / "train-000000.idx.json"
    index = json.loads(path.read_text())
    index["samples"][0]["key"] = None
    path.write_text(json.dumps(index))
    check(folder, capsys, "train-000000.idx.json: cannot be read: the key None is not a string")


def test_repair_keeps_the_good_samples(folder, tmp_path, capsys):
    def damage(files):
        return [(n, b"{}" if n == "clip-0001.json" else d) for n, d in files if n != "clip-0000.json"]

    rewrite(folder / "train-000000.tar", damage)
    tail = folder / "train-000002.tar"
    tail.write_bytes(tail.read_bytes()[:-30_000])
    out = check(folder, capsys, "clip-0001", "clip-0000.json is not the first", options=("--repair", tmp_path / "new"))
    assert main([str(tmp_path / "new")]) == 0
    assert "truncated" in out
    left = [entry["key"] for entry in open_split(str(tmp_path / "new"), "train").entries()]
    assert left == ["clip-0002", "clip-0003", "clip-0004"]  # the tar of clip-0005 ends in it
    for i, entry in enumerate(open_split(str(tmp_path / "new"), "train").entries()):
        number = int(entry["key"][-4:])
        streams = ("imu", "orientation", "mocap", "pose2d", "video")
        assert to_members(open_split(str(tmp_path / "new"), "train").sample(i)) == to_members(
            make_sample(number, streams=streams)
        )
    assert len(open_split(str(tmp_path / "new"), "val")) == 1
    manifest = json.loads((tmp_path / "new" / MANIFEST).read_text())
    assert manifest["converter"]["name"] == "test"
    assert manifest["dropped"]["repair: unreadable or against the format"]["count"] == 3
    assert "not repaired" in check(folder, capsys, options=("--repair", tmp_path / "new"))


def test_a_tar_that_the_manifest_does_not_list(folder, tmp_path, capsys):
    shutil.copy(folder / "val-000000.tar", folder / "train-000009.tar")
    rewrite(folder / "train-000009.tar", lambda files: [(n.replace("clip-0006", "stranger"), d) for n, d in files])
    check(folder, capsys, "train-000009.tar: is not listed", options=("--repair", tmp_path / "new"))
    splits = [open_split(str(tmp_path / "new"), split) for split in ("train", "val")]
    assert [len(split) for split in splits] == [6, 1], "what the manifest does not list is not taken in"


def test_people_in_two_splits_are_told(tmp_path, capsys):
    write_set(tmp_path / "a", 2, also=[("val", make_sample(6)), ("test", make_sample(5, subject="new"))])
    capsys.readouterr()
    assert main([str(tmp_path / "a")]) == 0, "some data sets are split so on purpose"
    assert "note: 1 of 3 subjects are in more than one split: s0 (train, val)" in capsys.readouterr().out
