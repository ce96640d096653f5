"""Learning rate as a function of the global step alone."""

import math

from aura.train.recipe import Train


def lr_factor(step: int, train: Train) -> float:
    """Share of the learning rate at step 0, 1, 2, ...: linear warm-up, then a cosine down to `min_lr` (or constant)."""
    if step < train.warmup:
        return (step + 1) / train.warmup
    if train.schedule == "constant":
        return 1.0
    progress = (step - train.warmup) / max(1, train.steps - train.warmup)
    return train.min_lr + (1 - train.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
