"""Runs on one page: what differs between them, and what they have in common."""

import json
from pathlib import Path

from tools.compare_runs import differences, ends, main, read_run


def make(folder: Path, lr: float, losses: list[float], **more: object) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(f"name: a\nrun_dir: {folder}\ntrain: {{lr: {lr}, betas: [0.9, 0.98]}}\n")
    lines = [{"kind": "train", "step": i + 1, "loss": x} for i, x in enumerate(losses)]
    lines += [{"kind": "eval", "step": len(losses), "retrieval/imu:text/R@1": losses[-1], **more}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "status.json").write_text('{"state": "finished", "step": 3}')
    return folder


def test_what_differs_and_how_it_ended(tmp_path):
    runs = [
        read_run(make(tmp_path / name, lr, x)) for name, lr, x in (("a", 0.1, [3, 2, 1]), ("b", 0.2, [3, 2.5, 0.5]))
    ]
    assert differences(runs) == [["train.lr", "0.1", "0.2"]]
    assert ["retrieval/imu:text/R@1", "1", "0.5"] in ends(runs)
    assert ends(runs)[:2] == [["state", "finished", "finished"], ["steps", "3", "3"]]


def test_the_page_and_what_is_no_run(tmp_path, capsys):
    a, b = make(tmp_path / "a", 0.1, [3, 2, 1]), make(tmp_path / "b", 0.2, [3, 2, 1])
    with open(b / "metrics.jsonl", "a") as file:
        file.write('{"kind": "warning", "step": 2, "message": "since step 1: <the> data"}\n{"half a li')
    assert main([str(a), str(b), "--out", str(tmp_path / "out" / "page.html")]) == 0
    page = (tmp_path / "out" / "page.html").read_text()
    assert "since step 1: &lt;the&gt; data" in page
    assert "data:image/png" in page
    assert main([str(a), str(b), "--out", str(tmp_path / "p.html"), "--curves", "nothing"]) == 0
    assert "No two runs have a figure" in (tmp_path / "p.html").read_text()
    assert main([str(a), str(tmp_path), "--out", str(tmp_path / "p.html")]) == 1
    assert f"{tmp_path} is no run" in capsys.readouterr().err
    assert main([str(a), str(b), "--out", str(tmp_path / "p.html"), "--curves", "("]) == 1
