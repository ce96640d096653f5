"""Two nodes of one rank each: two launchers that meet at an address, by hand and as a SLURM job."""

import os
import signal
import sys

import pytest

from tests.ports import free_port
from tests.train.runs import FAULTY, PRETRAIN, ROOT, status
from tests.train.test_runs import assert_same_run

CONFIG = str(ROOT / "accelerate_config_cpu.yaml")
FIRST = "127.0.0.2"  # an address of this machine that is not the default one: the nodes must be told it

SRUN = """#!/bin/bash
pids=()
for node in $(seq 0 $((SLURM_NNODES - 1))); do SLURM_NODEID=$node "$@" & pids+=($!); done
trap 'kill -TERM "${pids[@]}"' USR2
code=0
for pid in "${pids[@]}"; do while kill -0 $pid 2>/dev/null; do wait $pid || code=$?; done; done
exit $code
"""
SCONTROL = f"""#!/bin/bash
echo "$@" >> "$SCONTROL_LOG"
[ "$1" = show ] && printf '{FIRST}\\nother-node\\n'
exit 0
"""
# The launcher, of the script that minds the faults that the environment names.
ACCELERATE = f"""#!/bin/bash
exec {os.path.dirname(sys.executable)}/accelerate "${{@/#recipes\\/pretrain.py/{FAULTY}}}"
"""


def test_two_nodes_follow_one_process(processes, unbroken, tmp_path):
    run_dir, port = tmp_path / "run", str(free_port())
    meeting = ["--num_machines", "2", "--num_processes", "2", "--main_process_ip", FIRST, "--main_process_port", port]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, *meeting]
    nodes = [
        processes.command(run_dir, [*launch, "--machine_rank", str(node), str(PRETRAIN), *processes.arguments(run_dir)])
        for node in (0, 1)
    ]
    for node in nodes:
        assert node.wait() == [0], node.text()
    assert_same_run(run_dir, unbroken, rel=1e-4)


@pytest.fixture
def slurm(tmp_path):
    """Commands of SLURM for two nodes on this machine, and what a job finds in its environment."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("accelerate", ACCELERATE)):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": str(free_port()),  # of which the script makes the same port
        "SLURM_JOB_NODELIST": "nodes[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
        "ACCELERATE_CONFIG": CONFIG,
        "RUN_DIR": str(tmp_path / "run"),
    }


def test_a_slurm_job_that_runs_out_of_time_is_queued_again_and_goes_on(processes, unbroken, slurm, tmp_path):
    run_dir = tmp_path / "run"
    words = ["bash", str(ROOT / "recipes" / "slurm.sh"), *processes.arguments(run_dir)[:-1]]
    job = processes.command(run_dir, words, **slurm, WAIT_AT="step 4")
    job.until(3)
    for node in launchers(job.pids[0]):
        os.kill(node, signal.SIGTERM)  # as SLURM does to the tasks of a step
    assert job.wait() == [0], job.text()
    assert status(run_dir)["state"] == "preempted", job.text()
    asked = (tmp_path / "scontrol.log").read_text()
    assert asked.splitlines() == ["show hostnames nodes[1-2]", f"requeue {slurm['SLURM_JOB_ID']}"]
    refused = processes.command(run_dir, [*words, "train.batch=15"], **slurm)
    assert refused.wait() == [1], refused.text()  # and is not queued again, though the status is that of the last job
    job = processes.command(run_dir, words, **slurm)
    assert job.wait() == [0], job.text()
    assert (tmp_path / "scontrol.log").read_text().count("requeue") == 1
    assert_same_run(run_dir, unbroken, rel=1e-4)


def test_a_job_without_a_folder_says_so(processes, slurm, tmp_path):
    job = processes.command(tmp_path / "run", ["bash", str(ROOT / "recipes" / "slurm.sh")], **slurm | {"RUN_DIR": ""})
    assert job.wait() == [1]
    assert "set RUN_DIR to a folder that all nodes see" in job.text()


def launchers(job: int) -> list[int]:
    """Processes of a group that are `accelerate launch`."""
    found = []
    for folder in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{folder}/cmdline", "rb").read().split(b"\0")
            if os.getpgid(int(folder)) == job and any(
                w.endswith((b"/accelerate", b"accelerate.commands.launch")) for w in words
            ):
                found.append(int(folder))
        except (OSError, ProcessLookupError):
            continue
    return found
