"""Results of evaluations in a model card: as sections, and as entries of the YAML head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult

from aura.model_card.text import plain, slug, table

FIGURES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "argmax/accuracy",
    "one_to_one/accuracy",
    "R@1",
    "R@5",
    "MRR",
    "MAE",
    "median",
)
LABELS = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "MAE": "MAE, s",
    "median": "median error, s",
}
# Figures of the YAML head: type of the metric there.
INDEXED = {"accuracy": "accuracy", "macro_f1": "f1", "R@1": "recall_at_1"}
BY = {"zeroshot": "by words", "classify": "by its classifier"}
TASKS = {"zeroshot": "zero-shot-classification", "retrieval": "retrieval"}  # else: classification


def check_of(result: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """ValueError for results of another model, by its name or by its recipe, which names its run and seed."""
    known, found = config.get("training", {}).get("recipe_sha256"), result.get("recipe_sha256")
    what = f"results of {result.get('recipe')} ({result.get('task')}) are not of this model, {config['name']}"
    if result.get("recipe") != config["name"]:
        raise ValueError(what)
    if known and found and known != found:
        raise ValueError(
            f"{what} of run {config['training'].get('recipe', {}).get('run_dir', '')}: they are of {result.get('checkpoint')},"
            " whose recipe is another; evaluate this model"
        )


def section(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    title = f"### {result.get('task', 'evaluation')}: {_tested(result) or 'two recordings'}"
    warnings = []
    if result.get("leaks"):
        warnings.append(f"> **Leak:** {plain('; '.join(result['leaks']))}. These figures are too good.")
    if result.get("step") != config["step"]:
        warnings.append(f"> Measured at step {result.get('step')}; the weights here are of step {config['step']}.")
    figures = result.get("results", {})
    shown = [key for key in FIGURES if any(key in row for row in figures.values())]
    if not shown:
        shown = list(dict.fromkeys(k for row in figures.values() for k in row if "/" not in k and k != "n"))[:4]
    rows = [["what", *(LABELS.get(key, key) for key in shown), "n", "pool"]]
    for name, row in figures.items():
        intervals = result.get("intervals", {}).get(name, {})
        counts = [f"{row[key]:.0f}" if row.get(key) is not None else "" for key in ("n", "pool")]
        rows.append([name, *(_cell(row, key, intervals.get(key)) for key in shown), *counts])
    notes = [f"- {plain(note)}" for note in result.get("notes", ()) if not note.startswith("LEAK: ")]
    parts = [title, *warnings, _protocol(result), table(rows), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def own_section(config: Mapping[str, Any]) -> str:
    """What the run itself measured at this step; "" where that is nothing. It is in no head: it is no test."""
    training = config.get("training", {})
    found: Mapping[str, float] = training.get("evaluation", {})
    rows = [["what", "figure", "value", "chance", "windows"]]
    for key, value in found.items():
        base, _, figure = key.rpartition("/")
        task, _, name = base.partition("/")
        if figure not in ("R@1", "accuracy"):
            continue
        what = f"{name} (the query first)" if task == "retrieval" else f"{name}, {BY.get(task, task)}"
        chance, windows = found.get(f"{base}/chance"), found.get(f"{base}/pool", found.get(f"{base}/n"))
        rows.append(
            [what, figure, *("" if x is None else f"{x:.{n}f}" for x, n in ((value, 3), (chance, 4), (windows, 0)))]
        )
    if len(rows) == 1:
        return ""
    sources = training.get("recipe", {}).get("data", {}).get("eval", ())
    splits = (
        ", ".join(f"`{source['path']}:{source.get('split', 'val')}`" for source in sources)
        or "data that are not named here"
    )
    return (
        f"### In training: step {config['step']}, on {splits}\n\nMeasured by the run itself, each among the windows that are"
        " counted here. It may have chosen checkpoint and settings by it: this is no test.\n\n" + table(rows)
    )


def _cell(row: Mapping[str, Any], key: str, interval: Sequence[float] | None) -> str:
    if row.get(key) is None:
        return ""
    text = f"{row[key]:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
    chance = _chance(row, key)
    return text if chance is None else f"{text}, chance {chance:.3f}"


def _chance(row: Mapping[str, Any], key: str) -> float | None:
    return row.get(f"chance/{key}", row.get(f"chance/{key.split('/')[-1]}"))


def _protocol(result: Mapping[str, Any]) -> str:
    """How it was measured, as far as the results say."""
    facts = []
    if result.get("window_s"):
        facts.append(f"windows of {result['window_s']:g} s, every {result.get('stride_s') or result['window_s']:g} s")
    if result.get("per_sample", result.get("whole")):
        facts.append("a whole sample at a time, by the mean of its windows")
    if result.get("sensors"):
        facts.append("sensors: " + ", ".join(f"{count} of {name}" for name, count in result["sensors"].items()))
    if result.get("train"):
        facts.append("the classifiers learned from " + ", ".join(Path(text).name for text in result["train"]))
    if result.get("prompts"):
        prompts = result["prompts"]
        facts.append(
            f"{prompts.get('classes')} classes in the words of {Path(str(prompts.get('file') or 'the labels')).name}"
        )
    if result.get("pool"):
        facts.append(f"at most {result['pool']} windows")
    if result.get("intervals"):
        facts.append("in brackets 95 % intervals over people, by bootstrap")
    facts.append(f"evaluated by aura {str(result.get('git', 'unknown'))[:12]}")
    text = "; ".join(facts)
    return text[0].upper() + text[1:] + "."


def entries(result: Mapping[str, Any]) -> Iterable[EvalResult]:
    """Accuracy, macro-F1 and R@1 of what was evaluated, for the head."""
    tested, split = _tested(result), ", ".join(sorted({t.rpartition(":")[2] for t in _shards(result)}))
    for name, row in result.get("results", {}).items():
        for key, kind in INDEXED.items():
            if row.get(key) is None:
                continue
            interval = result.get("intervals", {}).get(name, {}).get(key)
            facts = {"n": row.get("n"), "pool": row.get("pool"), "chance": _chance(row, key), "interval_95": interval}
            yield EvalResult(
                task_type=TASKS.get(result["task"], "classification"),
                task_name=result["task"],
                dataset_type=slug(tested),
                dataset_name=tested,
                dataset_split=split or None,
                metric_type=kind,
                metric_name=f"{LABELS.get(key, key)} of {name}",
                metric_value=round(row[key], 4),
                metric_args={k: v for k, v in facts.items() if v is not None},
            )


def sound(result: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return not result.get("leaks") and result.get("step") == config["step"] and bool(_tested(result))


def _tested(result: Mapping[str, Any]) -> str:
    """Data sets of an evaluation, by the names of their folders; those that it learned from alone are left out."""
    return ", ".join(dict.fromkeys(text.rpartition(":")[0] for text in _shards(result)))


def _shards(result: Mapping[str, Any]) -> list[str]:
    """folder:split of what was tested; of folders their last name."""
    learned = {text if ":" in Path(text).name else f"{text}:train" for text in result.get("train", ())}
    return [Path(text).name for text in result.get("shards", {}) if text not in learned]
