"""The card of a released model: README.md with the YAML head that the Hugging Face Hub reads, and the truth in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from aura.data.config import kind_of

PIPELINE = "feature-extraction"  # of those that the Hub knows, what such a model always does
TAGS = ("human-activity-recognition", "contrastive-learning", "multimodal", "time-series")
TAGS_OF = {
    "imu": ("imu", "inertial-measurement-unit", "wearable-sensors"),
    "mocap": ("motion-capture",),
    "pose2d": ("pose-estimation",),
    "video": ("video",),
    "text": ("zero-shot-classification",),
}
# What a licence in words says: data sets name their terms in sentences of their own, which may forbid several things.
TERMS = {
    "unknown": r"^\W*$|unknown|not stated|not known|unclear|ask the authors|contact",
    "non-commercial": r"non-?\s?commercial|\bnc\b|\bnot?\b[^;,.]{0,12}commercial|commercial use[^;,.]{0,6}(prohibited|forbidden|not )",
    "research": r"research|scientific|academic",
    "other": r"agreement|redistribut|request|registration|signed|\b(sa|nd)\b|share-?alike|no-?deriv|\bgpl|terms|prohibit|forbid"
    r"|needs?\b|requires?\b|reserved",
}
GRANTED = r"(for )?(research and commercial|commercial and research) use"
OPEN = (
    r"\bcc-?0\b|\bcc[ -]by\b|public domain|\bmit licen[cs]e|^mit\b\W*$|apache|\bbsd[ -]\d|\bodc-by\b|\bisc licen[cs]e"
)
WARNINGS = {
    "non-commercial": "**Not for commercial use:** trained on {}.",
    "research": "**For research alone:** trained on {}.",
    "unknown": "**Terms unknown:** trained on {}. Ask before any use beyond your own research.",
    "other": "**Terms of their own:** trained on {}. Read them before use.",
}
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
TASKS = {"zeroshot": "zero-shot-classification", "retrieval": "retrieval"}  # else: classification


def model_card(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]] = (), licence: str | None = None) -> str:
    """README.md of a released model.

    config     content of its config.json
    results    contents of results.json, as recipes/evaluate.py writes them of this model
    licence    of the weights, as the Hub names it (`apache-2.0`); None: what the licences of the training data allow

    ValueError for results of another model.
    """
    for result in results:
        if result.get("recipe") != config["name"]:
            raise ValueError(
                f"results of {result.get('recipe')} ({result.get('task')}) are not of this model, {config['name']}"
            )
    parts = [
        f"# {config['name']}",
        *_terms(config, licence),
        _what(config),
        "## Use",
        _use(config),
        "## Towers and inputs",
        _towers(config),
        "## Training data",
        _data(config),
        "## Results",
        *([_result(result, config) for result in results] or ["None were measured for this card."]),
        "## Limits",
        _limits(config),
        "## How it was made",
        _made(config),
    ]
    return f"---\n{metadata(config, results, licence).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def metadata(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]], licence: str | None) -> ModelCardData:
    """The YAML head. Results with leaks, or of another step, are not in it: nobody reads the notes of an index."""
    kinds = list(dict.fromkeys(kind_of(stream) for stream in config["towers"]))
    found = [entry for result in results if _sound(result, config) for entry in _index(result)]
    licence = licence or default_licence(config)
    sources = list(_began_with(config).values())
    return ModelCardData(
        language="en",
        license=licence,
        license_name="terms-of-the-training-data" if licence == "other" else None,
        library_name="aura",
        pipeline_tag=PIPELINE,
        tags=[*TAGS, *(tag for kind in kinds for tag in TAGS_OF.get(kind, ()))],
        datasets=list(dict.fromkeys(_slug(source["name"]) for source in _sources(config))) or None,
        base_model=[source for source in dict.fromkeys(sources) if re.fullmatch(r"[\w.-]+/[\w.-]+", source)] or None,
        metrics=list(dict.fromkeys(entry.metric_type for entry in found)) or None,
        model_name=config["name"] if found else None,
        eval_results=found or None,
    )


def _began_with(config: Mapping[str, Any]) -> dict[str, str]:
    """Stream -> the pretrained weights that its tower began with, in this repository or not."""
    referenced = {stream: value["source"] for stream, value in config.get("referenced", {}).items()}
    return {**config.get("training", {}).get("began_with", {}), **referenced}


def default_licence(config: Mapping[str, Any]) -> str:
    """apache-2.0 where all licences of the training data allow it and no weights are from elsewhere, cc-by-nc-4.0 where the rest
    forbid commercial use alone, else `other`."""
    terms = set(terms_of(config))
    if _began_with(config).keys() - config.get("referenced", {}).keys():
        return "other"
    if terms == {"open"}:
        return "apache-2.0"
    return "cc-by-nc-4.0" if terms and terms <= {"open", "non-commercial"} else "other"


def terms_of(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """`open`, `non-commercial`, `research`, `other`, `unknown` -> data sets of the training, with their licences in words."""
    found: dict[str, list[str]] = {}
    for source in _sources(config):
        for licence in _licences(source) or [""]:
            named = f"{source['name']} ({licence or 'no licence stated'})"
            for name in terms_in(licence):
                same = found.setdefault(name, [])
                if named not in same:
                    same.append(named)
    unknown = config.get("training", {}).get("unknown", "")
    if unknown or not found:
        found.setdefault("unknown", []).append(f"data that are not all known here ({unknown or 'none are listed'})")
    return found


def terms_in(licence: str) -> list[str]:
    """What a licence in words demands; `open`: nothing but credit, and only where it plainly says so."""
    text = licence.lower()
    granted = re.search(GRANTED, text) is not None
    text = re.sub(GRANTED, "", text)
    found = [name for name, pattern in TERMS.items() if re.search(pattern, text or "?" if granted else text)]
    return found or (["open"] if granted or re.search(OPEN, text) else ["other"])


def _terms(config: Mapping[str, Any], licence: str | None) -> list[str]:
    found = terms_of(config)
    lines = [line.format("; ".join(found[name])) for name, line in WARNINGS.items() if name in found]
    if lines and licence:
        lines.append(
            f"The licence `{licence}` of the weights was chosen by who published them; the terms of the data stand beside it."
        )
    return ["\n>\n".join(f"> {_plain(line)}" for line in lines)] if lines else []


def _what(config: Mapping[str, Any]) -> str:
    kinds = {"imu": "wearable IMU", "mocap": "motion capture", "pose2d": "2D poses", "video": "video", "text": "text"}
    names = list(dict.fromkeys(kinds.get(kind_of(s), kind_of(s)) for s in config["towers"]))
    together = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    window = config["window"]
    spans = (
        f"a whole recording, mapped onto {window['seconds']:g} s" if window.get("whole") else f"{window['seconds']:g} s"
    )
    cut = "" if window.get("whole") else "; longer recordings are cut into windows"
    return (
        f"A model of human activity: {together} in one space of {config['embedding']} dimensions, trained by contrast with"
        f" aura. A window is {spans}{cut}. What belongs"
        " together lies close, by cosine: a recording finds its words, and what else was recorded at that moment."
    )


def _use(config: Mapping[str, Any]) -> str:
    streams = [s for s in config["towers"] if kind_of(s) != "text"]
    pairs = config.get("objective", {}).get("pairs", {})
    paired = [s for s in streams if "text" in config["towers"] and any({s, "text"} == set(p.split(":")) for p in pairs)]
    worded = bool(paired)
    streams = paired or streams
    stream = next((s for s in streams if kind_of(s) == "imu"), streams[0] if streams else "text")
    about = ""
    if kind_of(stream) == "imu":
        known = config["inputs"][stream].get("placements") or config.get("statistics", {}).get(stream, {}).get(
            "placements"
        )
        about = ', rate_hz=50, units="g", gyro_units="deg/s"' + (
            f', placements=["{next(iter(known))}"]' if known else ""
        )
    elif kind_of(stream) in ("mocap", "pose2d"):
        about = ", rate_hz=30" + (", image_size=(1280, 720)" if kind_of(stream) == "pose2d" else "")
    labels = [*config["prompts"]["classes"]][:2] if config.get("prompts") else ["walking", "sitting"]
    call = (
        f"classify({stream}=values{about}, labels={labels!r})"
        if worded and streams
        else f"embed({stream}=values{about})"
    )
    lines = [
        "import aura",
        'model = aura.from_pretrained("USER/NAME")  # the name of this repository',
        f"print(model.{call})",
    ]
    text = "```python\n" + "\n".join(lines) + "\n```"
    if worded and config.get("phrases"):
        text += (
            f"\n\nThe embeddings of {len(config['phrases'])} phrases come with it: `modalities=[...]` without `text` fetches the"
            " towers that are named alone, and still knows these words."
        )
    return text


def _towers(config: Mapping[str, Any]) -> str:
    referenced = config.get("referenced", {})
    rows = [["stream", "tower", "what it reads", "weights from elsewhere"]]
    for stream, tower in config["towers"].items():
        source, origin = referenced.get(stream), _began_with(config).get(stream)
        frozen = "none" if origin is None else f"{origin}, in this repository"
        if source is not None:
            frozen = f"{source['source']} {source.get('revision', '')}, not in this repository"
        rows.append([stream, str(tower.get("kind")), _reads(config["inputs"].get(stream, {}), stream), frozen])
    text = _table(rows)
    return text + (
        "\n\nWeights from elsewhere have terms of their own; see where they are from." if _began_with(config) else ""
    )


def _reads(settings: Mapping[str, Any], stream: str) -> str:
    kind = kind_of(stream)
    if kind == "imu":
        places = ", ".join(settings.get("placements") or ()) or "any placement"
        axes = "acceleration with gravity (m/s²) and angular velocity (rad/s), other units are converted"
        orientation = ", orientation" if settings.get("orientation") else ""
        return f"{settings.get('sensors', 1)} sensor(s) ({places}) at {settings.get('rate_hz', 0):g} Hz: {axes}{orientation}"
    if kind in ("mocap", "pose2d"):
        unit = "joints in metres, z up" if kind == "mocap" else "joints in the picture"
        return f"{unit}, skeleton {settings.get('skeleton')}, at {settings.get('rate_hz', 0):g} Hz"
    if kind == "video":
        return f"{settings.get('frames')} frames of a window, {settings.get('size')} x {settings.get('size')} pixels"
    return "English: " + ", ".join(settings.get("kinds", ())) if kind == "text" else "unknown"


def _data(config: Mapping[str, Any]) -> str:
    rows = [["data set", "split", "licence, in the words of its converter", "samples", "hours", "people", "streams"]]
    for source in _sources(config):
        licence = "; ".join(_licences(source)) or "not stated"
        people = source.get("subjects") or "not named"
        cells = [source.get("split", ""), licence, source.get("samples", "?"), source.get("hours", "?"), people]
        rows.append([source["name"], *map(str, cells), ", ".join(source.get("streams", ()))])
    unknown = config.get("training", {}).get("unknown", "")
    text = _table(rows) if len(rows) > 1 else "What it was trained on is not known here."
    return text + (f"\n\nNot known: {_plain(unknown)}." if unknown else "")


def _result(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    title = f"### {result.get('task', 'evaluation')}: {_tested(result) or 'two recordings'}"
    warnings = []
    if result.get("leaks"):
        warnings.append(f"> **Leak:** {_plain('; '.join(result['leaks']))}. These figures are too good.")
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
    notes = [f"- {_plain(note)}" for note in result.get("notes", ()) if not note.startswith("LEAK: ")]
    parts = [title, *warnings, _protocol(result), _table(rows), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


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


def _limits(config: Mapping[str, Any]) -> str:
    sources = _sources(config)
    most: dict[str, int] = {}  # of a data set the split with the most: splits may share people
    for source in sources:
        most[source["name"]] = max(most.get(source["name"], 0), source.get("subjects") or 0)
    people = sum(most.values())
    unnamed = [source["name"] for source in sources if not source.get("subjects")]
    known = f"{people} people are named in its training data" if people else "Its training data name no people"
    if unnamed and people:
        known += f"; {', '.join(dict.fromkeys(unnamed))} {'name' if len(set(unnamed)) > 1 else 'names'} none"
    placements = [
        place
        for stream in config["towers"]
        if kind_of(stream) == "imu"
        for place in config["inputs"][stream].get("placements")
        or config.get("statistics", {}).get(stream, {}).get("placements", ())
    ]
    lines = [
        f"{known}. Age, build, health, gait and habits that they lack are not covered; how it does on them is not known.",
        "Words that training did not have are matched by what the text tower knows of them, not by what was seen:"
        " compare with chance on recordings of your own before use. It always names one of the labels that it is given.",
        "Not for medical, safety, employment or legal decisions, and not for watching people without their consent.",
    ]
    if any(kind_of(stream) == "imu" for stream in config["towers"]):
        seen = (
            f"Sensors were worn at: {', '.join(dict.fromkeys(placements))}"
            if placements
            else "Where sensors were worn is not recorded here"
        )
        lines.insert(1, f"{seen}. Other placements, loose wear and other axes of a device cost accuracy.")
    return "\n".join(f"- {line}" for line in lines)


def _made(config: Mapping[str, Any]) -> str:
    training = config.get("training", {})
    git = training.get("git") or "unknown"
    recipe = {key: config[key] for key in ("name", "inputs", "towers", "objective", "embedding")} | training.get(
        "recipe", {}
    )
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).strip()
    return (
        f"Step {config['step']} of the recipe below, with aura {config.get('version', 'unknown')} (commit {git}), precision"
        f" `{config.get('precision', 'no')}`. Folders are cut to their last name.\n\n"
        f"<details><summary>Recipe</summary>\n\n```yaml\n{text}\n```\n\n</details>"
    )


def _index(result: Mapping[str, Any]) -> Iterable[EvalResult]:
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
                dataset_type=_slug(tested),
                dataset_name=tested,
                dataset_split=split or None,
                metric_type=kind,
                metric_name=f"{LABELS.get(key, key)} of {name}",
                metric_value=round(row[key], 4),
                metric_args={k: v for k, v in facts.items() if v is not None},
            )


def _sound(result: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return not result.get("leaks") and result.get("step") == config["step"] and bool(_tested(result))


def _tested(result: Mapping[str, Any]) -> str:
    """Data sets of an evaluation, by the names of their folders; those that it learned from alone are left out."""
    return ", ".join(dict.fromkeys(text.rpartition(":")[0] for text in _shards(result)))


def _shards(result: Mapping[str, Any]) -> list[str]:
    """folder:split of what was tested; of folders their last name."""
    learned = {text if ":" in Path(text).name else f"{text}:train" for text in result.get("train", ())}
    return [Path(text).name for text in result.get("shards", {}) if text not in learned]


def _sources(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(config.get("training", {}).get("datasets", ()))


def _licences(source: Mapping[str, Any]) -> list[str]:
    return [text for text in source.get("licences", ()) if text]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name.lower()).strip("-.") or "unknown"


def _plain(text: str) -> str:
    """Words of others in a line of markdown: one line, no markup of their own."""
    return " ".join(text.split()).replace("<", "&lt;")


def _table(rows: Sequence[Sequence[str]]) -> str:
    cells = [[_plain(str(cell)).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
