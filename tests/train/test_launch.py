"""Each accelerate configuration starts what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aura.train.launch import refuse_stale_builds
from aura.train.rundir import RunError
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


def launch(config: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += ["--main_process_port", str(free_port()), "-m", "tests.train.count_worker"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


@pytest.mark.parametrize(
    ("name", "kind"), [("accelerate_config_cpu.yaml", "MULTI_CPU"), ("accelerate_config_cpu_zero2.yaml", "DEEPSPEED")]
)
def test_cpu_configurations_start_two_processes(name, kind):
    done = launch(ROOT / name)
    assert re.search(rf"seen 2 {kind} gloo no no", done.stdout), done.stdout + done.stderr[-3000:]


def test_gpu_configuration_is_deepspeed_zero2_bf16():
    config = yaml.safe_load((ROOT / "accelerate_config.yaml").read_text())
    assert config["distributed_type"] == "DEEPSPEED"
    assert config["deepspeed_config"]["zero_stage"] == 2
    assert config["mixed_precision"] == "bf16"
    assert "gradient_clipping" not in config["deepspeed_config"], "the recipe decides"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mixed_precision": "bf16"}, "seen 2 DEEPSPEED gloo bf16 no"),
        ({"deepspeed_config": {"gradient_clipping": 0.5}}, "sets gradient_clipping to 0.5, the recipe means 1.0"),
        (
            {"num_processes": 3},
            "3 ranks do not divide train.batch=16 and data.streams=8. With these, 1, 2, 4 or 8 ranks work",
        ),
    ],
)
def test_what_the_configuration_changes(change, words, tmp_path):
    config = yaml.safe_load((ROOT / "accelerate_config_cpu_zero2.yaml").read_text())
    config["deepspeed_config"] |= change.pop("deepspeed_config", {})
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config | change))
    done = launch(tmp_path / "c.yaml")
    assert words in done.stdout, done.stdout + done.stderr[-3000:]


def test_the_lock_of_a_killed_compilation_is_named_instead_of_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    refuse_stale_builds()  # of a process that compiles right now
    os.utime(lock, (0, 0))
    with pytest.raises(RunError, match=rf"{lock} is left of a process that was killed"):
        refuse_stale_builds()
