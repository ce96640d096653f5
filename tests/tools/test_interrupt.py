"""Ctrl-C while a command still imports: a word, no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = ["--checkpoint", ".", "--task", "retrieval", "--shards", "none", "--out", "none"]


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["recipes/pretrain.py"], "numpy"),
        (["recipes/pretrain.py"], "torch.nn"),
        (["recipes/finetune.py", "--checkpoint", ".", "--train", "none"], "numpy"),
        (["recipes/evaluate.py", *RUN], "torch._C"),
        (["recipes/compare.py", "a", "b"], "numpy"),
        (["tools/precompute.py", "none"], "numpy"),
        (["tools/inspect_shards.py", "none"], "matplotlib"),
        (["tools/verify_shards.py", "none"], "numpy"),
    ],
)
def test_ctrl_c_while_modules_are_imported(words, module):
    """As the import of a module begins: in the middle of a library's own C++ start it can end otherwise, beyond our reach."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    )
    assert (ended.stderr.splitlines(), ended.returncode) == (["stopped by Ctrl-C"], -signal.SIGINT)


INTERRUPTED = """
import os, runpy, signal, sys

def interrupt(event, about):
    if event == "import" and about[0] == module and not came:
        came.append(module)
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
came, module = [], sys.argv[1]
sys.argv = sys.argv[2:]
sys.path[0] = os.path.dirname(sys.argv[0])
sys.addaudithook(interrupt)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
