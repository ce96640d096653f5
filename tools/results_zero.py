"""Runs and tables of recognition by words on data sets that training never saw: the sections `zero_shot` and `mini` of
docs/results.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results_runs import Run, cells, people, provenance

SEEDS = (0, 1, 2)
CLIPS = ["--all-sensors", "--per-sample", "--window", "4", "--stride", "1"]  # movements that repeat
MOMENTS = ["--all-sensors", "--per-sample", "--window", "2", "--stride", "1"]  # runs of one activity, of 0.5 to 4 s
SHARDS = {
    "berkeley": ["--shards", "data/berkeley_mhad:test", *CLIPS],
    "sp_sw": ["--shards", "data/sp_sw_har:test", *MOMENTS],
    "utd": ["--shards", "data/utd_mhad:test", *CLIPS],
}
PROMPTS = {"berkeley": "berkeley_mhad", "sp_sw": "sp_sw_har", "utd": "utd_mhad"}
TITLES = {
    "berkeley": "Berkeley MHAD, 11 actions",
    "sp_sw": "SP-SW-HAR, 5 activities",
    "utd": "UTD-MHAD, 27 actions",
}


@dataclass(frozen=True)
class Study:
    """A recipe, the data sets that it is asked about, and what becomes of it without one ingredient at a time.

    short        changes that make a run of the ablations; ablations: what -> further changes
    """

    name: str
    recipe: str
    targets: Sequence[str]
    short: Sequence[str]
    ablations: Mapping[str, Sequence[str]]

    def final_runs(self) -> list[Run]:
        found = []
        for seed in SEEDS:
            evaluations = zero_shots(self.targets, True)
            for name in self.targets:
                evaluations[f"{name}_few"] = ["--task", "fewshot", *SHARDS[name], "--times", "10", "--k", "1", "5"]
                evaluations[f"{name}_probe"] = ["--task", "probe", *SHARDS[name]]
                if seed == SEEDS[0]:  # needs no model but to say what a window is: once
                    evaluations[f"{name}_forest"] = ["--task", "forest", *SHARDS[name]]
            found.append(Run(self.name, seed, self.recipe, ["eval.every=0"], evaluations))
        return found

    def untrained(self) -> Run:
        still = ["train.steps=2", "train.warmup=1", "train.optimizer.lr=1e-12", "eval.every=0", "checkpoint.every=2"]
        return Run(f"{self.name}-untrained", 0, self.recipe, still, zero_shots(self.targets, True))

    def ablation_runs(self) -> dict[str, Run]:
        # On the training subjects of the targets, from whom nothing is learned: their test subjects are for the recipe as it is.
        found = zero_shots(self.targets, False)
        told = {name: [word.replace(":test", ":train") for word in words] for name, words in found.items()}
        return {
            what: Run(f"{self.name}-short-{i}", 0, self.recipe, [*self.short, *changes], told)
            for i, (what, changes) in enumerate(self.ablations.items())
        }

    def runs(self) -> list[Run]:
        return [*self.final_runs(), self.untrained(), *self.ablation_runs().values()]

    def tables(self) -> str:
        parts = [answers(self), few(self), ingredients(self), provenance(self.runs(), "run")]
        return "\n\n".join("\n".join(lines) for lines in parts)


def zero_shots(targets: Sequence[str], placements: bool) -> dict[str, list[str]]:
    each = ["--placements", "each"] if placements else []
    return {
        name: ["--task", "zeroshot", *SHARDS[name], "--prompts", f"recipes/prompts/{PROMPTS[name]}.yaml", *each]
        for name in targets
    }


def answers(study: Study) -> list[str]:
    """Each target by all sensors and by each alone; supervised and blind answers beside."""
    lines = [
        "| zero-shot | sensors, or stream | n | accuracy | over people, not seeds | macro-F1 | untrained: accuracy, macro-F1"
        " | chance, majority: accuracy | majority: macro-F1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    trained, blank = study.final_runs(), study.untrained()
    for target in study.targets:
        title = TITLES[target]
        for name, first in trained[0].results(target).items():
            worn = name.removeprefix("imu at the ").removesuffix(" alone").replace("imu", "all")
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


def few(study: Study) -> list[str]:
    """What labels of the target's training subjects give: the frozen tower, and a forest on statistics of the signals."""
    lines = [
        "| with labels of the target's training subjects, all sensors | n | accuracy | macro-F1 |",
        "|---|---|---|---|",
    ]
    trained = study.final_runs()
    for target in study.targets:
        title = TITLES[target]
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


def ingredients(study: Study) -> list[str]:
    lines = [
        f"| {study.short[0].partition('=')[2]} steps, seed 0, training subjects of the targets"
        f" | {' | '.join(f'{TITLES[target]}: accuracy, macro-F1' for target in study.targets)} |",
        "|---" * (1 + len(study.targets)) + "|",
    ]
    for what, run in study.ablation_runs().items():
        told = []
        for target in study.targets:
            figures = run.results(target)["imu"]
            told.append(f"{figures['accuracy']:.3f}, {figures['macro_f1']:.3f}")
        lines.append(f"| {what} (`{run.name}`) | {' | '.join(told)} |")
    return lines


ZERO_SOURCES = {
    "synthetic": "{path: data/synthetic_wide_stored, weight: 3}",
    "bandai": "{path: data/bandai_namco_wide_stored, weight: 1}",
    "cmu": "{path: data/cmu_bvh_wide_stored, weight: 0.5}",
    "utd": "{path: data/utd_mhad_stored, weight: 1}, {path: data/utd_mhad_stored, split: test, weight: 1}",
}
MINI_SOURCES = {
    "synthetic": "{path: data/synthetic_wide_stored, weight: 4}",
    "mocap": "{path: data/cmu_bvh_wide_stored, weight: 0.5}, {path: data/cmu_bvh_wide_stored, split: test, weight: 0.1},"
    " {path: data/amc_wide_stored, weight: 0.5}, {path: data/amc_wide_stored, split: test, weight: 0.2}",
    "bandai": "{path: data/bandai_namco_wide_stored, weight: 1}",
    "wordless": "{path: data/synthetic_wordless_stored, weight: 4}",
}


def trained_on(sources: Mapping[str, str], *names: str) -> str:
    return f"data.sources=[{', '.join(sources[name] for name in names)}]"


# What training does to the sensors of a window, and what of it can be left out.
MOUNTED = {
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
ZERO_SHOT = Study(
    "zero_shot",
    "recipes/zero_shot.yaml",
    ("berkeley", "sp_sw"),
    ["train.steps=400", "eval.every=0", "checkpoint.every=400"],
    {
        "all ingredients": [],
        "without the synthetic human": [trained_on(ZERO_SOURCES, "bandai", "cmu", "utd")],
        "without motion capture": [trained_on(ZERO_SOURCES, "synthetic", "utd")],
        "without UTD-MHAD": [trained_on(ZERO_SOURCES, "synthetic", "bandai", "cmu")],
        **MOUNTED,
    },
)
NOISE = ("acc_noise", "gyro_noise", "acc_bias", "gyro_bias", "gain")
MINI = Study(
    "mini",
    "recipes/mini.yaml",
    ("berkeley", "sp_sw", "utd"),
    ["train.steps=500", "eval.every=0", "checkpoint.every=500"],
    {
        "all ingredients": [],
        "without the synthetic human": [trained_on(MINI_SOURCES, "mocap")],
        "without motion capture": [trained_on(MINI_SOURCES, "synthetic")],
        "and without the words of the targets": [trained_on(MINI_SOURCES, "wordless")],
        "with Bandai-Namco (not for commercial use)": [trained_on(MINI_SOURCES, "synthetic", "mocap", "bandai")],
        "one placement of the sensors: right wrist": ["inputs.imu.placements=[right wrist]", "inputs.imu.sensors=1"],
        "without noise, bias and gain": [f"inputs.imu.augment.{name}=0" for name in NOISE],
        **MOUNTED,
    },
)
