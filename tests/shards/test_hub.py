"""Data sets as the Hub holds them, in local folders: what they were written from, against the samples."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import yaml
from datasets import Array2D, ClassLabel, Dataset, Features, List, Value
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.registry import _registry

from aura.data.index import open_split
from aura.data.writer import ShardError
from shards import hub
from shards.csv_config import Table
from tests.shards.reading import array, contents, dropped, samples_in

G, DEG = 9.80665, np.pi / 180
ACC, GYRO = ["ax", "ay", "az"], ["gx", "gy", "gz"]


def table_of(acc: list[str], gyro: list[str] | None = None, **more) -> Table:
    sensor: dict = {"placement": "right wrist", "acc": {"columns": acc, "unit": "g"}}
    if gyro:
        sensor["gyro"] = {"columns": gyro, "unit": "deg/s"}
    return Table.model_validate({"dataset": "study", "licence": "CC BY 4.0", "sensors": [sensor], **more})


def signals(n: int, seed: int) -> np.ndarray:
    """(n, 6) in g and deg/s, of which float32 keeps every digit."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal([0, 0, 1], 0.05, (n, 3)), rng.normal(0, 20, (n, 3))], 1)
    return x.astype(np.float32).astype(np.float64)


def si(x: np.ndarray) -> np.ndarray:
    return (x * ([G] * 3 + [DEG] * 3)).astype(np.float32)


def rows_of(x: np.ndarray, **more) -> dict:
    return {name: x[:, i].tolist() for i, name in enumerate([*ACC, *GYRO])} | more


def test_a_row_per_time(tmp_path: Path) -> None:
    """Two files of one split: subjects and activities of columns, classes by name, splits by subject."""
    features = Features(
        {c: Value("float32") for c in [*ACC, *GYRO]}
        | {"who": Value("int64"), "label": ClassLabel(names=["walking", "lying"]), "note": Value("string")}
    )
    data = [signals(600, 0), signals(400, 1)]
    for i, (x, who, label) in enumerate(
        [(data[0], [1] * 250 + [2] * 350, [0] * 150 + [1] * 450), (data[1], [3] * 400, [0] * 300 + [-1] * 100)]
    ):
        columns = rows_of(x, who=who, label=label, note=[None] * len(x))
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "data" / f"train-{i:05d}.parquet")
    table = table_of(
        ACC,
        GYRO,
        rate_hz=50,
        subject_column="who",
        labels={"activity": {"column": "label", "names": {"lying": "lying_down"}}},
        descriptions={"walking": ["A person walks."]},
        splits={"val": ["2"]},
    )
    hub.run(str(tmp_path / "data"), tmp_path / "out", config=table)
    found = samples_in(tmp_path / "out")
    assert [(k, split, s.subject, s.labels.get("activity"), s.duration_s) for k, (split, s) in found.items()] == [
        ("train-00000_1_0000000", "train", "1", "walking", 3.0),
        ("train-00000_1_0003000", "train", "1", "lying_down", 2.0),
        ("train-00001_3_0000000", "train", "3", "walking", 6.0),
        ("train-00001_3_0006000", "train", "3", None, 2.0),
        ("train-00000_2_0005000", "val", "2", "lying_down", 7.0),
    ]
    for key, expected in (
        ("train-00000_1_0003000", data[0][150:250]),
        ("train-00000_2_0005000", data[0][250:]),
        ("train-00001_3_0000000", data[1][:300]),
    ):
        np.testing.assert_array_equal(array(found[key][1], "imu")[0], si(expected))
    sample = found["train-00000_1_0000000"][1]
    assert [t["text"] for t in sample.texts] == ["walking", "A person walks."]
    assert sample.session == sample.recording == "train-00000_1"


def test_a_row_per_window(tmp_path: Path) -> None:
    """Splits of the data set; signals in one array, lists of numbers, and lists with times; workers change nothing."""
    features = Features(
        {
            "acc": Array2D((128, 3), "float32"),
            "gyro": List({"x": Value("float32"), "y": Value("float32"), "z": Value("float32")}),
            "subject": Value("string"),
            "label": ClassLabel(names=["walking", "lying"]),
        }
    )
    made: dict[str, np.ndarray] = {}
    for split, count in (("train", 5), ("validation", 3)):
        windows = [signals(128, 10 * count + i) for i in range(count)]
        made |= {f"{split}-00000_row{i:07d}_{split[0]}{i % 2}_0000000": x for i, x in enumerate(windows)}
        columns = {
            "acc": [x[:, :3].tolist() for x in windows],
            "gyro": [[dict(zip("xyz", row)) for row in x[:, 3:].tolist()] for x in windows],
            "subject": [f"{split[0]}{i % 2}" for i in range(count)],
            "label": [i % 2 for i in range(count)],
        }
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "data" / f"{split}-00000.parquet")
    table = table_of(
        ["acc.0", "acc.1", "acc.2"],
        ["gyro.x", "gyro.y", "gyro.z"],
        rate_hz=50,
        subject_column="subject",
        labels={"activity": {"column": "label"}},
    )
    hub.run(str(tmp_path / "data"), tmp_path / "out", config=table)
    found = samples_in(tmp_path / "out")
    assert found.keys() == made.keys()
    assert {split for key, (split, _) in found.items() if key.startswith("val")} == {"val"}
    for key, (_, sample) in found.items():
        np.testing.assert_array_equal(array(sample, "imu")[0], si(made[key]))
        assert sample.labels == {"activity": ["walking", "lying"][int(key[key.index("row") + 3 :][:7]) % 2]}
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(table.model_dump(mode="json", exclude_defaults=True)))
    command = [sys.executable, "-m", "shards.hub", "--source", tmp_path / "data", "--out", tmp_path / "two"]
    done = subprocess.run([*command, "--config", config, "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "out")


@pytest.mark.parametrize("windows", [False, True])
def test_the_limit_counts_recordings(tmp_path: Path, windows: bool) -> None:
    """Three files with three recordings each: by subject of rows that are times, or each row a window."""
    for number in range(3):
        x = signals(300, number)
        if windows:
            columns = {name: [x[i : i + 100, j].tolist() for i in (0, 100, 200)] for j, name in enumerate(ACC)}
        else:
            columns = rows_of(x, who=[f"p{number}{i // 100}" for i in range(300)])
        Dataset.from_dict(columns).to_parquet(tmp_path / "data" / f"train-{number:05d}.parquet")
    table = table_of(ACC, rate_hz=50, **({} if windows else {"subject_column": "who"}))
    keys = {}
    for limit in (1, 4, 6, None):
        hub.run(str(tmp_path / "data"), tmp_path / f"out{limit}", config=table, limit=limit)
        keys[limit] = sorted(samples_in(tmp_path / f"out{limit}"))
    assert [len(found) for found in keys.values()] == [1, 4, 6, 9]
    assert all(found == sorted(keys[None])[: len(found)] for found in keys.values())
    with pytest.raises(ShardError, match=r"no column 'aq'"):
        hub.run(str(tmp_path / "data"), tmp_path / "bad", config=table_of(["aq", "ay", "az"], rate_hz=50), limit=1)


def test_json_lines_with_times(tmp_path: Path) -> None:
    """Windows of lists of different lengths with ISO times; an empty one; subjects in parts by a tenth."""
    start = datetime.datetime(2026, 1, 31, 12)
    lines, x = [], signals(300, 3)
    for i in range(10):
        n = 0 if i == 3 else 100 + 20 * i
        times = [(start + datetime.timedelta(seconds=j / 25)).isoformat() for j in range(n)]
        lines.append(rows_of(x[:n], t=times, who=f"p{i}"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = table_of(ACC, time={"column": "t", "unit": "iso"}, subject_column="who")
    hub.run(str(tmp_path / "data"), tmp_path / "out", config=table)
    found = samples_in(tmp_path / "out")
    assert {s.subject: s.duration_s for _, s in found.values()} == {
        f"p{i}": pytest.approx((100 + 20 * i) / 25) for i in range(10) if i != 3
    }
    assert {split for split, _ in found.values()} == {"train", "val", "test"}
    assert dropped(tmp_path / "out") == {"rows with empty lists": {"count": 1, "seconds": 0.0}}
    for _, sample in found.values():
        imu = array(sample, "imu")[0]
        np.testing.assert_array_equal(imu[:, :3], si(x)[: len(imu), :3])
        assert sample.streams["imu"]["rate_hz"] == 25


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.string()])
def test_times_of_any_type(tmp_path: Path, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of arrow's own type is ISO; blocks cut a recording and lose nothing."""
    monkeypatch.setattr(hub, "BLOCK_ROWS", 2048)
    x = signals(3000, 4)
    start = np.datetime64("2026-01-31T12:00:00", "us")
    times = pa.array(start + np.arange(3000) * np.timedelta64(20_000, "us"))
    columns = rows_of(x) | {"t": times.cast(kind)}
    (tmp_path / "data").mkdir()
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "data" / "a.parquet")
    hub.run(str(tmp_path / "data"), tmp_path / "out", config=table_of(ACC, GYRO, time={"column": "t", "unit": "iso"}))
    found = samples_in(tmp_path / "out")
    laid = np.concatenate([array(s, "imu")[0] for _, s in sorted(found.values(), key=lambda item: item[1].id)])
    np.testing.assert_array_equal(laid, si(x))
    assert {s.recording for _, s in found.values()} == {"train-00000", "train-00000_block2"}


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({}, {"sensors": [{"placement": "head", "acc": {"columns": ["ax", "ay", "aZ"], "unit": "g"}}]}, "no column 'aZ'"),
        ({"ay": ["up"] * 100}, {}, "split train, file 0: column 'ay' cannot be read as double"),
        ({"ay": [[0.0]] * 100}, {}, "column 'ay' holds lists, column 'ax' a number a row"),
        ({"ay": [[[0.0]]] * 100}, {}, r"column 'ay' holds list<.*: name a part of it, such as ay\.0"),
        ({"ax": [[0.0, 1.0]] * 100}, {}, "column 'ay' has one value a row, the signals have lists"),
        ({c: [[0.0] * (1 + (c == "az"))] * 100 for c in ACC}, {}, "row 0: its lists have different lengths: ax 1, ay 1, az 2"),
        ({}, {"name": "(?P<subject>s)", "skip_rows": 1}, "name, skip_rows: the rows of a data set have no such key"),
        ({}, {"subject_column": "who"}, "no column 'who'"),
    ],
)  # fmt: skip
def test_data_sets_that_are_not_what_the_yaml_says(tmp_path: Path, columns: dict, changes: dict, message: str) -> None:
    Dataset.from_dict(rows_of(signals(100, 0)) | columns).to_parquet(tmp_path / "data" / "train.parquet")
    with pytest.raises(ShardError, match=message):
        hub.run(str(tmp_path / "data"), tmp_path / "out", config=table_of(ACC, **{"rate_hz": 50, **changes}))


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectError(Exception):
        """What the client's HTTP library raises: no OSError."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectError("Name or service not known")

    monkeypatch.setattr(hub.HfApi, "dataset_info", refuse)
    with pytest.raises(ShardError, match=r"o/n is neither a folder nor.*Name or service not known"):
        hub.commit("o/n", None)
    monkeypatch.setattr(hub, "load_dataset", refuse)
    with pytest.raises(ShardError, match="o/n: datasets cannot read it: Name or service not known"):
        hub.opened(hub.Source("o/n", revision="reached by no other test"))


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match="empty: datasets cannot read it"):
        hub.run(str(tmp_path / "empty"), tmp_path / "out", config=table_of(ACC, rate_hz=50))
    with pytest.raises(ShardError, match="nobody/nothing is neither a folder nor a data set of the Hub"):
        hub.run("nobody/nothing", tmp_path / "out", config=table_of(ACC, rate_hz=50))
    Dataset.from_dict(rows_of(signals(100, 0))).to_parquet(tmp_path / "data" / "train.parquet")
    with pytest.raises(ShardError, match="data is a folder, which has no revisions"):
        hub.run(str(tmp_path / "data"), tmp_path / "out", config=table_of(ACC, rate_hz=50), revision="main")
    with pytest.raises(ShardError, match="no split 'test': give one of train"):
        hub.run(str(tmp_path / "data"), tmp_path / "out", config=table_of(ACC, rate_hz=50), split="test")


def test_a_revision_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit goes to `datasets`, the manifest and the card: what is resumed reads the same rows."""
    Dataset.from_dict(rows_of(signals(100, 0))).to_parquet(tmp_path / "data" / "train.parquet")
    asked = []

    class Api:
        def dataset_info(self, source: str, revision: str | None) -> SimpleNamespace:
            asked.append((source, revision))
            return SimpleNamespace(sha="0123abc")

    load = hub.load_dataset

    def local(path: str, subset: str | None, **options):
        assert (path, subset, options["revision"]) == ("owner/name", "s1", "0123abc")
        return load(str(tmp_path / "data"), streaming=True)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "load_dataset", local)
    manifest = hub.run("owner/name", tmp_path / "out", config=table_of(ACC, rate_hz=50), subset="s1", revision="v1")
    assert asked == [("owner/name", "v1")]
    assert manifest["converter"]["arguments"]["revision"] == "0123abc"
    assert "huggingface.co/datasets/owner/name at 0123abc" in (tmp_path / "out" / "README.md").read_text()


def test_shards_are_read_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path hf://datasets/... goes through fsspec to the Hub's file system: here, to one that has a folder behind it."""
    Dataset.from_dict(rows_of(signals(400, 0))).to_parquet(tmp_path / "data" / "train.parquet")
    hub.run(str(tmp_path / "data"), tmp_path / "hub" / "datasets" / "owner" / "name", config=table_of(ACC, rate_hz=50))

    class Hub(DirFileSystem):
        protocol = "hf"

        def __init__(self, **options) -> None:
            super().__init__(str(tmp_path / "hub"), fsspec.filesystem("file"))

    monkeypatch.setitem(_registry, "hf", Hub)
    split = open_split("hf://datasets/owner/name", "train")
    sample = split.sample(0)
    assert sample.id == "train-00000_0000000"
    local = open_split(str(tmp_path / "hub" / "datasets" / "owner" / "name"), "train")
    np.testing.assert_array_equal(array(sample, "imu"), array(local.sample(0), "imu"))
