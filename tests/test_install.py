"""The installed packages import together, on a CPU torch too."""

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_models_import_beside_a_cpu_torch():
    done = run("import torch, torchvision, open_clip; from transformers import CLIPTextModel; print('ok')")
    assert done.stdout.strip().endswith("ok"), done.stderr


def test_declaring_the_operators_twice_is_harmless():
    done = run("import torch; from aura._torchvision_cpu import autoload; autoload(); autoload(); import torchvision")
    assert done.returncode == 0, done.stderr


def test_importing_aura_imports_nothing_heavy():
    done = run("import sys, aura; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
