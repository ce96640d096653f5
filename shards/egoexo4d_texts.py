"""Texts of Ego-Exo4D: atomic descriptions, expert commentary, keysteps; and the level of the person."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from aura.data.writer import Dropped, ShardError
from shards.egoexo4d_takes import Take, read_json, truth

KINDS = ("label", "atomic", "commentary", "keystep")
COMMENT_S = 5.0  # a comment is about the seconds before the expert paused; as many as AURA-MFM takes
# The words before a comment in AURA-MFM, by the account of its paper's code; its very wording is not published.
PREFIX = "An expert annotated the following after watching the video from the start of task '{task}' up to {at:.2f} seconds: "
WEARER = re.compile(r"\bC\b")  # the person with the headset, in atomic descriptions


@dataclass(frozen=True)
class Wanted:
    """Which texts are taken over.

    kinds        of `KINDS`: label (scenario and task, over the whole take), atomic, commentary, keystep
    commentary   comments as they are, with AURA-MFM's prefix of task and time, or both
    first        of each take's annotators and experts the first alone, as AURA-MFM; else all
    wearer       what atomic descriptions say for the wearer, "C" as published
    others       also atomic descriptions of what somebody else does; else of the wearer alone, whose headset measures
    """

    kinds: tuple[str, ...] = KINDS
    commentary: Literal["plain", "prefixed", "both"] = "plain"
    first: bool = False
    wearer: str = "C"
    others: bool = False


@dataclass
class _Said:
    """What the annotations say of one take."""

    texts: list[dict] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    labels: dict[str, str] = field(default_factory=dict)

    def add(self, take: Take, text: object, start_s: object, end_s: object, kind: str) -> None:
        """A text, if it says something at a time of the take; `start_s` = `end_s`: a point in time."""
        words = " ".join(str(text or "").split())
        try:
            start, end = max(float(start_s), 0.0), min(float(end_s), take.duration_s)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            start, end = float("nan"), float("nan")
        if not words:
            self.left_out[f"{kind} text without words"] += 1
        elif not (0 <= start <= end <= take.duration_s):
            self.left_out[f"{kind} text whose time is not in the take"] += 1
        else:
            self.texts.append({"text": words, "start_s": start, "end_s": end, "kind": kind})


def with_texts(takes: Sequence[Take], source: Path, wanted: Wanted) -> tuple[list[Take], set[str]]:
    """Takes with their texts and the label `proficiency`, and the uids that the annotations name.

    ShardError, naming the file, for one that cannot be read.
    """
    by_uid = {take.uid: take for take in takes}
    said: dict[str, _Said] = defaultdict(_Said)
    readers = {"atomic": _atomic, "commentary": _commentary, "keystep": _keysteps, "proficiency": _levels}
    files = {
        "atomic": "atomic_descriptions_*.json",
        "commentary": "expert_commentary_*.json",
        "keystep": "keystep_*.json",
        "proficiency": "proficiency_demonstrat*_*.json",
    }
    named: set[str] = set()
    for what, read in readers.items():
        if what not in (*wanted.kinds, "proficiency"):
            continue
        for path in sorted((source / "annotations").glob(files[what])):
            try:
                for uid, entry in _entries(read_json(path)):
                    named.add(uid)
                    if uid in by_uid:
                        read(by_uid[uid], entry, said[uid], wanted)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                if isinstance(error, ShardError):
                    raise
                raise ShardError(f"{path} is not as documented: {type(error).__name__} {error}") from error
    return [_finished(take, said[take.uid], wanted) for take in takes], named


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """(uid, entry) of a file: annotations by uid, or a list of entries that have a take_uid."""
    entries = content["annotations"] if isinstance(content, Mapping) else content
    if isinstance(entries, Mapping):
        yield from entries.items()
    else:
        yield from ((str(entry["take_uid"]), entry) for entry in entries)


def _atomic(take: Take, annotations: list, said: _Said, wanted: Wanted) -> None:
    accepted = [a for a in annotations if not truth(a.get("rejected"))]
    said.left_out["atomic descriptions of a rejected annotation"] += sum(
        len(a.get("descriptions") or []) for a in annotations if truth(a.get("rejected"))
    )
    for annotation in _chosen(accepted, "descriptions", said, wanted):
        for entry in annotation.get("descriptions") or []:
            text = entry.get("text")
            who = str(entry.get("subject") or entry.get("narration_subject") or "C").strip()
            if who != "C" and not wanted.others:
                said.left_out["atomic descriptions of what somebody else does"] += 1
                continue
            if wanted.wearer != "C" and isinstance(text, str):
                text = WEARER.sub(lambda _: wanted.wearer, text)
            said.add(take, text, entry.get("timestamp"), entry.get("timestamp"), "description")


def _commentary(take: Take, annotations: list, said: _Said, wanted: Wanted) -> None:
    for annotation in _chosen(annotations, "commentary_data", said, wanted):
        for entry in annotation.get("commentary_data") or []:
            if truth(entry.get("error")):
                said.left_out["comments whose speech was not understood (error)"] += 1
                continue
            text, at = str(entry.get("text") or "").strip(), entry.get("video_time")
            start = at - COMMENT_S if isinstance(at, int | float) else None
            can_tell = bool(text) and start is not None
            if wanted.commentary != "prefixed" or not can_tell:  # what cannot be told is counted there
                said.add(take, text, start, at, "commentary")
            if wanted.commentary != "plain" and can_tell:
                task = annotation.get("task_name") or take.task
                said.add(take, PREFIX.format(task=task, at=at) + text, start, at, "commentary")


def _chosen(annotations: list, field: str, said: _Said, wanted: Wanted) -> list:
    """The annotations that are taken over: all, or the first that says anything."""
    if not wanted.first:
        return annotations
    full = [a for a in annotations if a.get(field)]
    said.left_out["texts of a second annotator or expert"] += sum(len(a[field]) for a in full[1:])
    return full[:1]


def _keysteps(take: Take, annotation: Mapping, said: _Said, wanted: Wanted) -> None:
    for step in annotation.get("segments") or []:
        span = step.get("start_time"), step.get("end_time")
        said.add(take, step.get("step_name"), *span, "label")
        if step.get("step_description") and step["step_description"] != step.get("step_name"):
            said.add(take, step["step_description"], *span, "description")


def _levels(take: Take, entry: Mapping, said: _Said, wanted: Wanted) -> None:
    if entry.get("proficiency_score"):
        said.labels["proficiency"] = str(entry["proficiency_score"])


def _finished(take: Take, said: _Said, wanted: Wanted) -> Take:
    if "label" in wanted.kinds:
        for text in dict.fromkeys((take.labels.get("scenario", ""), take.task)):
            if text:
                said.add(take, text, 0.0, take.duration_s, "label")
    order = sorted(said.texts, key=lambda t: (t["start_s"], t["end_s"]))
    texts = tuple({tuple(t.values()): t for t in order}.values())
    said.left_out["texts that are there twice at one time"] += len(order) - len(texts)
    notes = tuple(Dropped(reason, count=count) for reason, count in sorted((+said.left_out).items()))
    return replace(take, texts=texts, notes=notes, labels={**take.labels, **said.labels})
