"""The card of a released model: README.md with the YAML head that the Hugging Face Hub reads, and the truth in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import ModelCardData

from aura.data.config import kind_of
from aura.model_card.licences import began_with, datasets_of, default_licence, licences_of, terms_of
from aura.model_card.results import check_of, entries, own_section, section, sound
from aura.model_card.text import plain, slug, table

PIPELINE = "feature-extraction"  # of those that the Hub knows, what such a model always does
TAGS = ("human-activity-recognition", "contrastive-learning", "multimodal", "time-series")
TAGS_OF = {
    "imu": ("imu", "inertial-measurement-unit", "wearable-sensors"),
    "mocap": ("motion-capture",),
    "pose2d": ("pose-estimation",),
    "video": ("video",),
    "text": ("zero-shot-classification",),
}
WARNINGS = {
    "non-commercial": "**Not for commercial use:** trained on {}.",
    "research": "**For research alone:** trained on {}.",
    "unknown": "**Terms unknown:** trained on {}. Ask before any use beyond your own research.",
    "other": "**Terms of their own:** trained on {}. Read them before use.",
}


def model_card(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]] = (), licence: str | None = None) -> str:
    """README.md of a released model.

    config     content of its config.json
    results    contents of results.json, as recipes/evaluate.py writes them of this model
    licence    of the weights, as the Hub names it (`apache-2.0`); None: what the licences of the training data allow

    ValueError for results of another model.
    """
    for result in results:
        check_of(result, config)
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
        *(
            [section(result, config) for result in results]
            or ["No test was measured for this card (`recipes/evaluate.py`)."]
        ),
        *filter(None, [own_section(config)]),
        "## Limits",
        _limits(config),
        "## How it was made",
        _made(config),
    ]
    return f"---\n{metadata(config, results, licence).to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def metadata(config: Mapping[str, Any], results: Sequence[Mapping[str, Any]], licence: str | None) -> ModelCardData:
    """The YAML head. Results with leaks, or of another step, are not in it: nobody reads the notes of an index."""
    kinds = list(dict.fromkeys(kind_of(stream) for stream in config["towers"]))
    found = [entry for result in results if sound(result, config) for entry in entries(result)]
    licence = licence or default_licence(config)
    sources = list(began_with(config).values())
    return ModelCardData(
        language="en",
        license=licence,
        license_name="terms-of-the-training-data" if licence == "other" else None,
        library_name="aura",
        pipeline_tag=PIPELINE,
        tags=[*TAGS, *(tag for kind in kinds for tag in TAGS_OF.get(kind, ()))],
        datasets=list(dict.fromkeys(slug(source["name"]) for source in datasets_of(config))) or None,
        base_model=[source for source in dict.fromkeys(sources) if re.fullmatch(r"[\w.-]+/[\w.-]+", source)] or None,
        metrics=list(dict.fromkeys(entry.metric_type for entry in found)) or None,
        model_name=config["name"] if found else None,
        eval_results=found or None,
    )


def _terms(config: Mapping[str, Any], licence: str | None) -> list[str]:
    found = terms_of(config)
    lines = [line.format(plain("; ".join(found[name]))) for name, line in WARNINGS.items() if name in found]
    if lines and licence:
        lines.append(
            f"The licence `{licence}` of the weights was chosen by who published them; the terms of the data stand beside it."
        )
    return ["\n>\n".join(f"> {line}" for line in lines)] if lines else []


MADE_UP = {"synthetic": "a procedural human (`shards/synthetic.py`)"}  # data sets without people


def _what(config: Mapping[str, Any]) -> str:
    kinds = {"imu": "wearable IMU", "mocap": "motion capture", "pose2d": "2D poses", "video": "video", "text": "text"}
    kinds |= {"series": "signals over time"}
    names = list(dict.fromkeys(kinds.get(kind_of(s), kind_of(s)) for s in config["towers"]))
    together = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    window = config["window"]
    spans = (
        f"a whole recording, mapped onto {window['seconds']:g} s" if window.get("whole") else f"{window['seconds']:g} s"
    )
    cut = "" if window.get("whole") else "; longer recordings are cut into windows"
    made_up = [source["name"] in MADE_UP for source in datasets_of(config)]
    seen = f" Of its training data `synthetic` is {MADE_UP['synthetic']}." if any(made_up) else ""
    if made_up and all(made_up) and not config.get("training", {}).get("unknown"):
        seen = f" It was trained on {MADE_UP['synthetic']} alone and has seen no real recording: expect little of it there."
    return (
        f"A model of human activity: {together} in one space of {config['embedding']} dimensions, trained by contrast with"
        f" aura. A window is {spans}{cut}. What belongs"
        " together lies close, by cosine: a recording finds its words, and what else was recorded at that moment."
        f"{seen}"
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
    elif kind_of(stream) == "series":
        about = f", rate_hz={config['inputs'][stream].get('rate_hz', 1):g}, channels={list(config['inputs'][stream]['channels'])!r}"
    labels = [*config["prompts"]["classes"]][:2] if config.get("prompts") else ["walking", "sitting"]
    call = (
        f"classify({stream}=values{about}, labels={json.dumps(labels)})"
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
        source, origin = referenced.get(stream), began_with(config).get(stream)
        frozen = "none" if origin is None else f"{origin}, in this repository"
        if source is not None:
            frozen = f"{source['source']} {source.get('revision', '')}, not in this repository"
        rows.append([stream, str(tower.get("kind")), _reads(config["inputs"].get(stream, {}), stream), frozen])
    text = table(rows)
    return text + (
        "\n\nWeights from elsewhere have terms of their own; see where they are from." if began_with(config) else ""
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
    if kind == "series":
        return f"{', '.join(settings.get('channels', ()))}, at {settings.get('rate_hz', 0):g} Hz"
    if kind == "video":
        return f"{settings.get('frames')} frames of a window, {settings.get('size')} x {settings.get('size')} pixels"
    return "English: " + ", ".join(settings.get("kinds", ())) if kind == "text" else "unknown"


def _data(config: Mapping[str, Any]) -> str:
    rows = [["data set", "split", "licence, in the words of its converter", "samples", "hours", "people", "streams"]]
    for source in datasets_of(config):
        licence = "; ".join(licences_of(source)) or "not stated"
        people = source.get("subjects") or "not named"
        cells = [source.get("split", ""), licence, source.get("samples", "?"), source.get("hours", "?"), people]
        rows.append([source["name"], *map(str, cells), ", ".join(source.get("streams", ()))])
    unknown = config.get("training", {}).get("unknown", "")
    text = table(rows) if len(rows) > 1 else "What it was trained on is not known here."
    return text + (f"\n\nNot known: {plain(unknown)}." if unknown else "")


def _limits(config: Mapping[str, Any]) -> str:
    sources = [source for source in datasets_of(config) if source["name"] not in MADE_UP]
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
