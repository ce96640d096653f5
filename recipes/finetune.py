"""Fine-tunes the towers of a pretrained run to recognise a label, or goes on with such a run that was stopped.

    accelerate launch recipes/finetune.py --checkpoint runs/utd_mhad --train data/utd_mhad:train --eval data/utd_mhad:val
    ... --streams imu imu+mocap        a classifier for each; imu+mocap reads both towers side by side
    ... --from-scratch                 the same without the checkpoint's weights: the baseline of the same size
    ... train.steps=1000 towers.imu.tuning=frozen train.optimizer.lr=1e-4       any key of the recipe

A run as of recipes/pretrain.py: the same run directory (runs/NAME-finetune, or NAME-scratch), signals, exit codes, and the
same command goes on from its last checkpoint. Windows, inputs, towers and optimiser are those of the checkpoint, with these
defaults: train.steps=300, train.warmup a tenth of them, train.batch=64, train.optimizer.lr half of the checkpoint's, every
tower trained whole (`tuning`: full; adapters stay adapters). recipes/evaluate.py --task finetune evaluates the result.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import re
import sys

OVERRIDE = re.compile(r"[A-Za-z_][\w.+:]*=")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="a pretrained run directory, or a checkpoint of one")
    parser.add_argument("--train", required=True, nargs="+", metavar="DIR[:SPLIT]", help="shards (split: train)")
    parser.add_argument("--eval", default=[], nargs="+", metavar="DIR[:SPLIT]", help="shards, held out (split: val)")
    parser.add_argument("--label", default="activity", help="the samples' label to recognise (activity)")
    parser.add_argument(
        "--streams", default=[], nargs="+", metavar="A[+B]", help="default: each stream of the checkpoint but text"
    )
    parser.add_argument("--from-scratch", action="store_true", help="leave the checkpoint's weights out")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the recipe")
    # Taken out first: an option with several words would swallow them.
    overrides = [word for word in sys.argv[1:] if OVERRIDE.match(word)]
    options = parser.parse_args([word for word in sys.argv[1:] if not OVERRIDE.match(word)])

    from tqdm import tqdm

    from aura.data.config import source_of
    from aura.data.order import OrderError
    from aura.data.reader import ReadError
    from aura.data.writer import ShardError
    from aura.tasks.leaks import LeakError
    from aura.train.finetune import finetune_recipe
    from aura.train.loop import pretrain
    from aura.train.recipe import RecipeError
    from aura.train.rundir import RunError

    try:
        recipe = finetune_recipe(
            options.checkpoint,
            [source_of(text, "train") for text in options.train],
            [source_of(text, "val") for text in options.eval],
            options.label,
            options.streams,
            overrides + options.overrides,
            options.from_scratch,
        )
        return pretrain(recipe)
    except (RecipeError, RunError, ShardError, ReadError, OrderError, LeakError, OSError) as error:
        tqdm.write(f"error: {error}", file=sys.stderr)  # on a line of its own, not behind a progress bar
        return 1


if __name__ == "__main__":
    sys.exit(main())
