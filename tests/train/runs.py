"""Starts training as processes, waits for them without ever hanging, and reads what they leave."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PRETRAIN = ROOT / "recipes" / "pretrain.py"
FAULTY = Path(__file__).with_name("faulty_pretrain.py")
TINY = Path(__file__).with_name("tiny.yaml")
LIMIT_S = (
    600  # of what would hang else: a launch of DeepSpeed compiles for minutes the first time, on a machine at work
)


class Processes:
    """Starts processes; ends those that are left."""

    def __init__(self, shards: Path) -> None:
        self.shards = shards
        self.running: dict[int, subprocess.Popen | None] = {}
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.train.preloaded"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def pretrain(self, run_dir: Path, *overrides: str, ranks: int = 1, environment: dict[str, str] | None = None):
        """`recipes/pretrain.py` with the tiny recipe on one rank or several, each a process of its own."""
        return self.run(run_dir, *self.arguments(run_dir, *overrides), ranks=ranks, environment=environment)

    def arguments(self, run_dir: Path, *overrides: str) -> list[str]:
        places = [f"data.{key}.0.path={self.shards}" for key in ("sources", "eval")]
        return ["--config", str(TINY), *places, f"run_dir={run_dir}", *overrides]

    def run(
        self,
        run_dir: Path,
        *arguments: str,
        script: Path = PRETRAIN,
        ranks: int = 1,
        environment: dict[str, str] | None = None,
    ):
        """A script, `recipes/pretrain.py` by default, with these words on its command line."""
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        logs, pids = [], []
        for rank in range(ranks):
            logs.append(run_dir.with_name(f"{run_dir.name}-{len(self.running)}-{rank}.log"))
            request = {
                "script": str(script),
                "arguments": arguments,
                "environment": (group | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if ranks > 1 else {})
                | (environment or {}),
                "folder": str(run_dir.parent),
                "output": str(logs[-1]),
            }
            pids.append(self._ask(request))
            self.running[pids[-1]] = None
        return Started(self, run_dir, pids, logs)

    def command(self, run_dir: Path, words: Sequence[str], **environment: str):
        """Any command line, as a user types it."""
        log = run_dir.with_name(f"{run_dir.name}-{len(self.running)}.log")
        with open(log, "ab") as output:
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            )
        self.running[process.pid] = process
        return Started(self, run_dir, [process.pid], [log])

    def accelerate(self, run_dir: Path, config: str, *overrides: str, **environment: str):
        """`accelerate launch --config_file CONFIG recipes/pretrain.py ...`, with the faults that the environment names."""
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(ROOT / config)]
        launcher += ["--main_process_port", str(free_port()), str(FAULTY)]
        return self.command(run_dir, [*launcher, *self.arguments(run_dir, *overrides)], **environment)

    def poll(self, pid: int) -> int | None:
        """Exit code of a process, negative for a signal; None while it runs."""
        process = self.running[pid]
        code = self._ask({"pid": pid}) if process is None else process.poll()
        if code is not None:
            self.kill_group(pid)  # what it left
        return code

    def _ask(self, request: dict):
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def kill_group(self, pid: int) -> None:
        """Kills a process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        for pid in self.running:
            self.kill_group(pid)
        self.server.communicate(timeout=LIMIT_S)


@dataclass
class Started:
    """Processes of one run."""

    processes: Processes
    run_dir: Path
    pids: list[int]
    logs: list[Path]
    codes: dict[int, int] = field(default_factory=dict)

    def wait(self, limit_s: float = LIMIT_S) -> list[int]:
        """Exit codes, by rank. Fails, and kills all, past the limit."""
        end = time.monotonic() + limit_s
        while not self.over():
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"still running after {limit_s:g} s:\n{self.text()[-5000:]}")
            time.sleep(0.02)
        return [self.codes[pid] for pid in self.pids]

    def over(self) -> bool:
        for pid in self.pids:
            if pid not in self.codes and (code := self.processes.poll(pid)) is not None:
                self.codes[pid] = code
        return len(self.codes) == len(self.pids)

    def until(self, step: int, limit_s: float = LIMIT_S) -> None:
        """Waits until a step is logged."""
        end = time.monotonic() + limit_s
        while (logged := last_step(self.run_dir)) < step:
            assert not self.over(), f"ended with {self.codes} after step {logged}:\n{self.text()[-5000:]}"
            assert time.monotonic() < end, f"step {logged} after {limit_s:g} s:\n{self.text()[-5000:]}"
            time.sleep(0.002)

    def until_stopped(self, limit_s: float = LIMIT_S) -> None:
        """Waits until its first process has been stopped by SIGSTOP."""
        end = time.monotonic() + limit_s
        while Path(f"/proc/{self.pids[0]}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert not self.over(), f"ended with {self.codes}:\n{self.text()[-5000:]}"
            assert time.monotonic() < end, f"not stopped after {limit_s:g} s:\n{self.text()[-5000:]}"
            time.sleep(0.02)

    def signal(self, number: int, rank: int = 0) -> None:
        os.kill(self.pids[rank], number)

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        for pid in self.pids:
            if pid not in self.codes:
                self.processes.kill_group(pid)

    def text(self, rank: int | None = None) -> str:
        """What it wrote on the terminal, one rank or all."""
        logs = self.logs if rank is None else [self.logs[rank]]
        return "\n".join(log.read_text(errors="replace") for log in logs)


def metrics(run_dir: Path, kind: str = "train") -> list[dict]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [values for values in map(json.loads, lines) if values["kind"] == kind]


def last_step(run_dir: Path, tail: int = 20_000) -> int:
    """The step of the last line that is whole, of the end of a file that may be long; 0 before there is one."""
    try:
        with open(run_dir / "metrics.jsonl", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0
    return json.loads(lines[-1])["step"] if lines else 0


def status(run_dir: Path) -> dict:
    return json.loads((run_dir / "status.json").read_text())


def checkpoints(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())
