"""What a person sees of a run: trackers, plots, and the table at the end."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from aura.train.recipe import Recipe
from aura.train.rundir import RunDir, RunError
from aura.weights import latest_checkpoint


class Trackers:
    """Tensorboard, and Weights & Biases where the recipe names a project. Made on rank 0 only."""

    def __init__(self, recipe: Recipe, run_dir: Path, step: int) -> None:
        self.tensorboard = self.wandb = None
        if recipe.log.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(str(run_dir / "tensorboard"), purge_step=step)
        if recipe.log.wandb:
            try:
                import wandb
            except ImportError as error:
                raise RunError("log.wandb needs the package wandb: pip install wandb") from error
            # One id for a run directory: a run that goes on continues the same record.
            self.wandb = wandb.init(
                project=recipe.log.wandb,
                name=recipe.name,
                id=hashlib.sha1(str(run_dir.resolve()).encode()).hexdigest()[:12],
                resume="allow",
                config=recipe.model_dump(mode="json"),
                dir=str(run_dir),
            )

    def log(self, values: dict[str, Any]) -> None:
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and k != "step"}
        if self.tensorboard is not None:
            for key, value in numbers.items():
                self.tensorboard.add_scalar(f"{values['kind']}/{key}", value, values["step"])
        if self.wandb is not None:
            self.wandb.log({f"{values['kind']}/{k}": v for k, v in numbers.items()} | {"step": values["step"]})

    def close(self) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close()
        if self.wandb is not None:
            self.wandb.finish()


def plot_run(metrics: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Draws losses, temperatures and accuracies over the steps, and retrieval beside chance. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    train = [m for m in metrics if m["kind"] == "train"]
    evals = [m for m in metrics if m["kind"] == "eval"]
    out = []
    if train:
        figure, axes = plt.subplots(2, 2, figsize=(12, 7.5), constrained_layout=True)
        for ax, prefix, title in (
            (axes[0, 0], ("loss/", "classify/"), "loss of each pair and classifier"),
            (axes[0, 1], ("accuracy/", "classify_accuracy/"), "in-batch accuracy"),
            (axes[1, 0], ("scale/",), "inverse temperature"),
        ):
            keys = [k for k in train[-1] if k.startswith(prefix)]
            for key in keys:
                ax.plot([m["step"] for m in train], [m.get(key) for m in train], label=key.partition("/")[2], lw=1)
            ax.set(title=title, xlabel="step")
            if keys:
                ax.legend(fontsize=8)
        steps = [m["step"] for m in train]
        axes[1, 1].plot(steps, [m["samples_per_s"] for m in train], lw=1, color="tab:blue")
        axes[1, 1].set(title="windows per second (blue), share of time waiting for data (red)", xlabel="step")
        waiting = axes[1, 1].twinx()
        waiting.plot(steps, [m["data_wait"] for m in train], lw=1, color="tab:red")
        waiting.set_ylim(0, 1)
        out.append(_save(figure, folder / "training.png"))
        if any("norm/" in key for m in train for key in m):
            out.append(_plot_health(train, folder / "health.png"))
    if evals and retrieval_pairs(evals[-1]):
        out.append(_plot_retrieval(evals, folder / "retrieval.png"))
    return out


def _plot_health(train: list[dict[str, Any]], path: Path) -> Path:
    """What `aura.train.health` measures, over the steps."""
    figure, axes = plt.subplots(2, 3, figsize=(16, 7.5), constrained_layout=True)
    shown = {
        "norm/": "norm before it is normalised",
        "rank/": "effective rank",
        "uniformity/": "uniformity (lower: spread out more)",
        "alignment/": "alignment: mean squared distance of a pair's sides",
        "gap/": "gap between the means of a pair's sides",
        "grad_norm/": "norm of the gradient of each tower",
    }
    for ax, (prefix, title) in zip(axes.flat, shown.items()):
        for key in sorted({key for m in train for key in m if key.startswith(prefix)}):
            known = [(m["step"], m[key]) for m in train if key in m]
            ax.plot(*zip(*known), label=key.partition("/")[2], lw=1)
        ax.set(title=title, xlabel="step")
        if ax.lines:
            ax.legend(fontsize=8)
    axes[1, 2].set_yscale("log")
    return _save(figure, path)


def _plot_retrieval(evals: list[dict[str, Any]], path: Path) -> Path:
    last = evals[-1]
    pairs = retrieval_pairs(last)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(14, 0.36 * len(pairs) + 2.5), constrained_layout=True, width_ratios=(3, 2)
    )
    values = [last[f"retrieval/{p}/R@1"] for p in pairs]
    chance = [last[f"retrieval/{p}/chance"] for p in pairs]
    places = range(len(pairs))
    left.barh(places, values, color="tab:blue")
    left.scatter(chance, places, color="black", marker="|", s=120, zorder=3, label="chance")
    for y, value, low in zip(places, values, chance):
        left.text(value, y, f" {value:.3f} ({value / low:.0f} x chance)", va="center", fontsize=8)
    left.set(yticks=list(places), xlim=(0, max(values) * 1.35 + 0.01), title=f"R@1 at step {last['step']}")
    left.set_yticklabels(
        [f"{p.replace(':', ' finds ')}  (pool {last[f'retrieval/{p}/pool']:.0f})" for p in pairs], fontsize=8
    )
    left.set_xticks([x for x in left.get_xticks() if x <= 1])  # beyond are words
    left.invert_yaxis()
    left.legend(fontsize=8, loc="lower right")
    for i, pair in enumerate(pairs):  # the two orders of a pair share a colour
        key = f"retrieval/{pair}/R@1"
        known = [(m["step"], m[key]) for m in evals if key in m]
        right.plot(*zip(*known), f"C{i // 2 % 10}", ls="-" if i % 2 == 0 else "--", marker="o", ms=3, lw=1, label=pair)
    right.set(title="R@1 over training", xlabel="step", ylim=(0, None))
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def retrieval_pairs(metrics: dict[str, Any]) -> list[str]:
    """Ordered pairs that an evaluation holds, in its order; of fine pairs with the term: `imu:pose2d/late`."""
    names = [key.removeprefix("retrieval/") for key in metrics if key.startswith("retrieval/")]
    return [name.removesuffix("/R@1") for name in names if name.endswith("/R@1") and not name.endswith("chance/R@1")]


def results_table(metrics: dict[str, Any]) -> str:
    """The last evaluation as text."""
    pairs = retrieval_pairs(metrics)
    head = (
        f"{'query : gallery':28} {'R@1':>7} {'R@5':>7} {'R@10':>7} {'MRR':>7} {'chance':>8} {'x chance':>8} {'pool':>6}"
    )
    lines = [head] if pairs else []
    for pair in pairs:
        v = {k: metrics[f"retrieval/{pair}/{k}"] for k in ("R@1", "R@5", "R@10", "MRR", "chance", "pool")}
        lines.append(
            f"{pair:28} {v['R@1']:7.3f} {v['R@5']:7.3f} {v['R@10']:7.3f} {v['MRR']:7.3f} {v['chance']:8.4f} "
            f"{v['R@1'] / v['chance']:8.1f} {v['pool']:6.0f}"
        )
    for key in [k for k in metrics if k.startswith(("zeroshot/", "classify/")) and k.endswith("/accuracy")]:
        base = key.removesuffix("/accuracy")
        lines.append(
            f"{base:28} accuracy {metrics[key]:.3f}, macro-F1 {metrics[base + '/macro_f1']:.3f}, "
            f"chance {metrics[base + '/chance']:.3f}, n {metrics[base + '/n']:.0f}"
        )
    return "\n".join(lines)


def print_results(run_dir: RunDir) -> None:
    """The last evaluation as a table, the plots, where everything is, and what to do with it."""
    metrics = run_dir.metrics()
    evaluations = [m for m in metrics if m["kind"] == "eval"]
    if evaluations:
        print(f"step {evaluations[-1]['step']}\n{results_table(evaluations[-1])}")
    print(f"metrics     {run_dir.path / 'metrics.jsonl'}")
    for plot in plot_run(metrics, run_dir.path / "plots"):
        print(f"plot        {plot}")
    print(f"checkpoint  {latest_checkpoint(run_dir.path / 'checkpoints')}")
    # The environment that `make` has made need not be active in the shell.
    python, here = Path(sys.executable), Path.cwd()
    python = python.relative_to(here) if python.is_relative_to(here) else "python"
    export = f"{python} tools/export_checkpoint.py {run_dir.path} --out models/{run_dir.path.name}"
    print(f'next        aura.from_pretrained("{run_dir.path}") in Python, or {export}', flush=True)
