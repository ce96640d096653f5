"""recipes/pretrain.py with the faults that the environment names: for launchers, which are given a script."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path[0] = str(ROOT / "recipes")
    sys.path.insert(1, str(ROOT))
    from tests.train import faults

    faults.install()
    runpy.run_path(str(ROOT / "recipes" / "pretrain.py"), run_name="__main__")
