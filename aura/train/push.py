"""Pushes checkpoints of a run to the Hugging Face Hub while it goes on, by a process of their own.

python -m aura.train.push CHECKPOINT user/name [--private] [--message M]     what that process does
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import get_token
from tqdm import tqdm

import aura
from aura import hub
from aura.inference.config import check_config
from aura.model_card import model_card
from aura.train.recipe import Hub
from aura.train.rundir import RunDir
from aura.train.signals import follow_parent

COMMAND = (sys.executable, "-m", "aura.train.push")
BESIDE = (
    "recipe.yaml",
    "environment.json",
    "training_data.npz",
    "training_facts.json",
)  # of a run, beside its checkpoints
LAST_S = 600.0  # for the last push of a run that is finished
GRACE_S = 3.0  # for a push at work, where a signal stops the run
# What makes a process one of several ranks.
RANKED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def as_release(
    source: Path, folder: Path, results: Sequence[Mapping[str, Any]] = (), licence: str | None = None
) -> Path:
    """The release folder that a run, a checkpoint or a release stands for; where one has to be made, it is `folder`.

    RunError, HubError for what is neither; ValueError for results of another model.
    """
    if not (source / "config.json").is_file():
        return aura.from_pretrained(source).save_pretrained(folder, results=results, licence=licence)
    files = hub.release_files(source)
    if not results and licence is None:
        return source
    values = hub.read_config(source / "config.json", str(source))
    check_config(values, str(source / "config.json"))  # it may be a stranger's
    card = model_card(values, results, licence)
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name != "README.md":
            link_or_copy(path, folder / name)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def link_or_copy(source: Path, target: Path) -> None:
    """The same content under another name: it stays when the first is deleted."""
    try:
        os.link(source, target)
    except OSError:  # of a file system without hard links, or another one
        shutil.copyfile(source, target)


class Pusher:
    """Pushes of one run: one at a time, by a process that a thread waits for; of those that wait the newest alone stays.

    settings    None: nothing is ever pushed (no `hub` in the recipe, or a rank that is not the first)

    A push works on names of its own (hard links) of a checkpoint's files, so that the checkpoint may be deleted meanwhile.
    What fails is told by `report`, and nothing is raised.
    """

    def __init__(self, settings: Hub | None, run_dir: Path) -> None:
        self.settings, self.folder, self.log = settings, run_dir / ".push", run_dir / "hub.log"
        self.run_dir = run_dir
        self.last = 0  # the step at the start, then of the last checkpoint that was taken
        self.taken: int | None = None
        self.waiting: tuple[int, Path] | None = None
        self.child: subprocess.Popen[str] | None = None
        self.working = False
        self.told: list[dict[str, Any]] = []
        self.ended = False
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def start(self, step: int) -> None:
        """The run starts, or goes on, at this step."""
        if self.settings is None:
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
        self.last = step
        if get_token() is None:
            tqdm.write(
                f"hub.repo {self.settings.repo}: nothing will be pushed without a token; {hub.LOGIN}", file=sys.stderr
            )

    def offer(self, checkpoint: Path, step: int) -> None:
        """A checkpoint was written; it is taken where `push_every` steps have begun anew since the last one."""
        if self.settings is None:
            return
        every = self.settings.push_every
        if every and step // every > self.last // every:
            self._take(checkpoint, step)

    def report(self, run_dir: RunDir, step: int) -> None:
        """Logs and prints the pushes that have ended since."""
        with self.changed:
            told, self.told = self.told, []
        for values in told:
            run_dir.log({"kind": "hub", "step": step, **values})
            what = values.get("url") or f"failed, training goes on: {values['error']}"
            tqdm.write(f"push of step {values['pushed_step']}: {what}", file=sys.stderr)

    def finish(self, checkpoint: Path | None, step: int, stop: str, received: Callable[[], str]) -> None:
        """The run ends. Finished, its last state is pushed and waited for, up to `LAST_S`; where a signal stopped it (`stop`),
        or one comes meanwhile (`received`), a push at work has `GRACE_S`."""
        if self.settings is None:
            return
        if not stop and checkpoint is not None and self.taken != step:
            self._take(checkpoint, step)
        if stop:
            with self.changed:
                self._drop()
        elif self._busy():
            tqdm.write(f"pushing step {step} to {self.settings.repo}", file=sys.stderr)
        end = time.monotonic() + (GRACE_S if stop else LAST_S)
        while self._busy() and time.monotonic() < end:
            if received() and not stop:
                stop, end = received(), min(end, time.monotonic() + GRACE_S)
            with self.changed:
                self.changed.wait(0.1)
        self.end()

    def end(self) -> None:
        """Ends a push at work; none follows."""
        with self.changed:
            self.ended = True
            self._drop()
            if self.child is not None:
                self.child.kill()
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join(30)

    def _busy(self) -> bool:
        with self.changed:
            return self.waiting is not None or self.working

    def _drop(self) -> None:
        if self.waiting is not None:
            shutil.rmtree(self.waiting[1], ignore_errors=True)
            self.waiting = None

    def _take(self, checkpoint: Path, step: int) -> None:
        self.last = step
        copy = self.folder / f"{checkpoint.name}-{time.monotonic_ns()}"
        try:
            self._copy(checkpoint, copy)
        except OSError as error:
            shutil.rmtree(copy, ignore_errors=True)  # on a full disk it holds what is short
            self._tell(step, {"error": f"{type(error).__name__}: {error}"})
            return
        self.taken = step
        with self.changed:
            self._drop()
            self.waiting = (step, copy)
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="push", daemon=True)
                self.thread.start()
            self.changed.notify_all()

    def _copy(self, checkpoint: Path, copy: Path) -> None:
        """A run directory with this checkpoint alone."""
        files = [
            (path, Path("checkpoints", checkpoint.name, path.relative_to(checkpoint))) for path in checkpoint.rglob("*")
        ]
        files += [(self.run_dir / name, Path(name)) for name in BESIDE]
        for path, name in files:
            if path.is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, copy / name)

    def _tell(self, step: int, values: dict[str, Any]) -> None:
        with self.changed:
            self.told.append({"pushed_step": step, **values})

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.ended or self.waiting is not None)
                if self.waiting is None:
                    return
                (step, copy), self.waiting, self.working = self.waiting, None, True
                values = self._begin(step, copy)
            started = time.monotonic()
            if self.child is not None:
                values = _answer(self.child, self.log)
            shutil.rmtree(copy, ignore_errors=True)
            with self.changed:
                if self.ended and "error" in values:
                    values["error"] = "ended with the run"
                self._tell(step, {**values, "seconds": round(time.monotonic() - started, 3)})
                self.child, self.working = None, False
                self.changed.notify_all()

    def _begin(self, step: int, copy: Path) -> dict[str, Any]:
        """Starts the process; gives what is to be told where it cannot be."""
        assert self.settings is not None
        checkpoint = next((copy / "checkpoints").iterdir())
        words = [*COMMAND, str(checkpoint), self.settings.repo, "--message", f"Step {step}"]
        environment = {k: v for k, v in os.environ.items() if k not in RANKED and not k.startswith("TORCHELASTIC_")}
        root = str(Path(aura.__file__).parents[1])  # of this aura, installed or not
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
        environment |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        try:
            with open(self.log, "a") as log:
                self.child = subprocess.Popen(
                    words + (["--private"] if self.settings.private else []),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the run, which decides
                )
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {}


def _answer(child: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    """The last line that the process wrote, once it has ended."""
    text = child.communicate()[0].strip()
    with suppress(ValueError):
        values = json.loads(text.rpartition("\n")[2])
        if isinstance(values, dict):
            return values
    return {"error": f"the pushing process ended with {child.returncode}; {log} says more"}


def main(arguments: list[str] | None = None) -> int:
    """Pushes a checkpoint; writes a line of JSON: the commit's url and oid, or the error."""
    follow_parent()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("repo", metavar="user/name")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--message", default="Checkpoint")
    options = parser.parse_args(arguments)
    try:
        folder = as_release(options.checkpoint, options.checkpoint.parents[1] / "release")
        pushed = hub.push_folder(folder, options.repo, private=options.private, message=options.message)
    except Exception as error:  # whatever it is: the run logs it and goes on
        traceback.print_exc()
        known = isinstance(error, hub.HubError)
        print(json.dumps({"error": str(error) if known else f"{type(error).__name__}: {error}"}), flush=True)
        return 1
    print(json.dumps({"url": pushed.url, "oid": pushed.oid}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
