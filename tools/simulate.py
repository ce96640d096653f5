"""What R ranks x W reading processes would read of S shards: the reader's own order, without reading.

python tools/simulate.py --shards data/synthetic --ranks 1 2 4 --workers 2 --batch 64
python tools/simulate.py --recipe recipes/aura_mfm.yaml --shards data/synthetic --ranks 8 64      what windows of a recipe read
python tools/simulate.py --samples 1e9 --shard-samples 1000 --sample-bytes 2.5e5 \\
    --batch 32768 --streams 8192 --workers 8 --ranks 8 64 256 1024                                  a billion samples, 1,024 ranks
python tools/simulate.py --samples 1e9 ... --shuffle-block 256 --at 1000000 --out block256.png      another block, from step 1,000,000

With --shards the index files are read (and of samples above 128 KB, with a recipe, KEY.json: it says what a window needs);
with --samples all samples are alike. A line of the table is a number of ranks, each column the minimum, median and maximum over
its ranks, in --steps steps:

samples    rows that a rank reads
MB         that it reads of tars; index MB: of index files
openings   of tars by its processes; a file that is open is not opened again
seeks      reads that do not begin where the last one in that file ended
idle       share of a step that a rank waits for the one with the most bytes, if nothing but reading took time
uneven     the same of the reading processes of a rank, by rows: reading ahead hides most of it

A restart at --at: CPU seconds until a process knows its next rows, and what was read ahead and is read again. `open files` are the most
that a process has open at once, tars and index files.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from simulate_reader import Folder, RankCounts, Run, Source, Statistics, counters_at, seconds_to_the_next_row, simulate
from tqdm import tqdm

from aura.data.config import DataConfig, Input, source_of
from aura.data.index import BadSample
from aura.data.order import Order, OrderError, check_ranks, fitting_workers
from aura.data.processes import AHEAD, ReadError
from aura.data.reader import make_cutter, open_sources
from aura.data.writer import ShardError
from aura.train.recipe import Recipe, RecipeError, load_recipe

COLUMNS = (
    ("samples", "samples", 1), ("bytes", "MB", 1e6), ("openings", "openings", 1), ("seeks", "seeks", 1),
    ("index_bytes", "index MB", 1e6), ("idle", "idle %", 0.01), ("uneven", "uneven %", 0.01),
)  # fmt: skip


def summary(order: Order, sources: Sequence[Source], run: Run, ranks: Sequence[RankCounts], place_s: float) -> dict:
    """A line of the table: minimum, median and maximum over ranks, how often a shard is opened, what a restart costs."""
    spread = {}
    for key, _, _ in COLUMNS:
        values = [getattr(rank, key) for rank in ranks]
        spread[key] = [min(values), statistics.median(values), max(values)]
    rows, shards = sum(rank.samples for rank in ranks), sum(source.shards for source in sources)
    read = sum(rank.bytes for rank in ranks)
    return {
        "ranks": run.ranks,
        "workers": run.workers,
        "steps": run.steps,
        "at": run.start,
        **spread,
        "openings_per_sample": sum(rank.openings for rank in ranks) / rows,
        "openings_per_shard_and_pass": sum(rank.openings for rank in ranks) / rows * sum(order.sizes) / shards,
        "index_share": sum(rank.index_bytes for rank in ranks) / max(1, read),
        "restart_place_s": place_s,
        "restart_read_again_bytes": AHEAD * read / run.steps / len(ranks) if run.workers else 0,
        "open_files": max(rank.open_files for rank in ranks),
        "position_bytes": len(json.dumps({"step": run.start, "counters": run.counters.tolist()})),
    }


def table(lines: list[dict]) -> str:
    head = f"{'ranks':>6} {'proc.':>5}" + "".join(f"{title:>28}" for _, title, _ in COLUMNS[:5])
    head += "".join(f"{title:>22}" for _, title, _ in COLUMNS[5:])
    out = [head, "-" * len(head)]
    for line in lines:
        text = f"{line['ranks']:>6} {line['workers']:>5}"
        for i, (key, _, unit) in enumerate(COLUMNS):
            text += f"{' / '.join(short(value / unit) for value in line[key]):>{28 if i < 5 else 22}}"
        out.append(text)
    out += ["", "of all ranks together; a restart: of one process and one rank"]
    head = f"{'ranks':>6} {'openings/sample':>16} {'openings/shard,pass':>20} {'index/data':>11} {'next row':>9}"
    out.append(f"{head} {'read again':>11} {'position':>9} {'open files':>11}")
    for line in lines:
        out.append(
            f"{line['ranks']:>6} {line['openings_per_sample']:>16.4f} {line['openings_per_shard_and_pass']:>20.1f}"
            f" {line['index_share']:>11.1%} {line['restart_place_s']:>7.2f} s {line['restart_read_again_bytes'] / 1e6:>8.1f} MB"
            f" {line['position_bytes'] / 1e3:>6.1f} KB {line['open_files']:>11,}"
        )
    return "\n".join(out)


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def picture(lines: list[dict], path: Path, title: str) -> None:
    """Each column over the number of ranks: the median, and a band from the minimum to the maximum."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(15, 6.4), layout="constrained")
    ranks = [line["ranks"] for line in lines]
    for axis, (key, name, unit) in zip(axes.flat, COLUMNS):
        low, middle, high = (np.array([line[key][i] for line in lines]) / unit for i in range(3))
        axis.fill_between(ranks, low, high, alpha=0.25, label="minimum to maximum")
        axis.plot(ranks, middle, "o-", label="median of the ranks")
        log = key not in ("idle", "uneven") and low.min() > 0
        axis.set(title=f"{name} of a rank, {lines[0]['steps']} steps", yscale="log" if log else "linear")
        if not log:
            axis.set_ylim(0, max(1.0, 1.1 * high.max()))
    axis = axes.flat[len(COLUMNS)]
    axis.plot(ranks, [line["restart_place_s"] for line in lines], "s-", color="tab:red")
    axis.set(title=f"restart at step {lines[0]['at']:,}: CPU s to the next row")
    axis.set_ylim(bottom=0)
    for axis in axes.flat:
        axis.set_xscale("log", base=2)
        axis.set_xticks(ranks, [str(rank) for rank in ranks])
        axis.set_xlabel("ranks")
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def stored(recipe: Recipe, splits: list) -> dict[str, str]:
    """Streams whose stored embeddings the recipe reads -> hash of their tower."""
    names = [name for name, settings in recipe.inputs.items() if getattr(settings, "stored", False)]
    found = {}
    for name in names:
        towers = [t for s in splits for t in s.totals["streams"].get(f"{name}.emb", {}).get("towers", {})]
        if not towers:
            raise ReadError(f"inputs.{name}.stored, but no source has stored embeddings: run tools/precompute.py first")
        found[name] = towers[0]
    return found


def folders(config: DataConfig, recipe: Recipe | None, seed: int) -> list[Folder]:
    """The sources of a run, to be counted."""
    inputs: dict[str, Input] = dict(recipe.inputs) if recipe else {}
    splits = open_sources(config.sources, {}, {})
    for split in splits:
        if not split.shards[0].storage.local:
            raise ReadError(f"{split.folder} is not on this machine: give its numbers with --samples instead")
    cutter = None
    if recipe is not None:
        cutter = make_cutter(
            config, inputs, splits, lambda texts: torch.empty(0), stored(recipe, splits), training=True
        )
    return [Folder(split, number, seed, cutter) for number, split in enumerate(splits)]


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--shards", nargs="+", metavar="DIR[:SPLIT]", help="folders of shards; default: the recipe's")
    add(
        "--recipe", help="its sources, inputs, window, batch, streams, workers and seed; what is given beside it counts"
    )
    add("--samples", type=float, help="instead of folders: samples in all")
    add("--shard-samples", type=float, default=1000, help="of these, samples of a shard (1000)")
    add("--sample-bytes", type=float, default=250e3, help="bytes that a row reads of its sample (250e3)")
    add("--index-bytes", type=int, default=1000, help="bytes of an index file for each sample (1000)")
    add("--batch", type=int, help="rows of a step over all ranks (1024)")
    add("--streams", type=int, help="streams of order, data.streams (64)")
    add("--workers", type=int, help="reading processes of a rank, data.workers (2)")
    add("--shuffle-block", type=int, help="data.shuffle_block (16)")
    add("--windows", type=int, help="windows of a visited sample, data.windows (1)")
    add("--seed", type=int, help="seed of the order (0)")
    add("--ranks", type=int, nargs="+", default=[1, 8, 64], help="numbers of ranks (1 8 64)")
    add("--steps", type=int, default=32, help="steps that are walked through (32)")
    add(
        "--at",
        type=int,
        default=0,
        metavar="STEP",
        help="step that the run is at: where it begins or was restarted (0)",
    )
    add("--walk", type=int, metavar="N", help="walk through N of the ranks, spread evenly (all)")
    add("--out", type=Path, metavar="FILE.png", help="a picture of the table")
    add("--json", type=Path, metavar="FILE", help="the numbers as JSON, those of every rank too")
    options = parser.parse_args(words)
    if options.samples is None and not options.shards and not options.recipe:
        parser.error("give --shards, --recipe or --samples")
    if options.samples is not None and options.shards:
        parser.error("--shards and --samples exclude each other")
    positive = [options.shard_samples, options.sample_bytes, options.steps, *options.ranks]
    some = (options.samples, options.walk, options.batch, options.streams, options.shuffle_block, options.windows)
    if min(positive + [x for x in some if x is not None]) < 1 or (options.workers or 0) < 0 or options.at < 0:
        parser.error("numbers are at least 1; --workers, --at and --seed 0")
    return options


def configured(options: argparse.Namespace) -> tuple[DataConfig, Recipe | None, int, int]:
    """What decides the order: data, recipe, batch, seed."""
    recipe = load_recipe(options.recipe) if options.recipe else None
    values = recipe.data.model_dump() if recipe else {}
    if options.shards:
        values["sources"] = [source_of(text, "train").model_dump() for text in options.shards]
    given = {key: getattr(options, key) for key in ("streams", "workers", "shuffle_block", "windows")}
    values |= {key: value for key, value in given.items() if value is not None}
    values.setdefault("sources", [{"path": "."}])  # of --samples: never opened
    batch = options.batch or (recipe.train.batch if recipe else 1024)
    seed = options.seed if options.seed is not None else recipe.seed if recipe else 0
    return DataConfig.model_validate(values), recipe, batch, seed


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    try:
        config, recipe, batch, seed = configured(options)
        for ranks in options.ranks:
            check_ranks(batch, config.streams, ranks)
        sources: Sequence[Source]
        if options.samples is not None:
            each = int(options.shard_samples), options.sample_bytes, options.index_bytes
            sources, weights = [Statistics(int(options.samples), *each)], (1.0,)
        else:
            sources, weights = folders(config, recipe, seed), tuple(s.weight for s in config.sources)
        sizes = tuple(source.samples for source in sources)
        order = Order(seed, sizes, weights, config.streams, config.shuffle_block, config.windows)
        counters, lines, everything = counters_at(order, batch, options.at), [], []
        with tqdm(
            total=sum(min(r, options.walk or r) for r in options.ranks), desc="ranks", disable=not sys.stderr.isatty()
        ) as bar:
            for ranks in options.ranks:
                workers = fitting_workers(config.streams, ranks, config.workers)
                run = Run(batch, ranks, workers, options.steps, options.at, counters)
                place_s = seconds_to_the_next_row(order, run)
                found = simulate(order, sources, run, done=bar.update, some=options.walk)
                lines.append(summary(order, sources, run, found, place_s))
                everything.append(
                    [{k: v for k, v in vars(rank).items() if k not in ("places", "now_open")} for rank in found]
                )
    except (OrderError, RecipeError, ReadError, ShardError, BadSample) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    about = (
        f"{sum(sizes):,} samples in {sum(s.shards for s in sources):,} shards, batch {batch:,}, {config.streams:,} streams"
        f" of order, blocks of {config.shuffle_block}, {config.workers} reading processes asked for"
    )
    print(f"{about}\n\n{table(lines)}")
    taken, block = options.steps * batch / config.streams, config.shuffle_block * config.windows
    if taken < 2 * block:
        print(
            f"in {options.steps} steps a stream takes {taken:.3g} rows of blocks of {block}: each stream's first opening weighs"
            f" more than in a long run; --steps {-(-2 * block * config.streams // batch)} shows that (--walk N: of fewer ranks)"
        )
    if options.out:
        picture(lines, options.out, about)
        print(f"picture  {options.out}")
    if options.json:
        options.json.write_text(json.dumps({"about": about, "lines": lines, "ranks": everything}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
