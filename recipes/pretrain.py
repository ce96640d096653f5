"""Pretrains a model by a recipe, or goes on with a run that was stopped.

    accelerate launch recipes/pretrain.py                                      the quickstart
    accelerate launch recipes/pretrain.py --config recipes/utd_mhad.yaml
    accelerate launch recipes/pretrain.py train.steps=100 run_dir=runs/short   any key of the recipe
    accelerate launch --config_file accelerate_config.yaml recipes/pretrain.py --config R.yaml
    python recipes/pretrain.py --config R.yaml --dry-run --ranks 8             what it would be: towers, memory, passes

The run directory holds the resolved recipe, metrics.jsonl, plots, tensorboard and checkpoints; the same command goes on
from its last checkpoint. Exit codes: 0 finished, 75 stopped by a signal after saving, 1 failed (status.json says why).
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import fcntl
import subprocess
import sys
from pathlib import Path

QUICKSTART = Path(__file__).with_name("quickstart.yaml")
SYNTHETIC = Path("data/synthetic")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=QUICKSTART, help="recipe (default: the quickstart)")
    parser.add_argument("--dry-run", action="store_true", help="say what the run would be, and end")
    parser.add_argument("--ranks", type=int, default=1, help="of the dry run: processes of the run that is meant")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the recipe")
    arguments = parser.parse_intermixed_args()

    from tqdm import tqdm

    from aura.data.order import OrderError
    from aura.data.reader import ReadError
    from aura.data.writer import ShardError
    from aura.tasks.leaks import LeakError
    from aura.train.dry_run import dry_run
    from aura.train.loop import pretrain
    from aura.train.recipe import RecipeError, load_recipe
    from aura.train.rundir import RunError

    try:
        recipe = load_recipe(arguments.config, arguments.overrides)
        if recipe.name == "quickstart" and any(Path(source.path) == SYNTHETIC for source in recipe.data.sources):
            make_synthetic(SYNTHETIC)
        if arguments.dry_run:
            print("\n".join(dry_run(recipe, arguments.ranks)))
            return 0
        return pretrain(recipe)
    except (RecipeError, RunError, ShardError, ReadError, OrderError, LeakError, OSError) as error:
        tqdm.write(f"error: {error}", file=sys.stderr)  # on a line of its own, not behind a progress bar
        return 1


def make_synthetic(folder: Path, *settings: str) -> None:
    """Makes the quickstart's shards where they are missing. Of all processes of a run one does, the others wait for it.

    settings    further words of the command line of `shards.synthetic`
    """
    if (folder / "manifest.json").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if (folder / "manifest.json").exists():
            return
        print(f"{folder} is missing: making the quickstart's shards, about a minute", flush=True)
        command = [
            sys.executable,
            "-m",
            "shards.synthetic",
            "--out",
            str(folder.resolve()),
            "--workers",
            "2",
            "--resume",
        ]
        if subprocess.run([*command, *settings], cwd=QUICKSTART.parents[1], check=False).returncode:
            raise OSError(f"the shards of the quickstart could not be made (see above): {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
