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

from aura.train.loop import pretrain
from aura.train.recipe import load_recipe
from shards import pamap2
from tests.shards.pamap2_writer import table, write
from tests.test_docs import ROOT, blocks

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


def test_heart_rate_from_shards_to_embeddings_and_a_new_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for subject in (101, 102, 105):
        rows = [(1, 2000), (0, 100), (4, 2000), (5, 2000)]
        write(tmp_path / "source" / "Protocol" / f"subject{subject}.dat", table(rows, seed=subject))
    pamap2.run(tmp_path / "source", tmp_path / "data" / "pamap2")
    rest = patched("adding-a-modality.md", tmp_path / "copy")
    measure, use, new_kind = rest
    (recipe,) = blocks("adding-a-modality.md", "yaml")
    Path("heart.yaml").write_text(recipe)
    names: dict = {}
    exec(measure, names)
    assert names["values"].shape == (12 * 200 // 2, 1)
    assert 100 < np.nanmean(names["values"]) < 140
    assert pretrain(load_recipe("heart.yaml", SHORT)) == 0
    lines = [json.loads(line) for line in Path("runs/heart/metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    assert len(train) == 10
    assert all(line["rows/imu:series_heart"] == 8 for line in train)
    assert all(np.isfinite(line["loss/series_heart:text"]) for line in train)
    exec(use, names)
    assert "torch.Size([32])" in capsys.readouterr().out
    config = names["model"].config
    assert list(config.statistics["series_heart"]["channels"]) == ["heart_rate bpm"]
    assert "torch.Size([32])" in run(new_kind, tmp_path / "copy", tmp_path)


def test_a_new_term_is_three_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks("data.md", "python")[0], {})
    Path("wrist.yaml").write_text(blocks("data.md", "yaml")[1])
    code = patched("adding-an-objective.md", tmp_path / "copy")
    found = run("\n".join(code), tmp_path / "copy", tmp_path)
    values = json.loads(found.splitlines()[-1])
    assert len(values) == 10
    assert all(0 < value < 4 for value in values)
