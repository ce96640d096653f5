"""The snippets of docs/data.md run as they stand there."""

import re
from pathlib import Path

from aura.train.loop import pretrain
from aura.train.recipe import load_recipe
from tools.verify_shards import verify

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_shards_of_the_snippet_are_sound_and_train_by_the_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write, read = blocks("data.md", "python")
    exec(write, {})
    exec(read, {})
    faults, found, _ = verify(Path("data/wrist"))
    assert not faults
    assert len(found) == 40
    _, recipe = blocks("data.md", "yaml")
    Path("wrist.yaml").write_text(recipe)
    words = ["train.steps=2", "train.warmup=1", "data.workers=0", "log.tensorboard=false"]
    assert pretrain(load_recipe("wrist.yaml", words)) == 0
    assert "imu:text" in capsys.readouterr().out
