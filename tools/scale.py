"""What a step of a recipe would cost on any number of ranks, by the closed forms of aura/train/cost.py.

python tools/scale.py --recipe recipes/quickstart.yaml --ranks 1 2 4 --node cpu
python tools/scale.py --recipe recipes/aura_mfm.yaml data.streams=8192 --ranks 8 64 256 1024 --rows 128 --out scale.png
python tools/scale.py --recipe R.yaml --ranks 8 64 --assume efficiency=0.3 between.bandwidth=20e9 read_s=0.005
python tools/scale.py --recipe R.yaml --ranks 8 64 --sensitivity                      which assumption matters, were it wrong by two
python tools/scale.py --recipe recipes/quickstart.yaml --check --ranks 1 2 4 --batches 16 64          measured beside predicted, here

FLOPs, operations, memory and reading are counted on the recipe's own model and shards, in a step of a few rows on the CPU; the rest
are assumptions, which the output names. Two tables: the recipe's batch on more ranks (strong scaling), and a batch that grows with
the ranks, --rows for each (weak scaling). Milliseconds of a step by what takes them:

towers      forward and backward passes          loss       products of the contrasts
gather      embeddings of all ranks, and back    gradients  their traffic (of parameters too, in ZeRO), beyond what is hidden
optimizer   the update                           handover   the batch put together and to the device
loop        Python, which grows with the batch   slowest    waiting for the slowest of the ranks
wait        for reading, beyond what is read ahead

The last column names the largest; `launches` instead of `towers` where rows are so few that a GPU waits for Python to start operations.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import json
import logging
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scale_work import Counted, count_work

from aura.data.index import BadSample
from aura.data.order import OrderError, check_ranks, fitting_workers
from aura.data.processes import ReadError
from aura.data.writer import ShardError
from aura.train.cost import CPU_NODE, GPU_NODE, Layout, Machine, Work, bottleneck, rank_bytes, step
from aura.train.recipe import Recipe, RecipeError, load_recipe
from aura.weights import RunError

NODES = {"gpu": GPU_NODE, "cpu": CPU_NODE}
PARTS = ("towers", "loss", "gather", "gradients", "optimizer", "handover", "loop", "slowest", "wait")
ZERO = (
    "overlap",
    "jitter",
    "operation_s",
    "row_s",
    "step_s",
    "open_s",
    "ahead",
    "scatter",
    "read_s",
    "read_bytes",
    "openings",
)
READING = ("read_s", "read_bytes", "openings")  # of `Work`, which may be assumed too


def assume(machine: Machine, work: Work, words: list[str]) -> tuple[Machine, Work]:
    """Sets `name=number` of the machine, of its links (`inside.bandwidth`), and of what reading costs. ValueError."""
    for word in words:
        name, _, text = word.partition("=")
        link, _, inner = name.partition(".")
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"--assume {word}: write name=number, such as efficiency=0.3") from None
        if not math.isfinite(number) or number < 0 or (number == 0 and inner != "latency" and name not in ZERO):
            raise ValueError(f"--assume {word}: must be above 0")
        if name in READING:
            work = replace(work, **{name: number})
        elif inner and link in ("inside", "between") and inner in ("bandwidth", "latency"):
            machine = replace(machine, **{link: replace(getattr(machine, link), **{inner: number})})
        elif isinstance(getattr(machine, name, None), bool):
            machine = replace(machine, **{name: bool(number)})
        elif isinstance(getattr(machine, name, None), int | float):
            machine = replace(machine, **{name: type(getattr(machine, name))(number)})
        else:
            known = [key for key, value in vars(machine).items() if isinstance(value, int | float)]
            links = [f"{a}.{b}" for a in ("inside", "between") for b in ("bandwidth", "latency")]
            raise ValueError(f"--assume {word}: no such assumption; there are {', '.join([*known, *links, *READING])}")
    return machine, work


def estimate(recipe: Recipe, work: Work, machine: Machine, ranks: int, batch: int, stage: int) -> dict[str, Any]:
    """A line of the table. OrderError where the recipe cannot run on so many ranks."""
    check_ranks(batch, recipe.data.streams, ranks)
    workers = fitting_workers(recipe.data.streams, ranks, recipe.data.workers)
    layout = Layout(ranks, batch, recipe.train.chunk, stage, workers)
    parts = step(work, layout, machine)
    return {
        "ranks": ranks,
        "batch": batch,
        "rows": layout.rows,
        "workers": workers,
        **parts,
        "rows_per_s": batch / parts["step"],
        "bottleneck": bottleneck(parts),
        "memory": rank_bytes(work, layout),
    }


def sensitivity(
    recipe: Recipe, work: Work, machine: Machine, cases: list[tuple[int, int]], stage: int
) -> dict[str, list[list[float]]]:
    """assumption -> for each (ranks, batch), by which factor a step grows where it is half and where it is twice as much.

    Without the assumptions that change no step by 5 %, those that are switches, and the number of ranks of a node.
    """
    names = [k for k, v in vars(machine).items() if isinstance(v, float) and k not in ("memory", "slowdown")]
    names += [f"{a}.{b}" for a in ("inside", "between") for b in ("bandwidth", "latency")] + list(READING)

    def steps(words: list[str]) -> list[float]:
        other, asked = assume(machine, work, words)
        return [estimate(recipe, asked, other, ranks, batch, stage)["step"] for ranks, batch in cases]

    plain, found = steps([]), {}
    for name in names:
        link, _, inner = name.partition(".")
        holder = work if name in READING else getattr(machine, link) if inner else machine
        value = getattr(holder, inner or name)
        both = [[a / b for a, b in zip(steps([f"{name}={value * by!r}"]), plain)] for by in (0.5, 2.0)]
        if any(abs(factor - 1) >= 0.05 for factors in both for factor in factors):
            found[name] = [list(pair) for pair in zip(*both)]
    return found


def sensitivity_table(found: dict[str, list[list[float]]], cases: list[tuple[int, int]]) -> str:
    head = f"{'half / twice':18}" + "".join(f"{f'{ranks} x {batch / ranks:.4g}':>16}" for ranks, batch in cases)
    lines = [
        f"{name:18}" + "".join(f"{f'{half - 1:+.0%} / {twice - 1:+.0%}':>16}" for half, twice in factors)
        for name, factors in found.items()
    ]
    return "\n".join([head, "-" * len(head), *lines])


def table(lines: list[dict[str, Any]]) -> str:
    head = f"{'ranks':>6} {'batch':>8} {'rows':>6} {'proc.':>5}" + "".join(f"{name:>10}" for name in PARTS)
    head += f"{'step ms':>10}{'rows/s':>11}{'a rank':>8}{'GiB':>7}  most"
    out, first = [head, "-" * len(head)], lines[0]["rows_per_s"] / lines[0]["ranks"]
    for line in lines:
        text = f"{line['ranks']:>6} {line['batch']:>8,} {line['rows']:>6.4g} {line['workers']:>5}"
        text += "".join(f"{1000 * line[name]:>10.3g}" for name in PARTS)
        share = line["rows_per_s"] / line["ranks"] / first
        text += f"{1000 * line['step']:>10.4g}{line['rows_per_s']:>11,.0f}{share:>8.0%}"
        out.append(f"{text}{sum(line['memory'].values()) / 2**30:>7.2f}  {line['bottleneck']}")
    return "\n".join(out)


def about_work(counted: Counted) -> str:
    work = counted.work
    lines = [f"{'tower':12} {'forward':>10} {'backward':>10}   GFLOPs of a row"]
    for name, (forward, backward) in counted.towers.items():
        lines.append(f"{name:12} {forward / 1e9:>10.3g} {backward / 1e9:>10.3g}")
    return "\n".join(
        [
            *lines,
            f"{'all':12} {work.forward / 1e9:>10.3g} {work.backward / 1e9:>10.3g}",
            f"{work.trained:,} trained and {work.frozen:,} frozen parameters; {work.operations:,.0f} operations a step;"
            f" {work.saved / 1e6:.3g} MB of activations a row",
            f"a row: {work.row_bytes / 1e6:.3g} MB in the batch, {work.read_bytes / 1e6:.3g} MB and"
            f" {1000 * work.read_s:.3g} ms of a reading process, {work.openings:.3g} openings",
        ]
    )


def about_machine(machine: Machine) -> str:
    values = asdict(machine)
    links = {name: values.pop(name) for name in ("inside", "between")}
    values |= {f"{name}.{key}": value for name, link in links.items() for key, value in link.items()}
    name = values.pop("name")
    return f"assumed of {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in values.items())


def picture(tables: dict[str, list[dict[str, Any]]], path: Path, title: str) -> None:
    """Milliseconds of a step, stacked, for each number of ranks; and rows a second beside the ideal."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(tables) + 1, figsize=(5 * len(tables) + 4.5, 4.2), layout="constrained")
    for axis, (name, lines) in zip(axes, tables.items()):
        bottom = [0.0] * len(lines)
        for i, part in enumerate(PARTS):
            heights = [1000 * line[part] for line in lines]
            axis.bar(range(len(lines)), heights, bottom=bottom, label=part, color=plt.get_cmap("tab10")(i))
            bottom = [a + b for a, b in zip(bottom, heights)]
        axis.set_xticks(range(len(lines)), [f"{line['ranks']}\nx {line['rows']:.4g}" for line in lines])
        axis.set(title=name, ylabel="ms of a step", xlabel="ranks x rows of each", ylim=(0, 1.05 * max(bottom)))
        axis.grid(axis="y", alpha=0.3)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside left center", fontsize=8)
    last, ranks = axes[-1], []
    for name, lines in tables.items():
        ranks = [line["ranks"] for line in lines]
        speeds = [line["rows_per_s"] for line in lines]
        (drawn,) = last.plot(ranks, speeds, "o-", label=name)
        last.plot(ranks, [speeds[0] * r / ranks[0] for r in ranks], "--", color=drawn.get_color(), alpha=0.5)
    last.set(xscale="log", yscale="log", xlabel="ranks", title="rows a second; dashed: in proportion")
    ticks = [line["ranks"] for line in next(iter(tables.values()))]
    last.set_xticks(ticks, [str(r) for r in ticks])
    last.minorticks_off()
    last.grid(alpha=0.3)
    last.legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def checked(recipe: Recipe, work: Work, options: argparse.Namespace) -> list[dict]:
    """Measured beside predicted, printed."""
    from scale_check import calibrate, check

    machine, work = assume(calibrate(recipe, work), work, options.assume)
    print(about_machine(machine) + "\n")
    lines = check(recipe, work, machine, options.ranks, options.batches, options.steps, options.repeats)
    head = f"{'ranks':>6} {'batch':>6} {'slowdown':>9} {'measured s':>11} {'predicted s':>12} {'error':>7}"
    print(f"{head}\n{'-' * len(head)}")
    for line in lines:
        print(
            f"{line['ranks']:>6} {line['batch']:>6} {line['slowdown']:>9.2f} {line['measured']:>11.3f}"
            f" {line['predicted']:>12.3f} {line['error']:>+7.0%}"
        )
    return lines


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--recipe", required=True)
    add("overrides", nargs="*", metavar="key.sub=value", help="changes of the recipe")
    add("--ranks", type=int, nargs="+", default=[8, 64, 256, 1024], help="numbers of ranks (8 64 256 1024)")
    add("--rows", type=int, help="rows of a rank where the batch grows with the ranks (those of the first)")
    add("--stage", type=int, default=2, choices=range(4), help="of ZeRO; 0: DDP (2)")
    add("--node", choices=NODES, default="gpu", help="class of nodes (gpu)")
    add("--assume", nargs="+", default=[], metavar="NAME=NUMBER", help="other assumptions; a wrong name lists them")
    add("--sensitivity", action="store_true", help="how a step changes where an assumption is half or twice as much")
    add("--out", type=Path, metavar="FILE.png", help="a picture of both tables")
    add("--json", type=Path, metavar="FILE", help="all numbers as JSON")
    add("--check", action="store_true", help="measure steps on the CPUs of this machine beside the prediction")
    add("--batches", type=int, nargs="+", default=[16, 64], help="with --check: batches (16 64)")
    add("--steps", type=int, default=16, help="with --check: steps of a run (16)")
    add("--repeats", type=int, default=3, help="with --check: runs of each kind, in turns (3)")
    return parser.parse_intermixed_args(words)


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    logging.disable(logging.WARNING)  # of weights that are left random here
    try:
        recipe = load_recipe(options.recipe, options.overrides)
        counted = count_work(recipe)
        print(f"{recipe.name}\n{about_work(counted)}\n")
        if options.check:
            found: Any = checked(recipe, counted.work, options)
        else:
            machine, work = assume(NODES[options.node], counted.work, options.assume)
            rows = options.rows or max(1, recipe.train.batch // options.ranks[0])
            batches = {
                f"batch {recipe.train.batch:,} on more ranks": [recipe.train.batch] * len(options.ranks),
                f"{rows} rows for each rank": [rows * ranks for ranks in options.ranks],
            }
            found = {
                name: [
                    estimate(recipe, work, machine, r, batch, options.stage) for r, batch in zip(options.ranks, sizes)
                ]
                for name, sizes in batches.items()
            }
            print(about_machine(machine))
            for name, lines in found.items():
                print(f"\n{name}, {'DDP' if options.stage == 0 else f'ZeRO-{options.stage}'}\n{table(lines)}")
            if options.sensitivity:
                cases = list(zip(options.ranks, [rows * ranks for ranks in options.ranks]))
                changes = sensitivity(recipe, work, machine, cases, options.stage)
                print(f"\na step of {rows} rows for each rank, by ranks x rows, where an assumption is")
                print(sensitivity_table(changes, cases))
            if options.out:
                picture(found, options.out, f"{recipe.name} on {machine.name}, predicted")
                print(f"picture  {options.out}")
    except (RecipeError, RunError, OrderError, ReadError, ShardError, BadSample, ValueError) as error:
        print(f"scale: {error}", file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
