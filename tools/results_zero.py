"""Runs and tables of the section `zero_shot` of docs/results.md: recognition by words on data sets that training never saw."""

from __future__ import annotations

from results_runs import Run, cells, people, provenance

RECIPE = "recipes/zero_shot.yaml"
SEEDS = (0, 1, 2)
BERKELEY = ["--shards", "data/berkeley_mhad:test"]
SP_SW = ["--shards", "data/sp_sw_har:test"]
CLIPS = ["--all-sensors", "--per-sample", "--window", "4", "--stride", "1"]  # movements that repeat
MOMENTS = ["--all-sensors", "--per-sample", "--window", "2", "--stride", "1"]  # runs of one activity, of 0.5 to 4 s
TARGETS = {
    "berkeley": [*BERKELEY, *CLIPS, "--prompts", "recipes/prompts/berkeley_mhad.yaml"],
    "sp_sw": [*SP_SW, *MOMENTS, "--prompts", "recipes/prompts/sp_sw_har.yaml"],
}
LEARN = {"berkeley": [*BERKELEY, *CLIPS], "sp_sw": [*SP_SW, *MOMENTS]}
TITLES = {"berkeley": "Berkeley MHAD, 11 actions", "sp_sw": "SP-SW-HAR, 5 activities"}
SOURCES = {
    "synthetic": "{path: data/synthetic_wide_stored, weight: 3}",
    "bandai": "{path: data/bandai_namco_wide_stored, weight: 1}",
    "cmu": "{path: data/cmu_bvh_wide_stored, weight: 0.5}",
    "utd": "{path: data/utd_mhad_stored, weight: 1}, {path: data/utd_mhad_stored, split: test, weight: 1}",
}


def trained_on(*names: str) -> str:
    return f"data.sources=[{', '.join(SOURCES[name] for name in names)}]"


# What each ingredient brings: the recipe in fewer steps, and without one ingredient at a time.
SHORT = ["train.steps=400", "eval.every=0", "checkpoint.every=400"]
ABLATIONS: dict[str, list[str]] = {
    "all ingredients": [],
    "without the synthetic human": [trained_on("bandai", "cmu", "utd")],
    "without motion capture": [trained_on("synthetic", "utd")],
    "without UTD-MHAD": [trained_on("synthetic", "bandai", "cmu")],
    "sensors turned about their limb alone": [
        "inputs.imu.augment.rotation_deg=11",
        "inputs.imu.augment.limb_rotation_deg=180",
    ],
    "without channels along gravity": ["towers.imu.gravity=false"],
    "labels alone, no sentences": ["inputs.text.kinds=[label]"],
    "same meanings of different data sets are negatives": ["objective.meanings={}"],
    "no range, gyroscope, placement or sensor is dropped": [
        f"inputs.imu.augment.{name}=0" for name in ("clip_acc", "drop_gyro", "hide_placement", "drop_sensor")
    ],
}


def zero_shots(placements: bool) -> dict[str, list[str]]:
    each = ["--placements", "each"] if placements else []
    return {name: ["--task", "zeroshot", *words, *each] for name, words in TARGETS.items()}


def final_runs() -> list[Run]:
    found = []
    for seed in SEEDS:
        evaluations = zero_shots(True)
        for name, words in LEARN.items():
            evaluations[f"{name}_few"] = ["--task", "fewshot", *words, "--times", "10", "--k", "1", "5"]
            evaluations[f"{name}_probe"] = ["--task", "probe", *words]
            if seed == SEEDS[0]:  # needs no model but to say what a window is: once
                evaluations[f"{name}_forest"] = ["--task", "forest", *words]
        found.append(Run("zero_shot", seed, RECIPE, ["eval.every=0"], evaluations))
    return found


def untrained() -> Run:
    still = ["train.steps=2", "train.warmup=1", "train.optimizer.lr=1e-12", "eval.every=0", "checkpoint.every=2"]
    return Run("zero_shot-untrained", 0, RECIPE, still, zero_shots(True))


def ablations() -> dict[str, Run]:
    # On the training subjects of the targets, from whom nothing is learned: their test subjects are for the recipe as it is.
    told = {name: [word.replace(":test", ":train") for word in words] for name, words in zero_shots(False).items()}
    return {
        what: Run(f"zero_shot-short-{i}", 0, RECIPE, [*SHORT, *changes], told)
        for i, (what, changes) in enumerate(ABLATIONS.items())
    }


def runs() -> list[Run]:
    return [*final_runs(), untrained(), *ablations().values()]


def tables() -> str:
    parts = [targets(), few(), ingredients(), provenance(runs(), "run")]
    return "\n\n".join("\n".join(lines) for lines in parts)


def targets() -> list[str]:
    """Each target by all sensors and by each alone; supervised and blind answers beside."""
    lines = [
        "| zero-shot | sensors | n | accuracy | over people, not seeds | macro-F1 | untrained: accuracy, macro-F1"
        " | chance, majority: accuracy | majority: macro-F1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    trained, blank = final_runs(), untrained()
    for target, title in TITLES.items():
        for name, first in trained[0].results(target).items():
            worn = name.removeprefix("imu at the ").removesuffix(" alone") if " at the " in name else "all"
            row = [title, worn, f"{first['n']:.0f}", *cells(trained, target, name, ["accuracy"])]
            row += [people(trained, target, name, "accuracy"), *cells(trained, target, name, ["macro_f1"])]
            still = blank.results(target)[name]
            row += [f"{still['accuracy']:.3f}, {still['macro_f1']:.3f}"]
            row += [
                f"{first['chance/accuracy']:.3f}, {first['majority/accuracy']:.3f}",
                f"{first['majority/macro_f1']:.3f}",
            ]
            lines.append(f"| {' | '.join(row)} |")
    return lines


def few() -> list[str]:
    """What labels of the target's training subjects give: the frozen tower, and a forest on statistics of the signals."""
    lines = [
        "| with labels of the target's training subjects, all sensors | n | accuracy | macro-F1 |",
        "|---|---|---|---|",
    ]
    trained = final_runs()
    for target, title in TITLES.items():
        for k in (1, 5):
            name = f"imu, {k} a class, mean"
            row = cells(trained, f"{target}_few", name, ["accuracy", "macro_f1"])
            n = trained[0].results(f"{target}_few")[name]["n"]
            lines.append(f"| {title}: {k} a class, nearest class mean | {n:.0f} | {' | '.join(row)} |")
        row = cells(trained, f"{target}_probe", "imu, linear", ["accuracy", "macro_f1"])
        n = trained[0].results(f"{target}_probe")["imu, linear"]["n"]
        lines.append(f"| {title}: linear classifier on the frozen tower | {n:.0f} | {' | '.join(row)} |")
        forest = trained[0].results(f"{target}_forest")["imu, random forest"]
        row = [f"{forest[key]:.3f}" for key in ("accuracy", "macro_f1")]
        lines.append(f"| {title}: random forest on statistics | {forest['n']:.0f} | {' | '.join(row)} |")
    return lines


def ingredients() -> list[str]:
    lines = [
        f"| {SHORT[0].partition('=')[2]} steps, seed 0, training subjects of the targets | {' | '.join(f'{title}: accuracy, macro-F1' for title in TITLES.values())} |",
        "|---|---|---|",
    ]
    for what, run in ablations().items():
        told = []
        for target in TITLES:
            figures = run.results(target)["imu"]
            told.append(f"{figures['accuracy']:.3f}, {figures['macro_f1']:.3f}")
        lines.append(f"| {what} (`{run.name}`) | {' | '.join(told)} |")
    return lines
