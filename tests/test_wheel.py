"""The wheel, installed outside the clone: the model in the box answers there, without a network, and the inference tests pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_docs import of_a_walker

ROOT = Path(__file__).parents[1]
# No connection may be opened: whatever tries fails.
THREE_LINES = """
import socket, sys
def refuse(*a, **k): raise OSError("no network")
socket.socket.connect = socket.create_connection = refuse
import numpy as np
values = np.load(sys.argv[1])

import aura
model = aura.from_pretrained("aura-mini")
found = model.classify(imu=values, rate_hz=50, units="g", placements=["left wrist"], labels=["walking", "sitting", "waving"])

print(aura.__file__, found.label, sorted(found.probabilities))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel installs, and nothing else of the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools writes beside what it builds
    for name in ("aura", "shards"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, timeout=900, capture_output=True, text=True)
    (wheel,) = folder.glob("aura-*.whl")
    assert wheel.stat().st_size < 12e6, "10 MB of weights, and the code"
    site = folder / "site"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, timeout=900, capture_output=True, text=True)
    return site


def run(words: list[str], site: Path, folder: Path, limit_s: float) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": f"{site}", "HF_HOME": str(folder / "none"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=limit_s
    )


def test_the_three_lines_answer(installed, tmp_path):
    np.save(tmp_path / "values.npy", of_a_walker())
    done = run(["-c", THREE_LINES, "values.npy"], installed, tmp_path, 600)
    assert done.returncode == 0, done.stderr
    place, label, *names = done.stdout.split(maxsplit=2)
    assert place == str(installed / "aura" / "__init__.py")
    assert label == "walking"
    assert names == ["['sitting', 'walking', 'waving']\n"]


@pytest.mark.slow
def test_the_inference_tests_pass(installed, tmp_path):
    """What lies beside the package in the clone, and no test may need of it but recipes, is brought along."""
    for name in ("tests", "recipes", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    done = run(["-m", "pytest", "-q", "-x", "tests/inference", "tests/test_streaming.py"], installed, tmp_path, 3600)
    assert done.returncode == 0, done.stdout[-3000:]
    where = run(["-c", "import aura, shards; print(aura.__file__, shards.__file__)"], installed, tmp_path, 600).stdout
    assert where.split() == [str(installed / name / "__init__.py") for name in ("aura", "shards")]
