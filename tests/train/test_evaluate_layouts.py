"""The protocols of the prompt files, from files in the layouts of PAMAP2 and Ego-Exo4D to figures."""

import json
from pathlib import Path

import pytest
import yaml

from aura.data.index import open_split
from recipes.evaluate import main
from shards import pamap2
from shards.pamap2_texts import ACTIVITIES
from tests.shards.pamap2_writer import table, write
from tests.shards.sources import make
from tests.train.runs import ROOT, TINY

PROMPTS = ROOT / "recipes" / "prompts"
PEOPLE = ("106", "107", "108")  # of the test; 108 wears the sensors on the left


@pytest.fixture(scope="module")
def sensors(tmp_path_factory) -> Path:
    """All 18 activities of three people, 3.5 s each, at 100 Hz; the model reads 25."""
    folder = tmp_path_factory.mktemp("pamap2")
    for subject in PEOPLE:
        for part, asked in (("Protocol", True), ("Optional", False)):
            rows = [(number, 350) for number, about in ACTIVITIES.items() if about.subset12 == asked]
            write(folder / "raw" / part / f"subject{subject}.dat", table(rows, seed=int(subject)))
    pamap2.run(folder / "raw", folder / "out", val_subjects=(), test_subjects=PEOPLE)
    return folder / "out"


@pytest.fixture(scope="module")
def takes(tmp_path_factory) -> Path:
    return make("egoexo4d", tmp_path_factory.mktemp("takes"))


def evaluated(run: Path, out: Path, *words: object) -> dict:
    assert main(["--checkpoint", str(run), "--out", str(out), "--task", "zeroshot", *map(str, words)]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize("classes", [12, 18])
def test_pamap2_by_words_with_each_sensor_alone(unbroken, sensors, tmp_path, classes):
    file = PROMPTS / f"pamap2_{classes}.yaml"
    found = evaluated(unbroken, tmp_path, "--shards", f"{sensors}:test", "--prompts", file, "--placements", "each")
    results = found["results"]
    windows = 7 * classes  # of 2 s, a quarter of a second apart, in 3.5 s
    assert {name: values["n"] for name, values in results.items()} == {
        "imu": 3 * windows,
        "imu at the chest alone": 3 * windows,
        "imu at the left wrist alone": windows,
        "imu at the left ankle alone": windows,
        "imu at the right wrist alone": 2 * windows,
        "imu at the right ankle alone": 2 * windows,
    }
    for name, values in results.items():
        assert values["pool"] == classes
        assert values["chance/accuracy"] == pytest.approx(1 / classes)
        assert set(found["classes"][name]) == {about.name for about in ACTIVITIES.values() if about.subset12 or classes == 18}  # fmt: skip
        assert all(row["n"] == values["n"] / classes for row in found["classes"][name].values())
    assert len(found["intervals"]["imu"]["accuracy"]) == 2
    assert found["intervals"]["imu at the left wrist alone"] == {}, "one person"
    assert found["prompts"]["label"] == ("activity12" if classes == 12 else "activity")
    assert "the shards have no mocap: not evaluated" in found["notes"]
    # Each sensor alone is another input than all of them.
    assert results["imu at the chest alone"]["brier"] != results["imu"]["brier"]


def test_scenarios_of_egoexo4d_by_words(unbroken, takes, tmp_path):
    words = ["--shards", f"{takes}:val", f"{takes}:test", "--prompts", PROMPTS / "egoexo4d_scenarios.yaml"]
    found = evaluated(unbroken, tmp_path, *words, "--fuse", "imu+mocap", "--placements", "left temple")
    results = found["results"]
    assert set(results) == {"imu", "mocap", "imu+mocap, as far as there", "imu at the left temple alone"}
    both = results["imu+mocap, as far as there"]["n"]
    assert both >= max(results["imu"]["n"], results["mocap"]["n"]) > 0
    occur = {name for name, row in found["classes"]["imu"].items() if row["n"]}
    assert occur == {scenario for split in ("val", "test") for scenario in open_split(str(takes), split).totals["labels"]["scenario"]}  # fmt: skip
    assert {values["pool"] for values in results.values()} == {8}
    assert "no interval: 2 subjects, fewer than 3" in found["notes"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--prompts", "egoexo4d_scenarios.yaml"],
            "no window has the label 'scenario' of the classes, but activity, a",
        ),
        (["--prompts", "utd_mhad.yaml"], "the prompts lack the classes Nordic walking, ascending stairs, car driving"),
        (["--prompts", "../utd_mhad.yaml"], "classes: Field required; name: unknown key; did you mean 'label'?"),
        (["--placements", "left knee"], "no sensor is at the left knee; there are chest, left ankle, left wrist,"),
        (["--fuse", "imu+video"], "the model has no stream video; it has imu, mocap"),
        (["--task", "localize"], "imu and mocap are to be compared, and the shards have imu, series_heart, text alone"),
        (["--task", "sync"], "imu and mocap are to be compared, and the shards have imu, series_heart, text alone"),
    ],
)
def test_what_does_not_fit_the_shards_is_said_in_a_line(unbroken, sensors, tmp_path, capsys, words, told):
    words = [str(PROMPTS / word) if word.endswith(".yaml") else word for word in words]
    given = ["--checkpoint", str(unbroken), "--out", str(tmp_path), "--task", "zeroshot", "--shards", f"{sensors}:test"]
    assert main([*given, *words]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "results.json").exists()


def test_shards_without_any_stream_of_the_model(processes, sensors, tmp_path, capsys):
    """A model of skeletons and words, on sensors."""
    tiny = yaml.safe_load(TINY.read_text())
    parts = [f"{key}={json.dumps({x: tiny[key][x] for x in ('mocap', 'text')})}" for key in ("inputs", "towers")]
    short = ['objective.pairs=["mocap:text"]', "train.steps=1", "train.warmup=0", "data.workers=0"]
    run = processes.pretrain(tmp_path / "run", *parts, *short)
    assert run.wait() == [0], run.text()
    for task in ("zeroshot", "retrieval", "probe", "localize"):
        words = [
            "--checkpoint",
            tmp_path / "run",
            "--out",
            tmp_path / "out",
            "--task",
            task,
            "--shards",
            f"{sensors}:test",
        ]
        assert main([str(word) for word in words]) == 1
        told = "the shards have none of the streams that recipe tiny reads (mocap); they have imu, series_heart, text"
        assert capsys.readouterr().err == f"error: {told}\n"
