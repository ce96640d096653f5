"""Engines of a conversion: the same bytes on each, after a kill as well; errors that say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.common import convert, how_of, numbers_of, parser
from shards.engines import start
from tests.shards.reading import contents
from tests.shards.slow_converter import RECORDINGS, run


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray of two workers on this machine."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with start("ray", 2):
            yield ray.get_runtime_context().gcs_address
    assert not ray.is_initialized()


def begun(log: Path) -> list[str]:
    """Recordings that were begun, in order."""
    return [line.split()[1] for line in log.read_text().splitlines()] if log.exists() else []


def kill_between(out: Path, engine: str, log: Path, env: dict[str, str]) -> set[str]:
    """Starts a conversion, kills its process when three parts are whole; gives these recordings."""
    command = [sys.executable, "-m", "tests.shards.slow_converter", str(out), engine, "2", str(log)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env}
    ) as process:
        until = time.monotonic() + 600
        while len(list(out.glob(".parts/*.json"))) < 4 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)  # the fourth is job.json
        assert process.poll() is None, f"it ended by itself: {process.returncode}"
        process.send_signal(signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    workers = {int(line.split()[0]) for line in log.read_text().splitlines()}
    until = time.monotonic() + 600
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, workers)), "workers outlived the conversion that was killed"
    return {path.name for path in out.glob(".parts/*.json")} - {"job.json"}


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_killed_processes_leave_nothing_behind_and_go_on(tmp_path: Path) -> None:
    run(tmp_path / "whole", "local", 1, tmp_path / "log")
    done = kill_between(tmp_path / "out", "local", tmp_path / "before", {})
    assert 3 <= len(done) < len(RECORDINGS)
    run(tmp_path / "out", "local", 2, tmp_path / "after", resume=True)
    assert len(begun(tmp_path / "after")) == len(RECORDINGS) - len(done)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_ray_gives_the_same_bytes_after_a_kill_as_well(tmp_path: Path, cluster: str) -> None:
    run(tmp_path / "whole", "local", 1, tmp_path / "log")
    run(tmp_path / "ray", "ray", 0, tmp_path / "log")
    assert contents(tmp_path / "ray") == contents(tmp_path / "whole")
    done = kill_between(tmp_path / "out", "ray", tmp_path / "before", {"RAY_ADDRESS": cluster})
    assert 3 <= len(done) < len(RECORDINGS)
    # What one engine began the other may end.
    run(tmp_path / "out", "ray", 1, tmp_path / "after", resume=True)
    assert len(begun(tmp_path / "after")) == len(RECORDINGS) - len(done)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def failing(recording: str) -> Iterator[tuple[str, Sample] | Dropped]:
    if recording == "absent":
        raise FileNotFoundError(2, "No such file", "/nowhere/a.csv")
    if recording == "dies":
        os._exit(1)
    raise ValueError("its third column is no number")
    yield


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_errors_of_workers_come_as_they_are(tmp_path: Path, engine: str, request: pytest.FixtureRequest) -> None:
    if engine == "ray":
        request.getfixturevalue("cluster")
    with pytest.raises(ShardError) as found:
        convert("test", ["r1"], failing, tmp_path / "a", engine=engine, workers=2)
    assert str(found.value) == "recording 'r1': ValueError: its third column is no number"
    with pytest.raises(OSError, match=r"No such file: '/nowhere/a.csv'"):
        convert("test", ["absent"], failing, tmp_path / "b", engine=engine, workers=2)
    with pytest.raises(ShardError, match=r"died.*fewer workers, and resume"):
        convert("test", ["dies"], failing, tmp_path / "c", engine=engine, workers=2)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ShardError, match=r"pip install ray"):
        run(tmp_path / "out", "ray", 2, tmp_path / "log")
    with pytest.raises(ShardError, match="no engine 'rya': give one of local, ray"):
        run(tmp_path / "out2", "rya", 2, tmp_path / "log")


def test_options_of_the_command() -> None:
    p = parser("x", "x")
    base = ["--out", "o"]
    plain = {"workers": 1, "engine": "local", "resume": False, "skip_failed": False}
    assert how_of(p.parse_args(base)) == plain
    assert how_of(p.parse_args([*base, "--engine", "ray"])) == plain | {"workers": 0, "engine": "ray"}
    given = p.parse_args([*base, "--engine", "ray", "--workers", "3", "--resume", "--skip-failed"])
    assert how_of(given) == {"workers": 3, "engine": "ray", "resume": True, "skip_failed": True}
    assert numbers_of(p, "--val-subjects", "3, 7,") == (3, 7)
    assert numbers_of(p, "--val-subjects", "") == ()
    with pytest.raises(SystemExit):
        numbers_of(p, "--val-subjects", "3,x")
