"""The run directory: its lock, its status, its metrics. Only rank 0 writes here."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from aura.data.files import atomic
from aura.train.recipe import Recipe, differences, load_recipe, to_yaml
from aura.weights import RunError, state_digest

PATIENCE_S = 3.0  # a process that was killed holds its lock until the system has taken it apart


def write_atomic(path: Path, text: str) -> None:
    """Replaces a file's content as a whole: a reader sees the old text or the new one, also after a crash."""
    with atomic(path) as file:
        file.write(text.encode())


class RunDir:
    """One run's folder, held by one process at a time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None
        self._metrics: IO[str] | None = None
        self.step = 0  # the last one that was logged

    def open(self, recipe: Recipe) -> None:
        """Creates or takes over the folder. Raises RunError if another run holds it or its recipe differs."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "checkpoints").mkdir(exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise RunError(f"run directory {self.path} cannot be written: {error}") from error
        self.step = self.read_status().get("step", 0)
        resolved = self.path / "recipe.yaml"
        # Before the first step it binds to nothing: a recipe that was refused may be mended and started again.
        if resolved.exists() and self.begun():
            changed = differences(load_recipe(resolved), recipe)
            if changed:
                raise RunError(
                    f"{self.path} belongs to another recipe; it differs in\n  "
                    + "\n  ".join(changed)
                    + "\nUse the same values to go on with that run, or another run_dir for a new one."
                )
        write_atomic(resolved, to_yaml(recipe))

    def begun(self) -> bool:
        """Whether a step or a checkpoint was written."""
        metrics = self.path / "metrics.jsonl"
        return (metrics.exists() and metrics.stat().st_size > 0) or any((self.path / "checkpoints").glob("step_*"))

    def _take_lock(self) -> None:
        # lockf, not flock: a lock of the process that reading workers do not inherit.
        lock = open(self.path / "lock", "a+")
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() < end:
                    time.sleep(0.1)
                    continue
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise RunError(f"run directory {self.path} is in use by {holder}; wait for it or use another run_dir")
        lock.truncate(0)
        lock.write(f"host {platform.node()}, pid {os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def status(self, state: str, step: int, reason: str = "") -> None:
        """Writes status.json, with its own hash: running, finished, preempted or failed."""
        value = {"state": state, "step": step, "reason": reason, "host": platform.node(), "pid": os.getpid()}
        value["sha256"] = state_digest(value)
        write_atomic(self.path / "status.json", json.dumps(value, indent=1) + "\n")

    def read_status(self) -> dict[str, Any]:
        """What status.json says; {} where it is missing or damaged."""
        try:
            value = json.loads((self.path / "status.json").read_text())
            good = isinstance(value, dict) and value.get("sha256") in (
                None,
                state_digest(value),
            )  # None: of an older run
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return value if good and type(value.get("step")) is int else {}

    def write_environment(self, values: dict[str, Any]) -> None:
        write_atomic(self.path / "environment.json", json.dumps(values, indent=1, sort_keys=True) + "\n")

    def cut_metrics(self, step: int, evaluated: bool) -> None:
        """Drops what was logged after `step`, and a last line that a crash left half written.

        evaluated    the checkpoint has the evaluation of this step; else that will be made again
        """
        path = self.path / "metrics.jsonl"
        if self._metrics is not None:
            self._metrics.close()
        kept = [
            line
            for line, values in read_metrics(path, step)
            if evaluated or (values["kind"], values["step"]) != ("eval", step)
        ]
        self.step = step
        write_atomic(path, "".join(line + "\n" for line in kept))
        self._metrics = open(path, "a")

    def log(self, values: dict[str, Any]) -> None:
        if self._metrics is None:
            self._metrics = open(self.path / "metrics.jsonl", "a")
        self._metrics.write(json.dumps(values) + "\n")
        self._metrics.flush()
        self.step = values["step"]

    def sync(self) -> None:
        """Flushes the metrics to disk: a checkpoint must not outlive the lines before it."""
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())

    def metrics(self) -> list[dict[str, Any]]:
        return [values for _, values in read_metrics(self.path / "metrics.jsonl")]

    def close(self) -> None:
        for file in (self._metrics, self._lock):
            if file is not None:
                file.close()
        self._metrics = self._lock = None


def read_metrics(path: Path, until: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Lines of a metrics.jsonl with their values, up to a step; a half-written last line is left out, and a second one of two
    that are the same: no line is written twice."""
    if not path.exists():
        return []
    out = []
    for line in dict.fromkeys(path.read_text(errors="replace").split("\n")):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(values, dict) or type(values.get("step")) is not int or "kind" not in values:
            continue  # damaged, as a line that is cut
        if until is None or values["step"] <= until:
            out.append((line, values))
    return out


def read_environment(path: Path) -> dict[str, Any]:
    """environment.json of a run, by its directory or one of its checkpoints; empty where there is none."""
    found = [folder / "environment.json" for folder in (path, path.parent.parent)]
    file = next((file for file in found if file.is_file()), None)
    return {} if file is None else json.loads(file.read_text())


def environment(shards: dict[str, str]) -> dict[str, Any]:
    """Versions, the git commit of aura's clone, and the hashes of the shards' manifests."""
    packages = (
        "aura",
        "torch",
        "accelerate",
        "deepspeed",
        "transformers",
        "open-clip-torch",
        "webdataset",
        "numpy",
        "av",
    )
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    try:
        here = Path(__file__).parent
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        commit = git.stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no clone
        commit = "unknown"
    return {
        "versions": versions | {"python": platform.python_version()},
        "git": commit,
        "shards": shards,
        "host": platform.node(),
    }
