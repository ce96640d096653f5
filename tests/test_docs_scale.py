"""The page on many GPUs: its commands are understood, its assumptions are those of the code."""

import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from aura.train.cost import GPU_NODE
from aura.train.recipe import load_recipe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text()


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))  # as for a script that lies there
    import scale
    import simulate

    return {"tools/scale.py": scale, "tools/simulate.py": simulate}


def commands() -> list[list[str]]:
    text = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.strip()]


def test_commands_are_understood(tools, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = set()
    for python, tool, *words in commands():
        assert python == "python"
        names.add(tool)
        options = tools[tool].arguments(words)
        if options.recipe:
            load_recipe(options.recipe, getattr(options, "overrides", []))
        else:
            tools[tool].configured(options)
    assert names == set(tools)


def test_a_command_in_small_gives_the_columns_of_the_page(tools, capsys):
    (words,) = [words for _, tool, *words in commands() if "--samples" in words]
    small = ["--samples", "1e5", "--steps", "1", "--ranks", "8", "--walk", "1", "--json", "/dev/null"]
    assert tools["tools/simulate.py"].main([*words, *small]) == 0
    assert "open files" in capsys.readouterr().out


def test_assumptions_on_the_page_are_those_of_the_code():
    values = asdict(GPU_NODE)
    for link in ("inside", "between"):
        values |= {f"{link}.{key}": value for key, value in values.pop(link).items()}
    rows = PAGE.partition("| assumption | value |")[2].partition("\n\n")[0]
    table = dict(re.findall(r"^\| `([\w.]+)` \| ([\d.e+-]+) ", rows, re.MULTILINE))
    assert {name: float(text) for name, text in table.items()} == {
        name: value for name, value in values.items() if isinstance(value, float) and name != "slowdown"
    } | {"node": 8}


@pytest.mark.parametrize(("page", "link"), [("README.md", "docs/scale.md"), ("docs/training.md", "scale.md")])
def test_the_page_is_linked(page, link):
    assert f"]({link})" in (ROOT / page).read_text()
