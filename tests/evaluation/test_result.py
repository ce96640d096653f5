"""What an evaluation writes: JSON, a page, figures by window; and models beside each other."""

import json
import os
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from aura.evaluation.compare import compare
from aura.evaluation.result import Result, Windows, read_results, read_windows, text, write
from aura.evaluation.windows import EvaluationError
from aura.tasks.scores import Interval, mean_intervals
from recipes.compare import main

ABOUT = {"task": "probe", "recipe": "r", "shards": ["a:val"]}
KEYS = [f"set/take {i}@0.000" for i in range(40)]
PEOPLE = [f"set/s{i % 5}" for i in range(40)]


def found(values, keys=KEYS, people=PEOPLE) -> Result:
    result = Result(facts={"leaks": []})
    values = np.array(values, float)
    intervals = mean_intervals({"accuracy": values}, people)
    figures = {
        "accuracy": float(values.mean()),
        "chance/accuracy": 0.25,
        "n": float(len(keys)),
        "pool": 4.0,
        "ece": np.nan,
    }
    result.add("imu", figures, intervals, Windows(keys, people, {"accuracy": values}))
    return result


def test_figures_are_written_with_their_intervals(tmp_path):
    values = np.arange(40) % 4 > 0
    result = found(values)
    write(result, ABOUT, tmp_path)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["results"]["imu"]["accuracy"] == 0.75
    assert stored["results"]["imu"]["ece"] is None
    low, high = stored["intervals"]["imu"]["accuracy"]
    assert low <= 0.75 <= high
    assert stored["task"] == "probe"
    shown = text(result).splitlines()
    assert re.split("  +", shown[0].strip()) == ["counts", "accuracy", "ECE (calibration error)"]
    assert re.split("  +", shown[1]) == ["imu", "n 40, pool 4", f"0.750 ({low:.3f} to {high:.3f})", "nan"]
    assert re.split("  +", shown[2].strip()) == ["chance", "0.2500"]
    back = read_windows(tmp_path)["imu"]
    assert list(back.keys) == KEYS
    assert list(back.subjects) == PEOPLE
    np.testing.assert_array_equal(back.values["accuracy"], values)


def test_the_page_says_it_all_and_needs_nothing_else(tmp_path):
    result = found(np.ones(40))
    result.notes.append("<script>alert(1)</script>")
    write(result, ABOUT | {"checkpoint": "runs/<b>"}, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "1.000 (1.000 to 1.000)" in page
    assert "chance" in page
    assert "n 40, pool 4" in page
    assert "http" not in page


def test_many_figures_are_rows(tmp_path):
    result = Result()
    keys = [f"Acc@{i}" for i in range(9)]
    for name in ("tokens", "signals"):
        chance = {"chance/Acc@0": 0.125} if name == "signals" else {}
        intervals = {"Acc@0": Interval(0.5, 0.25, 0.75, 9)}
        result.add(name, dict.fromkeys(keys, 0.5) | chance | {"n": 40.0}, intervals)
    lines = [re.split("  +", line.strip()) for line in text(result).splitlines()]
    assert lines[0] == ["tokens", "signals", "chance"]
    assert lines[1] == ["counts", "n 40", "n 40"]
    assert lines[2] == ["Acc@0", *["0.500 (0.250 to 0.750)"] * 2, "0.1250"]
    assert [line[0] for line in lines[2:]] == keys


def test_models_are_compared_window_by_window(tmp_path, capsys):
    first, second = np.arange(40) % 2 == 0, np.arange(40) % 4 < 3
    (tmp_path / "a").mkdir()
    write(found(first), ABOUT, tmp_path / "a")
    order = np.random.default_rng(0).permutation(40)  # another model may have read them in another order
    (tmp_path / "b").mkdir()
    write(found(second[order], [KEYS[i] for i in order], [PEOPLE[i] for i in order]), ABOUT, tmp_path / "b")
    (row,) = compare([tmp_path / "a", tmp_path / "b"])[1:]
    expected = mean_intervals({"d": second.astype(float) - first}, PEOPLE)["d"]
    assert row[:3] == ["imu", "accuracy", "40"]
    assert row[5:8] == ["0.500", "0.750", "+0.250"]
    assert row[8] == f"{expected.low:+.3f} to {expected.high:+.3f}"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 0
    assert "+0.250" in capsys.readouterr().out
    assert json.loads((tmp_path / "c" / "comparison.json").read_text())["rows"][0]["difference"] == "+0.250"


def test_other_windows_are_refused(tmp_path, capsys):
    for name, keys in (("a", KEYS), ("b", [*KEYS[:-1], "set/other@0.000"])):
        (tmp_path / name).mkdir()
        write(found(np.ones(40), keys), ABOUT, tmp_path / name)
    with pytest.raises(EvaluationError, match="other windows: 1 are lacking, 1 are there besides"):
        compare([tmp_path / "a", tmp_path / "b"])
    assert main([str(tmp_path / "a"), str(tmp_path / "nothing")]) == 1
    assert (
        "nothing/results.json does not exist: name a folder that recipes/evaluate.py wrote" in capsys.readouterr().err
    )


@pytest.mark.parametrize("text", ["[1]", "{}", "{", '"a"', "[" * 100_000])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results\.json (is not JSON|was not written by recipes/evaluate\.py)"):
        read_results(tmp_path)


def test_what_cannot_be_compared_is_refused(tmp_path):
    abouts = {"a": ABOUT, "b": ABOUT | {"task": "zeroshot"}, "c": ABOUT | {"prompts": {"hash": "1"}}, "d": ABOUT}
    for name, about in abouts.items():
        (tmp_path / name).mkdir()
        keys = KEYS if name != "d" else [KEYS[0], *KEYS[:-1]]
        write(found(np.ones(40), keys), about, tmp_path / name)
    for other, told in (("b", "the task differ"), ("c", "the classes differ"), ("d", "there twice")):
        with pytest.raises(EvaluationError, match=told):
            compare([tmp_path / "a", tmp_path / other])


def test_a_leak_stays_one_beside_another_model(tmp_path, capsys):
    for name, leaks in (("a", []), ("b", ["2 of 4 subjects were in training"])):
        (tmp_path / name).mkdir()
        result = found(np.ones(40))
        result.facts["leaks"] = leaks
        write(result, ABOUT, tmp_path / name)
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 0
    assert f"LEAK in {tmp_path / 'b'}: 2 of 4 subjects" in capsys.readouterr().out
    assert json.loads((tmp_path / "c" / "comparison.json").read_text())["warnings"]
    assert "LEAK in" in (tmp_path / "c" / "report.html").read_text()


def test_figures_by_window_are_of_the_last_task(tmp_path):
    write(found(np.ones(40)), ABOUT, tmp_path)
    write(Result(figures={"tokens": {"MAE": 0.1}}), ABOUT, tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        read_windows(tmp_path)
    for content in (b"PK broken", b""):
        (tmp_path / "windows.npz").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            read_windows(tmp_path)


def test_intervals_over_few_people_say_that_they_are_narrow():
    result = found(np.arange(40) % 3 > 0)
    assert result.notes == ["intervals over 5 people are too narrow: of 100 they hold the truth in about 91"]
    many = found(np.arange(40) % 3 > 0, people=[f"s{i % 10}" for i in range(40)])
    assert many.notes == []


def test_without_an_interval_the_page_says_why(tmp_path):
    result = Result()
    result.add("imu", {"accuracy": 0.5, "n": 2.0}, {"accuracy": Interval(0.5, None, None, 1, "no interval: 1 subject")})
    write(result, ABOUT, tmp_path)
    assert "no interval: 1 subject" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["intervals"] == {"imu": {}}


def killed_while_writing(result: Result, about: dict, out: Path, limit: int) -> None:
    """A process that writes the result, and that the system kills where a file would grow over the limit (bytes)."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            write(result, about, out)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGXFSZ


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("before", [False, True])
def test_a_process_killed_while_it_writes_leaves_whole_files(tmp_path, broken, before):
    values = np.random.default_rng(0).random(4000)
    keys, people = [f"set/take {i}@0.000" for i in range(4000)], [f"set/s{i % 9}" for i in range(4000)]
    new = found(values, keys, people)
    new.parts = ["<p>a long page</p>"] * 700
    names = ("results.json", "report.html", "windows.npz")  # in this order
    (tmp_path / "whole").mkdir()
    write(new, ABOUT, tmp_path / "whole")
    sizes = [(tmp_path / "whole" / name).stat().st_size for name in names]
    assert sizes == sorted(sizes)
    limit = (sizes[broken] + ([0, *sizes][broken])) // 2
    out = tmp_path / "out"
    out.mkdir()
    old = found(np.ones(40))
    if before:
        write(old, ABOUT | {"step": 1}, out)
    killed_while_writing(new, ABOUT, out, limit)
    there = {name for name in names if (out / name).exists()}
    assert there == ({"results.json", "report.html"} if before else set(names[:broken]))
    for i, name in enumerate(names[:2]):
        if name in there:
            expected = tmp_path / "whole" if i < broken else tmp_path / "old"
            if i >= broken:
                expected.mkdir(exist_ok=True)
                write(old, ABOUT | {"step": 1}, expected)
            assert (out / name).read_bytes() == (expected / name).read_bytes()
    write(new, ABOUT, out)  # what is left hinders nobody
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
