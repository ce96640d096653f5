"""Runs and tables of the section `utd_mhad` of docs/results.md: classes in words, retrieval and few labels, of whole clips."""

from __future__ import annotations

from collections.abc import Sequence

from results_runs import Run, cells, people, provenance

STORED = [
    "data.sources.0.path=data/utd_mhad_stored",
    "data.eval=[{path: data/utd_mhad_stored, split: test}]",
    "inputs.text.stored=true",
    "eval.every=0",
]
# The sensor's placement tells wrist actions from thigh actions: with it, and without.
PLACEMENT = {"given": [], "withheld": ["towers.imu.placements=false"]}
SEEDS = (0, 1, 2)
TEST = ["--shards", "data/utd_mhad_stored:test"]
SHOTS, DRAWS = (1, 2, 3, 5, 10), 10
FUSED = ("imu+pose2d", "imu+mocap+pose2d")
# Row of the table -> its name in the evaluation.
ZERO_SHOT = {
    "imu": "imu",
    "mocap": "mocap",
    "pose2d": "pose2d",
    "imu+mocap": "imu+mocap",
    **{name: f"{name}, as far as there" for name in FUSED},
}
STREAMS = ("imu", "mocap", "pose2d")
WORDS = {"imu": "IMU", "mocap": "mocap", "pose2d": "2D pose", "text": "text"}


def runs_of(placement: str) -> list[Run]:
    recognised = {
        "zeroshot": ["--task", "zeroshot", *TEST, "--fuse", *FUSED],
        "retrieval": ["--task", "retrieval", *TEST],
    }
    if placement == "given":
        recognised |= {
            "probe": ["--task", "probe", *TEST],
            "fewshot": ["--task", "fewshot", *TEST, "--times", str(DRAWS), "--k", *map(str, SHOTS)],
        }
    return [
        Run(
            f"utd_mhad-{placement}",
            seed,
            "recipes/utd_mhad.yaml",
            [*STORED, *PLACEMENT[placement]],
            # The forest needs no model but to say what a window is: once.
            recognised | ({"forest": ["--task", "forest", *TEST]} if (placement, seed) == ("given", 0) else {}),
        )
        for seed in SEEDS
    ]


def runs() -> list[Run]:
    return [run for placement in PLACEMENT for run in runs_of(placement)]


def tables() -> str:
    parts = [zero_shot(), retrieval(), labels()]
    return "\n\n".join("\n".join(lines) for lines in [*parts, provenance(runs(), "run")])


def by_placement(sides: str, placements: Sequence[str] = tuple(PLACEMENT)) -> list[tuple[str, list[Run]]]:
    """What is said of the placement, and the runs; of what reads no IMU once."""
    if "imu" not in sides.replace(":", "+").split("+"):
        return [("-", runs_of("given"))]
    return [(name, runs_of(name)) for name in placements]


def zero_shot() -> list[str]:
    given = runs_of("given")[0]
    first = given.results("zeroshot")["imu"]
    forest = given.results("forest")
    lines = [
        f"| 27 actions by text prompt, {first['n']:.0f} clips | placement | accuracy | over people, not seeds | macro-F1"
        " | random forest (supervised), accuracy | chance, always the most frequent |",
        "|---|---|---|---|---|---|---|",
    ]
    for side, name in ZERO_SHOT.items():
        known = forest.get(f"{side}, random forest", {}).get("accuracy")
        for placement, found in by_placement(side):
            figures = found[0].results("zeroshot")[name]
            row = [side, placement, *cells(found, "zeroshot", name, ["accuracy"])]
            row += [people(found, "zeroshot", name, "accuracy"), *cells(found, "zeroshot", name, ["macro_f1"])]
            row += ["-" if known is None else f"{known:.3f}"]
            row += [f"{figures['chance/accuracy']:.3f}, {figures['majority/accuracy']:.3f}"]
            lines.append(f"| {' | '.join(row)} |")
    return lines


def retrieval() -> list[str]:
    keys = ("R@1", "R@10", "MRR")
    given = runs_of("given")[0].results("retrieval")
    pool = given["imu:mocap"]["pool"]
    lines = [
        f"| retrieval, gallery of {pool:.0f} clips | placement | R@1 | over people, not seeds | R@10 | MRR | chance R@1, R@10, MRR |",
        "|---|---|---|---|---|---|---|",
    ]
    streams = (*STREAMS, "text")
    for query, gallery in ((a, b) for a in streams for b in streams if a != b):
        pair = f"{query}:{gallery}"
        name = pair if pair in given else f"{pair}, emergent"
        figures = given[name]
        if figures["pool"] != pool:
            raise SystemExit(f"retrieval of {pair} is among {figures['pool']:.0f} clips, others among {pool:.0f}")
        words = f"{WORDS[query]} finds {WORDS[gallery]}" + (" (emergent)" if name != pair else "")
        chance = ", ".join(f"{figures[f'chance/{key}']:.3f}" for key in keys)
        placements = tuple(PLACEMENT) if {query, gallery} == {"imu", "mocap"} else ("given",)
        for placement, found in by_placement(pair, placements):
            first, *others = cells(found, "retrieval", name, keys)
            whom = people(found, "retrieval", name, "R@1") if query != "text" else "-"
            lines.append(f"| {' | '.join([words, placement, first, whom, *others, chance])} |")
    return lines


def labels() -> list[str]:
    """What labels give: a classifier on all of them, and on k clips a class."""
    found = runs_of("given")
    forest, first = found[0].results("forest"), found[0].results("probe")["imu, linear"]
    heads = [f"k = {k}" for k in SHOTS]
    lines = [
        f"| accuracy of classifiers on frozen embeddings, placement given | classifier | {' | '.join(heads)}"
        f" | all {first['train']:.0f} labels | over people, not seeds |",
        "|---" * (len(heads) + 4) + "|",
    ]
    for stream in STREAMS:
        for few, kind, all_labels in (
            ("linear", "linear", "linear"),
            ("mean", "nearest class mean; of all: nearest clip", "1nn"),
        ):
            row = [stream, kind]
            for k in SHOTS:
                row += cells(found, "fewshot", f"{stream}, {k} a class, {few}", ["accuracy"])
            name = f"{stream}, {all_labels}"
            row += [*cells(found, "probe", name, ["accuracy"]), people(found, "probe", name, "accuracy")]
            lines.append(f"| {' | '.join(row)} |")
    for name in forest:
        empty = ["-"] * len(SHOTS)
        stream = name.removesuffix(", random forest")
        values = [stream, "random forest on statistics", *empty, f"{forest[name]['accuracy']:.3f}"]
        lines.append(f"| {' | '.join([*values, people(found[:1], 'forest', name, 'accuracy')])} |")
    blind = [f"{first['chance/accuracy']:.3f}, {first['majority/accuracy']:.3f}"] * (len(SHOTS) + 1)
    lines.append(f"| chance, always the most frequent | - | {' | '.join(blind)} | - |")
    return lines
