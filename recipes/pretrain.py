"""Pretrains a model by a recipe, or goes on with a run that was stopped.

    accelerate launch recipes/pretrain.py                                      the quickstart
    accelerate launch recipes/pretrain.py --config recipes/utd_mhad.yaml
    accelerate launch recipes/pretrain.py train.steps=100 run_dir=runs/short   any key of the recipe
    accelerate launch --config_file accelerate_config.yaml recipes/pretrain.py --config R.yaml

The run directory holds the resolved recipe, metrics.jsonl, plots, tensorboard and checkpoints; the same command goes on
from its last checkpoint. Exit codes: 0 finished, 75 stopped by a signal after saving, 1 failed (status.json says why).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

QUICKSTART = Path(__file__).with_name("quickstart.yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=QUICKSTART, help="recipe (default: the quickstart)")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the recipe")
    arguments = parser.parse_args()

    from aura.data.writer import ShardError
    from aura.train.loop import pretrain
    from aura.train.recipe import RecipeError, load_recipe
    from aura.train.rundir import RunError

    try:
        return pretrain(load_recipe(arguments.config, arguments.overrides))
    except (RecipeError, RunError, ShardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
