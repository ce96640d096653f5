"""The card of a folder of shards: README.md with the YAML head that `datasets` reads, counts, and what was dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import yaml


def card_text(body: str, manifest: dict, rows: list[dict]) -> str:
    """README.md of a folder: YAML head (configs, features), the converter's text, tables of what is there.

    body      markdown of the converter: source, licence, citation, how splits were made
    rows      per sample its `split`, `head` (content of KEY.json) and index `entry`
    """
    splits = manifest["splits"]
    head: dict = {
        "configs": [
            {"config_name": "default", "data_files": [{"split": s, "path": f"{s}-*.tar"} for s in splits]},
        ]
    }
    files = {name for row in rows for name in row["entry"]["members"]} - {"json"}
    try:
        head["dataset_info"] = {"features": features((row["head"] for row in rows), files)}
        note = ""
    except TypeError as error:
        note = f"\nStock `datasets` cannot hold these samples in one table: {error}. `webdataset` reads them.\n"
    lines = ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(), "---", ""]
    lines += [body.strip() or f"# {manifest['name']}", "", "## What is here", ""]
    lines += ["| split | samples | hours | subjects | sessions | shards |", "|---|---|---|---|---|---|"]
    for name, s in splits.items():
        counts = f"{s['seconds'] / 3600:.3f} | {len(s['subjects'])} | {s['sessions']} | {len(s['shards'])}"
        lines.append(f"| {name} | {s['samples']} | {counts} |")
    lines += [
        "",
        "| split | stream | samples | hours | rates (Hz), placements, skeletons, kinds |",
        "|---|---|---|---|---|",
    ]
    for name, s in splits.items():
        for stream, total in s["streams"].items():
            facts = [
                f"{k}: {_told(k, total[k])}" for k in ("rates_hz", "placements", "skeletons", "kinds") if k in total
            ]
            hours = f"{total['seconds'] / 3600:.3f}" if "seconds" in total else ""
            lines.append(f"| {name} | {stream} | {total['samples']} | {hours} | {'; '.join(facts)} |")
    lines += _first_samples(rows)
    lines += [note, "## Dropped", ""]
    if manifest["dropped"]:
        lines += ["| reason | count | seconds |", "|---|---|---|"]
        for reason, count, seconds in reasons(manifest["dropped"]):
            cell = " ".join(reason.split()).replace(
                "|", "\\|"
            )  # they quote messages of libraries, of several lines at times
            lines.append(f"| {cell} | {count} | {seconds:g} |")
    else:
        lines.append("Nothing was dropped.")
    converter = manifest["converter"]
    lines += ["", f"Format `{manifest['format']}`, written by `{converter['name']}` {converter['version']}.", ""]
    return "\n".join(lines)


def reasons(dropped: Mapping[str, Mapping[str, float]]) -> list[tuple[str, int, float]]:
    """Reason, count and seconds of what was dropped. Reasons that differ in the recording they begin with (`take_3: no
    IMU`) are one from the fourth on, with the first of the recordings; the manifest has them all."""
    groups: dict[str, list[str]] = {}
    for reason in dropped:
        name, colon, rest = reason.partition(": ")
        groups.setdefault(rest if colon and re.fullmatch(r"[\w.-]+", name) else reason, []).append(reason)
    found = []
    for rest, same in groups.items():
        if len(same) > 3:
            named = f"{rest} ({len(same)} recordings: {', '.join(r.partition(': ')[0] for r in same[:3])} ...)"
            same_ones = [(named, same)]
        else:
            same_ones = [(reason, [reason]) for reason in same]
        for text, members in same_ones:
            found.append(
                (text, sum(int(dropped[r]["count"]) for r in members), sum(dropped[r]["seconds"] for r in members))
            )
    return found


def _told(what: str, values: list[str]) -> str:
    """The values; of many rates, which were measured a recording at a time, their range."""
    if what == "rates_hz" and len(values) > 8:
        numbers = [float(value) for value in values]
        return f"{min(numbers):g} to {max(numbers):g} ({len(values)} different ones)"
    return ", ".join(values)


def _first_samples(rows: list[dict]) -> list[str]:
    """A warning for each split of which no five samples have everything: there the columns of `datasets` are fewer."""
    shown: dict[str, list[frozenset[str]]] = {}
    for row in rows:
        has = [*row["entry"]["streams"], *(f"label {name}" for name in row["entry"]["labels"])]
        shown.setdefault(row["split"], []).append(frozenset(has))
    lines = []
    for split, found in shown.items():
        everything = frozenset().union(*found)
        full = sum(has == everything for has in found)
        if full < min(5, len(found)):
            lines += [
                "",
                f"Split {split}: {full} of {len(found)} samples have all of {', '.join(sorted(everything))}. Stock"
                " `datasets` takes its columns from the first five samples: load this folder by its path, so that the"
                " features in the head of this file are used.",
            ]
    return lines


def features(heads: Iterable[dict], files: Iterable[str]) -> list[dict]:
    """Columns of the samples in the YAML form of `datasets`, for all fields of all samples.

    heads     content of every KEY.json
    files     what comes after the key in the names of the samples' other files: `imu.npy`, `video.mp4`

    TypeError where two samples differ in the type of a field.
    """
    text = {"text": "string", "start_s": "float64", "end_s": "float64", "kind": "string"}
    merged: object = {"texts": [text]}
    for head in heads:
        merged = _merge(_type_of(head), merged, "json")
    columns = [_column("json", merged)]
    for name in sorted(files):
        if name.endswith(".mp4"):
            columns.append({"name": name, "dtype": "video"})
        elif name.endswith(".emb.npy"):
            columns.append(_column(name, [["float16"]]))
        else:
            flat: object = ["float32"]
            columns.append(_column(name, [[flat]]))
    return [*columns, {"name": "__key__", "dtype": "string"}, {"name": "__url__", "dtype": "string"}]


def _type_of(value: object) -> object:
    """The type of a JSON value: a name, a dict of fields, or a list of one type (empty: of nothing known)."""
    if isinstance(value, dict):
        return {name: _type_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        merged: object = None
        for inner in value:
            merged = _merge(merged, _type_of(inner), "list")
        return [] if merged is None else [merged]
    return {str: "string", float: "float64", int: "int64", bool: "bool"}[type(value)]


def _merge(a: object, b: object, where: str) -> object:
    """The type that holds values of both types. TypeError naming the field where there is none."""
    if a is None or b is None or a == b:
        return b if a is None else a
    if isinstance(a, dict) and isinstance(b, dict):
        return {name: _merge(a.get(name), b.get(name), f"{where}.{name}") for name in {**a, **b}}
    if isinstance(a, list) and isinstance(b, list):
        return [_merge(a[0], b[0], where)] if a and b else a or b
    raise TypeError(f"{where} is {_name(a)} in one sample and {_name(b)} in another")


def _name(kind: object) -> str:
    return "an object" if isinstance(kind, dict) else "a list" if isinstance(kind, list) else str(kind)


def _column(name: str, kind: object) -> dict:
    if isinstance(kind, dict):
        return {"name": name, "struct": [_column(n, k) for n, k in kind.items()]}
    if isinstance(kind, list):
        return {"name": name, "list": _inner(kind)}
    return {"name": name, "dtype": kind}


def _inner(kind: list) -> object:
    """What `datasets` writes for the items of a list: a type's name, fields of a struct, or a list again."""
    item = kind[0] if kind else "string"
    if isinstance(item, dict):
        return [_column(n, k) for n, k in item.items()]
    return {"list": _inner(item)} if isinstance(item, list) else item
