"""docs/adding-a-modality.md and docs/adding-an-objective.md do what they say: their code runs, their changes fit the library."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from aura.data.config import SeriesInput
from aura.data.index import open_split
from aura.train.loop import pretrain
from aura.train.recipe import load_recipe
from recipes.evaluate import main as evaluate
from shards import csv
from tests.test_docs import ROOT, blocks
from tools.verify_shards import main as verify

SHORT = ["data.workers=0", "log.tensorboard=false"]


def patched(page: str, folder: Path) -> list[str]:
    """A copy of the library with the files and the changes of a page; gives the page's other blocks of Python."""
    shutil.copytree(ROOT / "aura", folder / "aura", ignore=shutil.ignore_patterns("__pycache__", "mini"))
    rest = []
    for block in blocks(page, "python"):
        if name := re.match(r"# (aura/\S+)\n", block):
            assert not (folder / name[1]).exists()
            (folder / name[1]).write_text(block)
        else:
            rest.append(block)
    for block in blocks(page, "diff"):
        first, *lines = block.splitlines()
        file = folder / first.removeprefix("--- ")
        text = file.read_text()
        hunks = [(sign, "".join(line[1:] + "\n" for line in group)) for sign, group in groupby(lines, lambda x: x[0])]
        for (minus, old), (plus, new) in zip(hunks[::2], hunks[1::2], strict=True):
            assert (minus, plus) == ("-", "+")
            assert text.count(old) == 1, (file, old)
            text = text.replace(old, new)
        file.write_text(text)
    return rest


def run(code: str, package: Path, cwd: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-c", f"import aura; assert aura.__file__.startswith({str(package)!r})\n{code}"]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wrist_band_from_shards_to_embeddings_and_a_new_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_shards, measure, use, new_kind = patched("adding-a-modality.md", tmp_path / "copy")
    _, recipe = blocks("adding-a-modality.md", "yaml")
    Path("band.yaml").write_text(recipe)
    names: dict = {}
    exec(write_shards, names)
    assert verify(["data/band"]) == 0
    exec(measure, names)
    settings = load_recipe("band.yaml", [*SHORT, "train.steps=10"])
    usual = settings.inputs["series_band"]
    assert isinstance(usual, SeriesInput)
    assert names["values"].shape == (36 * 120, 2)
    np.testing.assert_allclose(np.nanmean(names["values"], 0), usual.mean, rtol=0.1)
    np.testing.assert_allclose(np.nanstd(names["values"], 0), usual.std, rtol=0.1)
    assert pretrain(settings) == 0
    lines = [json.loads(line) for line in Path("runs/band/metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    assert all(line["rows/imu:series_band"] == 8 for line in train)
    assert all(np.isfinite(line["loss/series_band:text"]) for line in train)
    commands = [
        line for block in blocks("adding-a-modality.md", "sh") for line in block.splitlines() if "evaluate.py" in line
    ]
    for command in commands:
        monkeypatch.setattr(sys, "argv", command.split()[1:])
        assert not evaluate()
    zeroshot, retrieval = (
        json.loads(Path(f"results/{name}/results.json").read_text()) for name in ("zeroshot", "retrieval")
    )
    assert "imu+series_band, as far as there" in json.dumps(zeroshot)
    assert "imu:series_band" in json.dumps(retrieval)
    exec(use, names)
    assert "torch.Size([32])" in capsys.readouterr().out
    config = names["model"].config
    assert list(config.statistics["series_band"]["channels"]) == ["eda uS", "skin_temperature degC"]
    with pytest.raises(ValueError, match="given: imu, series_band: one at a time, and add the embeddings"):
        names["model"].embed(imu=np.ones((320, 3)), series_band=names["band"], rate_hz=4)
    assert "torch.Size([32])" in run(new_kind, tmp_path / "copy", tmp_path)


def test_columns_of_a_table_are_the_same_streams(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, _ = blocks("adding-a-modality.md", "yaml")
    Path("table.yaml").write_text(table)
    Path("band").mkdir()
    rng = np.random.default_rng(0)
    eda = np.round(rng.normal(4, 1, 80), 3)
    for who in range(6):
        rows = ["time,x,y,z,eda,temp,label"]
        for i in range(640):
            band = f"{eda[i // 8]},33.5" if i % 8 == 0 else ","
            rows.append(f"{i / 32},0.01,0.02,{1 + 0.01 * (i % 3)},{band},walking")
        Path(f"band/s{who}.csv").write_text("\n".join(rows) + "\n")
    csv.run(Path("band"), Path("data/band_csv"), config=Path("table.yaml"))
    assert verify(["data/band_csv"]) == 0
    split = open_split("data/band_csv", "val")
    assert {split.record(i).head["subject"] for i in range(len(split))} == {"s4", "s5"}
    record = split.record(0)
    assert record.head["labels"] == {"activity": "walking"}
    assert record.head["streams"]["series_band"]["channels"] == ["eda uS", "skin_temperature degC"]
    np.testing.assert_array_equal(record.array("series_band")[:, 0], eda.astype(np.float32))


def test_a_new_term_is_three_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks("data.md", "python")[0], {})
    Path("wrist.yaml").write_text(blocks("data.md", "yaml")[1])
    code = patched("adding-an-objective.md", tmp_path / "copy")
    found = run("\n".join(code), tmp_path / "copy", tmp_path)
    values = json.loads(found.splitlines()[-1])
    assert len(values) == 10
    assert all(0 < value < 4 for value in values)
