import os
import subprocess
import sys

import pytest

from tests.train.runs import LIMIT_S, ROOT, Processes

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test never reaches for a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def edge(tmp_path_factory):
    """A tiny model and its exported folder, with what the export found."""
    from tests.edge import exported, tiny_model

    model, folder = tiny_model(), tmp_path_factory.mktemp("edge") / "model"
    return model, folder, exported(folder, model, int8=True)


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Of runs in training: three subjects, 36 clips of 3 s each, without video."""
    folder = tmp_path_factory.mktemp("runs") / "shards"
    settings = (
        "--subjects 2 --val-subjects 1 --test-subjects 0 --clips-per-activity 1 --seconds 3 --no-video --workers 2"
    )
    command = [sys.executable, "-m", "shards.synthetic", "--out", str(folder), *settings.split()]
    subprocess.run(
        command, cwd=ROOT, check=True, timeout=LIMIT_S, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return folder


@pytest.fixture(scope="session")
def processes(shards):
    started = Processes(shards)
    yield started
    started.close()


@pytest.fixture(scope="session")
def unbroken(processes, tmp_path_factory):
    """The run directory of a run of 12 steps that nothing stopped, in one process."""
    run_dir = tmp_path_factory.mktemp("unbroken") / "run"
    run = processes.pretrain(run_dir)
    assert run.wait() == [0], run.text()
    return run_dir
