import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard

from tests.hub_client import ROOT, settings_of
from tests.hub_server import Hub
from tests.test_hub import contents, write_release
from tests.test_model_card import CONFIG, ZEROSHOT
from tools import push_to_hub


@pytest.fixture
def release(tmp_path):
    folder = write_release(tmp_path / "release")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_a_release_with_results_goes_up_whole(release, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    (results / "results.json").write_text(json.dumps(ZEROSHOT))
    with Hub() as hub:
        words = [sys.executable, "tools/push_to_hub.py", str(release), "user/x", "--private", "--results", str(results)]
        words += ["--licence", "mit", "--message", "first", "--revision", "next"]
        environment = os.environ | settings_of(hub.url, tmp_path / "home")
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        commit = hub.repositories["user/x"].log("next")[0]
        assert f"/user/x/commit/{commit.oid}" in done.stdout
        assert commit.message == "first"
        assert hub.repositories["user/x"].private
        files = hub.files("user/x", "next")
    card = ModelCard(files.pop("README.md").decode())
    assert card.data.license == "mit"
    assert card.data.eval_results is not None
    assert files == {name: data for name, data in contents(release).items() if name != "README.md"}


def test_a_dry_run_lists(release, capsys):
    assert push_to_hub.main([str(release), "user/x", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith((release / "README.md").read_text())
    assert "towers/imu.safetensors" in said
    assert "nothing was pushed to user/x" in said


def test_a_dry_run_prints_the_card_that_is_made_anew(release, capsys):
    assert push_to_hub.main([str(release), "user/x", "--dry-run", "--licence", "mit"]) == 0
    said = capsys.readouterr().out
    assert ModelCard(said).data.license == "mit"


def test_what_cannot_be_pushed_is_an_error_in_words(release, tmp_path, capsys):
    for words, says in (
        ([str(tmp_path / "absent"), "user/x"], "absent does not exist"),
        ([str(tmp_path), "user/x"], "checkpoint"),
        ([str(release), "x"], "write user/name"),
        ([str(release), "user/x", "--results", str(tmp_path)], "results.json"),
    ):
        assert push_to_hub.main([*words, "--dry-run"]) == 1
        assert says in capsys.readouterr().err
