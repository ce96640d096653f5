"""Pushes from a run in training, to a Hub on this machine."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from aura.train import push
from aura.train.push import Pusher, as_release
from aura.train.recipe import Hub as Settings
from aura.train.recipe import differences, load_recipe
from tests.hub_client import settings_of
from tests.hub_server import Hub
from tests.train.runs import LIMIT_S, ROOT, TINY, metrics, status

REPO = "user/tiny"
# The model of the Hub, by one tower, has the weights of the run, embeds like it, and answers by the stored words.
LOADED = """
import sys, numpy, torch, aura
models = [aura.from_pretrained(path, modalities=["imu"]) for path in sys.argv[1:]]
given = dict(imu=numpy.random.default_rng(0).normal(0, 9, (150, 6)), rate_hz=50, placements=["left wrist"])
assert torch.equal(*(model.embed(**given) for model in models))
assert models[0].classify(labels=["walk", "sit down"], **given).label in ("walk", "sit down")
pushed, kept = (model.module.state_dict() for model in models)
assert any(name.startswith("towers.imu.") for name in kept)
assert not any("text" in name for name in pushed)
assert pushed.keys() == kept.keys()
assert all(torch.equal(pushed[name], kept[name]) for name in kept)
"""
# Stands in for the pushing process: says when it begins and ends, and what it was given.
STAND_IN = """
import json, pathlib, sys, time
checkpoint, folder = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[1])
log = lambda word: (folder / "log").open("a").write(f"{word} {checkpoint.name}\\n")
log("begin")
while not (folder / "go").exists():
    time.sleep(0.01)
what = (checkpoint / "weights").read_text()
log("end")
if what == "crash":
    sys.exit("no answer")
print("a line of a library")
print(json.dumps({"error": "refused"} if what == "refuse" else {"url": what, "oid": sys.argv[5]}))
"""


@pytest.fixture
def hub():
    with Hub() as started:
        yield started


class Log:
    """In the place of a run directory's log."""

    def __init__(self):
        self.lines = []

    def log(self, values):
        self.lines.append(values)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Folder of the stand-in's words; a file `go` there lets it end."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(push, "COMMAND", (sys.executable, str(tmp_path / "stand_in.py"), str(tmp_path)))
    return tmp_path


@pytest.fixture
def pusher(tmp_path):
    made = Pusher(Settings(repo=REPO, push_every=10), tmp_path / "run")
    yield made
    made.end()


def checkpoint(folder, step, text):
    path = folder / "run" / "checkpoints" / f"step_{step}"
    path.mkdir(parents=True)
    (path / "weights").write_text(text)
    return path


def said(folder):
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def until(condition, limit_s=LIMIT_S):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_push_at_a_time_and_the_newest_waits(stand_in, pusher):
    log = Log()
    pusher.start(5)
    for step in (6, 9, 10):
        pusher.offer(checkpoint(stand_in, step, f"of {step}"), step)
    until(lambda: said(stand_in))
    for step in (15, 20, 33, 41):
        path = checkpoint(stand_in, step, f"of {step}")
        pusher.offer(path, step)
        (path / "weights").unlink()  # as when a checkpoint is pruned
    pusher.report(log, 41)
    assert log.lines == []
    assert len(list(pusher.folder.iterdir())) == 2, "what is at work, and what waits"
    (stand_in / "go").touch()
    pusher.finish(None, 41, "", lambda: "")
    pusher.report(log, 45)
    assert said(stand_in) == ["begin step_10", "end step_10", "begin step_41", "end step_41"]
    assert [(v["kind"], v["step"], v["pushed_step"], v["url"]) for v in log.lines] == [
        ("hub", 45, 10, "of 10"), ("hub", 45, 41, "of 41"),
    ]  # fmt: skip
    assert list(pusher.folder.iterdir()) == []
    pusher.report(log, 46)
    assert len(log.lines) == 2


def test_the_last_state_is_pushed_once(stand_in, pusher):
    (stand_in / "go").touch()
    log = Log()
    pusher.start(0)
    path = checkpoint(stand_in, 8, "of 8")
    pusher.offer(path, 8)
    pusher.finish(path, 8, "", lambda: "")
    pusher.finish(path, 8, "", lambda: "")
    pusher.report(log, 8)
    assert [v["url"] for v in log.lines] == ["of 8"]


def test_a_copy_that_finds_no_room_leaves_nothing_and_is_tried_again(stand_in, pusher, monkeypatch):
    (stand_in / "go").touch()
    log, real, path = Log(), push.link_or_copy, checkpoint(stand_in, 10, "of 10")
    (path / "more").touch()
    taken = []

    def full(source, target):
        if taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken.append(real(source, target))

    pusher.start(0)
    monkeypatch.setattr(push, "link_or_copy", full)
    pusher.offer(path, 10)
    pusher.report(log, 10)
    assert taken
    assert "No space left on device" in log.lines[0]["error"]
    assert list(pusher.folder.iterdir()) == []
    monkeypatch.setattr(push, "link_or_copy", real)
    pusher.finish(path, 10, "", lambda: "")
    pusher.report(log, 10)
    assert [v.get("url") for v in log.lines] == [None, "of 10"]


@pytest.mark.parametrize(("text", "error"), [("refuse", "refused"), ("crash", "ended with 1")])
def test_what_fails_is_told(stand_in, pusher, text, error, capsys):
    (stand_in / "go").touch()
    log = Log()
    pusher.start(0)
    pusher.finish(checkpoint(stand_in, 10, text), 10, "", lambda: "")
    pusher.report(log, 10)
    assert error in log.lines[0]["error"]
    assert "push of step 10: failed, training goes on" in capsys.readouterr().err
    assert ("no answer" in pusher.log.read_text()) == (text == "crash")


def test_a_process_that_cannot_start_is_told(tmp_path, pusher, monkeypatch):
    monkeypatch.setattr(push, "COMMAND", (str(tmp_path / "absent"),))
    log = Log()
    pusher.start(0)
    pusher.finish(checkpoint(tmp_path, 10, "x"), 10, "", lambda: "")
    pusher.report(log, 10)
    assert "FileNotFoundError" in log.lines[0]["error"]


@pytest.mark.parametrize(
    ("when", "least", "most"), [("stopped", 3, 10), ("while it waits", 10, 20), ("too long", 30, 40)]
)
def test_the_wait_at_the_end_is_bounded(stand_in, pusher, monkeypatch, when, least, most):
    """By a clock that is a second later each time that it is looked at."""
    log, clock, asked = Log(), itertools.count(), itertools.count()
    pusher.start(0)
    pusher.offer(checkpoint(stand_in, 10, "x"), 10)
    until(lambda: said(stand_in) and pusher.child)
    child = pusher.child
    monkeypatch.setattr(push, "LAST_S", 30.0 if when == "too long" else 600.0)
    stepping = SimpleNamespace(monotonic=lambda: float(next(clock)), monotonic_ns=time.monotonic_ns)
    monkeypatch.setattr(push, "time", stepping)
    stop = "SIGTERM" if when == "stopped" else ""
    signalled = when == "while it waits"
    pusher.finish(checkpoint(stand_in, 20, "y"), 20, stop, lambda: "SIGTERM" if signalled and next(asked) > 5 else stop)
    assert least <= next(clock) <= most
    pusher.thread.join(LIMIT_S)
    assert child.returncode == -signal.SIGKILL
    pusher.report(log, 20)
    assert [(v["pushed_step"], v["error"]) for v in log.lines] == [(10, "ended with the run")]
    assert said(stand_in) == ["begin step_10"]
    assert list(pusher.folder.iterdir()) == []


def test_without_a_hub_nothing_is_done(tmp_path):
    pusher = Pusher(None, tmp_path)
    pusher.start(0)
    pusher.offer(tmp_path, 1)
    pusher.finish(tmp_path, 1, "", lambda: "")
    pusher.end()
    assert list(tmp_path.iterdir()) == []


def test_a_run_may_go_on_with_another_hub():
    place = ["data.sources.0.path=x", "data.eval.0.path=x"]
    with_hub = load_recipe(TINY, [*place, f"hub.repo={REPO}", "hub.push_every=3"])
    assert with_hub.hub == Settings(repo=REPO, push_every=3, private=True)
    assert differences(load_recipe(TINY, place), with_hub) == []
    with pytest.raises(ValueError, match=r"hub\.repo"):
        load_recipe(TINY, [*place, "hub.repo=nobody"])


def test_a_run_pushes_its_model_whatever_becomes_of_a_push(hub, processes, tmp_path):
    run_dir = tmp_path / "run"
    hub.fail("POST .*/commit/", 403)
    settings = [f"hub.repo={REPO}", "hub.push_every=3", "checkpoint.keep=1"]
    run = processes.pretrain(run_dir, *settings, environment=settings_of(hub.url, tmp_path / "home"))
    assert run.wait() == [0], run.text()
    assert status(run_dir)["state"] == "finished"
    assert [line["step"] for line in metrics(run_dir)] == list(range(1, 13))
    lines = metrics(run_dir, "hub")
    assert "the token may not do this (403)" in lines[0]["error"]
    assert "push of step 3: failed, training goes on" in run.text()
    assert lines[-1]["pushed_step"] == 12, run.text() + (run_dir / "hub.log").read_text()
    repository = hub.repositories[REPO]
    assert repository.private
    assert lines[-1]["oid"] == repository.branches["main"]
    messages = [commit.message for commit in repository.log()][:-1]
    assert messages == [f"Step {line['pushed_step']}" for line in reversed(lines[1:])], "one commit a push"
    files = hub.files(REPO)
    assert json.loads(files["config.json"])["step"] == 12
    assert json.loads(files["config.json"])["name"] == "tiny"
    assert b"## Training data" in files["README.md"]
    last = run_dir / "checkpoints" / "step_00000012"
    hub.forget()
    words = [sys.executable, "-W", "ignore", "-c", LOADED, REPO, str(last)]
    subprocess.run(
        words, cwd=ROOT, env=os.environ | settings_of(hub.url, tmp_path / "home"), check=True, timeout=LIMIT_S
    )
    towers = {request.path.rpartition("/")[2] for request in hub.asked("(GET|HEAD) .*/towers/")}
    assert towers == {"imu.safetensors"}
    assert list((run_dir / ".push").iterdir()) == []


def test_a_signal_does_not_wait_for_a_push(hub, processes, tmp_path):
    run_dir, reached, go = tmp_path / "run", threading.Event(), threading.Event()
    hub.before("POST .*/commit/", lambda: (reached.set(), go.wait(2 * LIMIT_S)))
    settings = [f"hub.repo={REPO}", "hub.push_every=3", "train.steps=100000", "eval.every=0", "train.warmup=0"]
    run = processes.pretrain(run_dir, *settings, environment=settings_of(hub.url, tmp_path / "home"))
    try:
        assert reached.wait(LIMIT_S), run.text()
        run.signal(signal.SIGTERM)
        assert run.wait() == [75], run.text()  # before the Hub answers
        assert not go.is_set()
    finally:
        go.set()
    assert [line["error"] for line in metrics(run_dir, "hub")] == ["ended with the run"]
    assert list((run_dir / ".push").iterdir()) == []
    assert status(run_dir)["state"] == "preempted"


def test_a_release_with_results_gets_a_new_card_and_stays_as_it_is(tmp_path):
    from tests.test_hub import contents, write_release
    from tests.test_model_card import CONFIG, ZEROSHOT

    release = write_release(tmp_path / "release")
    (release / "config.json").write_text(json.dumps(CONFIG))
    before = contents(release)
    assert as_release(release, tmp_path / "new") == release
    made = as_release(release, tmp_path / "new", [ZEROSHOT], "mit")
    assert contents(release) == before
    assert made == Path(tmp_path / "new")
    after = contents(made)
    assert b"license: mit" in after.pop("README.md")
    before.pop("README.md")
    assert after == before
