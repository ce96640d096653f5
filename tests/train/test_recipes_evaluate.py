"""`recipes/evaluate.py` on a run of a few steps: every task, two recordings, and what a user gets wrong."""

import importlib.util
import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from accelerate.state import AcceleratorState, GradientState

from aura.data.index import open_folder, open_split
from aura.data.writer import ShardWriter
from aura.evaluation.compare import compare
from aura.evaluation.result import read_windows
from aura.tasks.leaks import leaks, training_contents
from aura.train.loop import pretrain
from aura.train.recipe import make_recipe
from aura.train.rundir import read_metrics
from aura.train.signals import STOPPING
from tests.train.runs import ROOT, TINY

TOWER = {"width": 16, "depth": 1, "heads": 2, "stem": 8, "border": "replicate"}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evaluate", ROOT / "recipes" / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory) -> Path:
    """Sensors and 2D pose aligned by parts and moments, and text; four steps."""
    values = yaml.safe_load(TINY.read_text())
    text = values["towers"]["text"]
    values.update(
        run_dir=str(tmp_path_factory.mktemp("fine") / "run"),
        inputs={
            "imu": {"rate_hz": 25, "placements": ["left wrist", "right ankle", "head"]},
            "pose2d": {"rate_hz": 25},
            "text": {"kinds": ["label"]},
        },
        towers={
            "imu": {"kind": "imu_transformer", "placements": False, **TOWER},
            "pose2d": {"kind": "part_transformer", **TOWER},
            "text": text,
        },
        objective={"pairs": ["imu:pose2d", "imu:text"], "fine": {"imu:pose2d": {"late": 1, "token": 1, "local": 0.3}}},
        eval={"pool": 32, "batch": 16},
    )
    values["data"].update(
        sources=[{"path": str(shards)}],
        eval=[{"path": str(shards)}],
        window={"seconds": 1.0, "shift_s": 0.4},
        workers=0,
    )
    values["train"].update(steps=4)
    handlers = [signal.getsignal(number) for number in STOPPING]
    try:
        assert pretrain(make_recipe(values)) == 0
        assert [signal.getsignal(number) for number in STOPPING] == handlers
    finally:
        AcceleratorState._reset_state()
        GradientState._reset_state()
    return Path(values["run_dir"])


def evaluated(script, run, out, *words) -> dict:
    assert script.main(["--checkpoint", str(run), "--out", str(out), *map(str, words)]) == 0
    return json.loads((out / "results.json").read_text())


def test_training_logs_the_terms_of_fine_pairs(run):
    last = [line for _, line in read_metrics(run / "metrics.jsonl")][-1]
    for term in ("late", "local", "late+local"):
        for pair in ("imu:pose2d", "pose2d:imu"):
            assert 0 <= last[f"retrieval/{pair}/{term}/R@1"] <= 1
            assert last[f"retrieval/{pair}/{term}/chance"] == last[f"retrieval/{pair}/chance"]


def test_a_run_records_what_it_was_trained_on(run, shards):
    found = leaks(training_contents(run), open_folder(shards).values())
    assert found.overlaps["recording"].samples >= open_split(str(shards), "train").totals["samples"]
    assert found.overlaps["content"].shared


def test_retrieval_is_that_of_the_training(script, run, shards, tmp_path, capsys):
    found = evaluated(script, run, tmp_path, "--shards", shards, "--task", "retrieval", "--pool", 32)
    last = [line for _, line in read_metrics(run / "metrics.jsonl")][-1]
    assert found["step"] == 4
    for name, values in found["results"].items():
        if name in found["emergent"]:
            continue
        for key, value in values.items():
            if key != "n":
                assert value == pytest.approx(last[f"retrieval/{name}/{key}"], abs=1e-6)
    assert set(found["results"]) >= {"imu:pose2d", "pose2d:imu/late", "imu:pose2d/late+local", "imu:text"}
    assert found["emergent"] == ["pose2d:text, emergent", "text:pose2d, emergent"]
    printed = capsys.readouterr().out
    assert re.search(r"^imu:pose2d/late +n 32, pool 32 +\d\.\d+", printed, re.MULTILINE)
    assert "chance" in printed


def test_retrieval_with_some_sensors(script, run, shards, tmp_path):
    words = ("--shards", f"{shards}:val", "--task", "retrieval", "--pool", 32, "--sensors", 1, 3)
    found = evaluated(script, run, tmp_path, *words)["results"]
    every = evaluated(script, run, tmp_path, "--shards", shards, "--task", "retrieval", "--pool", 32)["results"]
    assert found["3 sensors, imu:pose2d/late"] == every["imu:pose2d/late"]
    assert found["1 sensors, imu:pose2d/late"] != every["imu:pose2d/late"]


def test_zeroshot(script, run, shards, tmp_path):
    words = ("--task", "zeroshot", "--placements", "each", "--fuse", "imu+pose2d")
    found = evaluated(script, run, tmp_path, "--shards", shards, *words)
    results = found["results"]
    assert {"imu", "pose2d", "imu+pose2d, as far as there", "imu at the left wrist alone"} <= set(results)
    assert results["imu"]["pool"] * results["imu"]["chance/accuracy"] == pytest.approx(1)
    assert results["imu"]["n"] == 108, "three windows of each of 36 clips"
    last = [line for _, line in read_metrics(run / "metrics.jsonl")][-1]
    few = evaluated(script, run, tmp_path, "--shards", shards, "--task", "zeroshot", "--pool", 32)["results"]
    for key in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert few["imu"][key] == pytest.approx(last[f"zeroshot/imu/{key}"])
    counts = np.array(found["confusion"]["imu"]["counts"])
    assert counts.sum() == 108
    assert counts.trace() / 108 == pytest.approx(results["imu"]["accuracy"])
    assert len(found["prompts"]["hash"]) == 64
    assert found["notes"] == ["no interval: 1 subject, fewer than 3"]


def test_prompts_of_a_part_of_the_classes(script, run, shards, tmp_path, capsys):
    prompts = tmp_path / "two.yaml"
    prompts.write_text("classes: {walk: [someone walks], clap: [claps]}")
    words = ["--shards", shards, "--task", "zeroshot", "--prompts", prompts]
    assert script.main(["--checkpoint", str(run), "--out", str(tmp_path / "no"), *map(str, words)]) == 1
    assert "the prompts lack the classes arm" in capsys.readouterr().err
    found = evaluated(script, run, tmp_path, *words, "--skip-other-classes")
    (left_out,) = {count for reason, count in found["left_out"].items() if reason.startswith("imu: ")}
    assert found["results"]["imu"]["n"] + left_out == 108
    assert found["results"]["imu"]["pool"] == 2


def test_probe(script, run, shards, tmp_path):
    found = evaluated(script, run, tmp_path, "--shards", shards, "--task", "probe")
    assert found["train"] == [f"{shards}:train"]
    assert set(found["results"]) == {f"{stream}, {kind}" for stream in ("imu", "pose2d") for kind in ("linear", "1nn")}
    for name, values in found["results"].items():
        assert values["accuracy"] > values["chance/accuracy"] or "1nn" in name
        assert values["train"] > values["n"] == 108


def test_a_forest_on_the_same_windows(script, run, shards, tmp_path):
    found = evaluated(script, run, tmp_path, "--shards", shards, "--task", "forest")["results"]
    assert set(found) == {"imu, random forest", "pose2d, random forest"}
    for values in found.values():
        assert values["n"] == 108
        assert values["accuracy"] > 5 * values["chance/accuracy"]


def test_few_shot_and_transfer(script, run, shards, tmp_path):
    found = evaluated(script, run, tmp_path, "--shards", shards, "--task", "fewshot", "--k", 1, 4, "--times", 3)[
        "results"
    ]
    assert {"imu, 1 a class, linear", "imu, 4 a class, mean", "pose2d, 4 a class, linear"} <= set(found)
    assert found["imu, 4 a class, linear"]["accuracy"] > found["imu, 1 a class, linear"]["accuracy"]
    found = evaluated(script, run, tmp_path, "--shards", shards, "--task", "transfer", "--epochs", 400, "--lr", 0.01)
    assert found["results"]["pose2d"]["accuracy"] > found["results"]["pose2d"]["chance/accuracy"]


def test_shards_that_lack_a_stream_of_the_model(script, run, shards, tmp_path):
    """Sensors and labels alone, as PAMAP2 has them: what is there is evaluated, and what is not is told."""
    split = open_split(str(shards), "val")
    with ShardWriter(tmp_path / "sensors", name="test") as writer:
        for i in range(len(split)):
            sample = split.sample(i)
            streams = {"imu": sample.streams["imu"]}
            writer.write("test", replace(sample, streams=streams, arrays={"imu": sample.arrays["imu"]}, texts=[]))
    words = ("--shards", f"{tmp_path / 'sensors'}:test", "--task", "zeroshot")
    found = evaluated(script, run, tmp_path / "out", *words)
    whole = evaluated(script, run, tmp_path / "whole", "--shards", shards, "--task", "zeroshot")
    assert set(found["results"]) == {"imu"}
    assert found["results"]["imu"] == pytest.approx(whole["results"]["imu"])
    assert "the shards have no pose2d, text: not evaluated" in found["notes"]


def test_what_training_saw_is_no_test(script, run, shards, tmp_path, capsys):
    words = ["--checkpoint", str(run), "--out", str(tmp_path), "--shards", f"{shards}:train", "--task", "retrieval"]
    assert script.main(words) == 1
    refusal = capsys.readouterr().err
    assert "subjects were in training" in refusal
    assert "streams of the same bytes were in training" in refusal
    assert not (tmp_path / "results.json").exists()
    found = evaluated(script, run, tmp_path, *words[4:], "--leaks", "mark", "--pool", 16)
    assert found["leaks"]
    assert found["notes"][0].startswith("LEAK: shared with the training of tiny: ")
    assert "LEAK: shared" in (tmp_path / "report.html").read_text()
    # What a probe learns from is training too.
    words = ["--shards", f"{shards}:val", "--task", "probe", "--train", f"{shards}:train", f"{shards}:val"]
    assert script.main(["--checkpoint", str(run), "--out", str(tmp_path), *words]) == 1
    assert f"shared with {shards}:train and {shards}:val" in capsys.readouterr().err


def test_localize(script, run, shards, tmp_path):
    found = evaluated(
        script,
        run,
        tmp_path,
        "--shards",
        f"{shards}:train",
        f"{shards}:val",
        "--task",
        "localize",
        "--people",
        2,
        "--leaks",
        "mark",
    )
    results = found["results"]
    assert results["part, late"]["n"] == 3 * results["part, late"]["scenes"]
    assert results["part, late"]["chance/accuracy"] == pytest.approx(1 / 3)
    assert {"part, local", "person of drawn scenes, pooled", "person of drawn scenes, late+local"} <= set(results)
    assert results["person of drawn scenes, late"]["pool"] == 2
    assert set(found["intervals"]) == set(results)
    for name, intervals in found["intervals"].items():
        for key in ("argmax/accuracy", "one_to_one/macro_f1"):
            low, high = intervals[key]
            assert low <= results[name][key] <= high
    stored = read_windows(tmp_path)
    for name, windows in stored.items():
        assert len(set(windows.keys)) == len(windows.keys) == results[name]["n"]
        for key, values in windows.values.items():
            assert values.mean() == pytest.approx(results[name][key])
    assert any(row[8].startswith("+0.000") for row in compare([tmp_path, tmp_path])[1:])


def test_sync_of_pieces(script, run, shards, tmp_path):
    words = ("--shards", shards, "--task", "sync", "--piece", 2, "--range", 0.6, "--draws", 1)
    found = evaluated(script, run, tmp_path, *words)
    assert found["left_out"] == {}
    assert set(found["results"]) == {
        "tokens, five phases",
        "tokens, grid of 0.2 s",
        "windows, top-5 votes",
        "classical",
        "tokens and classical",
    }
    for values in found["results"].values():
        assert values["n"] == 36
        assert values["MAE"] <= 0.7 + 0.6
    assert found["results"]["classical"]["MAE"] < found["results"]["classical"]["zero/MAE"]
    assert "no interval: 1 subject, fewer than 3" in found["notes"]
    stored = read_windows(tmp_path)
    assert set(stored) == set(found["results"])
    for name, windows in stored.items():
        assert len(set(windows.keys)) == 36
        for key, values in windows.values.items():
            assert values.mean() == pytest.approx(found["results"][name][key])
    few = evaluated(script, run, tmp_path, *words, "--pool", 4)
    kept = read_windows(tmp_path)["classical"].keys
    assert kept == [stored["classical"].keys[i] for i in (0, 9, 18, 27)], "spread evenly"
    assert few["results"]["classical"]["n"] == 4


def test_localize_where_sensors_leave_no_question(script, run, shards, tmp_path, capsys):
    """One sensor a window: who wears it can be asked, on which part it is cannot."""
    with ShardWriter(tmp_path / "one", name="test") as writer:
        for split in open_folder(str(shards)).values():
            for i in range(0, len(split), 4):
                sample = split.sample(i)
                about = sample.streams["imu"]
                (wrist,) = [s for s, sensor in enumerate(about["sensors"]) if sensor["placement"] == "left wrist"]
                streams = sample.streams | {"imu": about | {"sensors": [about["sensors"][wrist]]}}
                arrays = sample.arrays | {"imu": sample.arrays["imu"][[wrist]]}
                writer.write("test", replace(sample, streams=streams, arrays=arrays))
    words = ("--shards", f"{tmp_path / 'one'}:test", "--task", "localize", "--people", 2, "--leaks", "mark")
    found = evaluated(script, run, tmp_path / "out", *words)
    assert {name.split(",")[0] for name in found["results"]} == {"person of drawn scenes"}
    assert "part, late: no scene has two to choose from" in found["notes"]


def test_two_recordings(script, run, shards, tmp_path, capsys):
    """A sensor recording and itself, shifted by hand; and with the pose."""
    key = next(open_folder(str(shards))["val"].entries())["key"]
    sides = ("--a", f"{shards}:{key}:imu", "--b", f"{shards}:{key}:imu")
    found = evaluated(script, run, tmp_path, "--task", "sync", *sides, "--shift", 0.53)
    assert found["sync"]["offset_s"] == pytest.approx(0.53, abs=0.1)
    assert found["a"] == f"{shards}:{key}:imu"
    assert found["sync"]["decided"]
    assert (tmp_path / "sync.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "offset      +0.5" in printed
    assert "confidence" in printed
    sides = ("--a", f"{shards}:{key}:imu", "--b", f"{shards}:{key}:pose2d", "--min-margin", 9, "--max-offset", 1)
    found = evaluated(script, run, tmp_path, "--task", "sync", *sides)
    assert not found["sync"]["decided"]
    assert abs(found["sync"]["offset_s"]) <= 1.1
    assert "UNDECIDED" in capsys.readouterr().out


def test_the_search_by_words_of_the_docs(run, shards, tmp_path, monkeypatch, capsys):
    """As it stands there, on this run: what it prints is what all products give."""
    pytest.importorskip("faiss", reason="the search needs faiss: pip install -e '.[search]'")
    for name, target in (("runs/quickstart", run), ("data/synthetic", shards)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    printed = capsys.readouterr().out.splitlines()
    windows, vectors = names["windows"], names["vectors"]
    assert len(windows.numbers) == 108
    scores = vectors @ windows.sides["pooled", "imu"].T
    for i, words in enumerate(names["words"]):
        best = scores[i].topk(3)
        told = [line for line in printed if line.startswith(f"{words}: ")]
        assert [line.rpartition(" ")[2] for line in told] == [f"{value:.2f}" for value in best.values.tolist()]
        assert windows.recordings[best.indices[0]] in told[0]


def test_a_checkpoint_is_found_by_its_own_folder_too(script, run, shards, tmp_path):
    words = ("--shards", shards, "--task", "zeroshot", "--pool", 8)
    by_run = evaluated(script, run, tmp_path, *words)
    checkpoint = run / "checkpoints" / "step_00000004"
    assert evaluated(script, checkpoint, tmp_path, *words) == by_run | {"checkpoint": str(checkpoint)}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--task", "sync", "--shards", "nowhere"], "nowhere does not exist"),
        (["--task", "sync", "--shards", "SHARDS:holdout"], "has no split 'holdout'; it has"),
        (
            ["--task", "sync", "--shards", "SHARDS", "--pair", "imu:video"],
            "has no stream 'video' in time; it has imu, pose2d",
        ),
        (["--task", "sync", "--shards", "SHARDS", "--piece", "9"], "no sample gives a piece (36 samples of"),
        (["--task", "sync", "--shards", "SHARDS", "--piece", "1", "--range", "2"], "the range must be shorter"),
        (["--task", "probe", "--shards", "SHARDS", "--label", "mood"], "no window has the label 'mood'"),
        (["--task", "transfer", "--shards", "SHARDS", "--label", "mood"], "no window has the label 'mood'"),
        (["--task", "transfer", "--shards", "SHARDS", "--epochs", "0"], "at least one epoch"),
        (["--task", "localize", "--shards", "SHARDS", "--people", "3"], "are of 1 people: no scene of 3"),
        (["--task", "zeroshot", "--shards", "SHARDS", "--prompts", "none.yaml"], "no prompt file at none.yaml"),
        (
            ["--task", "zeroshot", "--shards", "SHARDS", "--placements", "left knee"],
            "no sensor is at the left knee; there",
        ),
        (
            ["--task", "zeroshot", "--shards", "SHARDS", "--fuse", "imu+video"],
            "has no stream video; it has imu, pose2d",
        ),
        (["--task", "sync", "--a", "SHARDS:x", "--b", "SHARDS:x:imu"], "write DIR:KEY:STREAM"),
        (
            ["--task", "sync", "--a", "SHARDS:nobody:imu", "--b", "SHARDS:nobody:imu"],
            "neither a sample nor a recording 'nobody'",
        ),
        (["--task", "sync", "--a", "SHARDS:x:video", "--b", "SHARDS:x:imu"], "reads no video; it reads imu, pose2d"),
    ],
)
def test_what_a_user_gets_wrong_is_said_without_a_traceback(script, run, shards, tmp_path, capsys, words, told):
    words = [word.replace("SHARDS", str(shards)) for word in words]
    assert script.main(["--checkpoint", str(run), "--out", str(tmp_path / "out"), *words]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert told in printed.err
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_run_that_is_none(script, run, tmp_path, capsys):
    steps = ", ".join(path.name for path in sorted((run / "checkpoints").glob("step_*")))
    for path, told in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "holds no whole checkpoint"),
        (run / "checkpoints" / "step_00000999", f"does not exist ({run / 'checkpoints'} holds {steps})"),
        (run.with_name(run.name + "s"), f"did you mean {run}?"),
    ):
        assert (
            script.main(["--checkpoint", str(path), "--task", "sync", "--shards", "x", "--out", str(tmp_path / "o")])
            == 1
        )
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--task", "retrieval", "--shards", "x", "--prompts", "p.yaml"],
        ["--task", "zeroshot", "--shards", "x", "--k", "3"],
        ["--task", "sync", "--shards", "x", "--sensors", "3"],
    ],
)
def test_an_option_of_another_task_is_refused(script, words, capsys):
    with pytest.raises(SystemExit) as refused:
        script.main(["--checkpoint", "x", "--out", "y", *words])
    assert refused.value.code == 2
    assert "is for --task" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--task", "sync"], ["--task", "sync", "--a", "x"], ["--task", "probe", "--a", "x", "--b", "y"]]
)
def test_words_that_do_not_go_together(script, words):
    with pytest.raises(SystemExit) as refused:
        script.main(["--checkpoint", "x", "--out", "y", *words])
    assert refused.value.code == 2
