"""What a recipe asks of the shards, compared with what they hold, before the first step."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aura.data.index import Split
from aura.objectives.config import Classify
from aura.tasks.fine import terms_of
from aura.tasks.zeroshot import Prompts
from aura.train.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)


def check_data(recipe: Recipe, sources: Sequence[Split], held_out: Sequence[Split], prompts: Prompts | None) -> None:
    """Raises RecipeError for windows longer than the samples, labels that are not there, classes without prompts, and a
    `checkpoint.best` that no evaluation gives.

    sources, held_out    splits of data.sources and data.eval
    """
    window, same_text = recipe.data.window, recipe.objective.same_text
    for key, splits in (("data.sources", sources), ("data.eval", held_out)):
        means = [split.totals["seconds"] / len(split) for split in splits]
        if means and not window.whole and max(means) < window.min_cover * window.seconds:
            raise RecipeError(
                f"data.window.seconds is {window.seconds:g}, but the samples of {key} last {max(means):.3g} s on average:"
                f" a stream that covers less than data.window.min_cover={window.min_cover:g} of a window is missing from it."
                " Take a shorter window"
            )
    need = window.seconds + window.shift_step_s
    for name, fine in recipe.objective.fine.items():
        apart = fine.token and fine.token_negatives == "window" and window.shift_s
        if apart and not any(float(entry["duration_s"]) >= need for split in sources for entry in split.entries()):
            raise RecipeError(
                f"objective.fine.{name}.token tells the moments of windows that are moved (data.window.shift_s), but no sample of"
                f" data.sources lasts {need:g} s, which a window of {window.seconds:g} s needs to be moved: take a shorter one"
            )
    if same_text != "string" and "text" in recipe.objective.streams:
        label = same_text.removeprefix("label:")
        _check_label("objective.same_text", label, sources)
        there = {value for split in sources for value in split.totals["labels"].get(label, {})}
        named = {value for group in recipe.objective.meanings.values() for value in group}
        if absent := sorted(named - there):
            log.warning("objective.meanings: no sample of data.sources has the %s %s", label, ", ".join(absent))
    if prompts is not None and held_out:
        _check_label("eval.prompts", prompts.label, held_out)
        values = {value for split in held_out for value in split.totals["labels"].get(prompts.label, {}) if value}
        missing = sorted(values - set(prompts.classes))
        if missing:
            raise RecipeError(
                f"eval.prompts {recipe.eval.prompts} has no words for {', '.join(missing)}, values of the label"
                f" {prompts.label!r} in data.eval"
            )
    if recipe.objective.classify is not None:
        _check_classes(recipe.objective.classify, sources, held_out)
    best = recipe.checkpoint.best
    if best is not None and best not in (known := metric_names(recipe)):
        near = [name for name in known if name.endswith(("/R@1", "/accuracy"))]
        raise RecipeError(
            f"checkpoint.best={best!r} is no metric of the evaluation; take one such as {', '.join(near)}"
        )


def metric_names(recipe: Recipe) -> list[str]:
    """Metrics that can decide the best checkpoint, where the shards have the streams."""
    pairs = [name.split(":") for name in recipe.objective.pairs]
    kinds = [(pair, "") for pair in pairs]
    kinds += [(name.split(":"), f"{term}/") for name, fine in recipe.objective.fine.items() for term in terms_of(fine)]
    names = [
        f"retrieval/{a}:{b}/{prefix}{k}"
        for pair, prefix in kinds
        for a, b in (pair, pair[::-1])
        for k in ("R@1", "R@5", "R@10", "MRR")
    ]
    if "text" in recipe.objective.streams:
        sides = dict.fromkeys(side for pair in pairs for side in pair if side != "text")
        names += [f"zeroshot/{side}/{k}" for side in sides for k in ("accuracy", "macro_f1")]
    classify = recipe.objective.classify
    names += [
        f"classify/{side}/{k}" for side in (classify.streams if classify else ()) for k in ("accuracy", "macro_f1")
    ]
    return names


def _check_classes(classify: Classify, sources: Sequence[Split], held_out: Sequence[Split]) -> None:
    """Every class of the training data has an output, every class of the evaluation was trained."""
    _check_label("objective.classify", classify.label, sources)
    trained, tested = (
        {value for split in splits for value in split.totals["labels"].get(classify.label, {}) if value}
        for splits in (sources, held_out)
    )
    if unknown := sorted(trained - set(classify.classes)):
        raise RecipeError(
            f"objective.classify.classes lacks {', '.join(unknown)}, values of the label {classify.label!r} in data.sources"
        )
    if held_out:
        _check_label("objective.classify (data.eval)", classify.label, held_out)
    if unknown := sorted(tested - trained):
        raise RecipeError(
            f"data.eval has the classes {', '.join(unknown)} of the label {classify.label!r}, which no sample of data.sources"
            " has: train on data that has them, or evaluate on data without them"
        )


def _check_label(key: str, label: str, splits: Sequence[Split]) -> None:
    there = sorted({name for split in splits for name in split.totals["labels"]})
    if label not in there:
        raise RecipeError(
            f"{key} goes by the label {label!r}, which no sample has; there are {', '.join(there) or 'none'}"
        )
