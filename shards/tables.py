"""What is known about recordings beside their files: CSV tables of texts, labels and people; and splits made of it."""

from __future__ import annotations

import csv
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from aura.data.writer import ShardError

ENDINGS = (".bvh", ".amc", ".npz", ".npy")
TEXTS = ("description", "text", "caption")  # columns whose names begin so
ACTIVITY = ("activity", "label", "action", "content", "exercise")
PEOPLE = ("subject", "session", "group", "split")
TIMES = ("start_s", "end_s")


@dataclass(frozen=True)
class Facts:
    """What is known about a recording.

    texts   {text, start_s, end_s, kind} in seconds of the recording's file; end_s None: to its end
    """

    subject: str = ""
    session: str = ""
    group: str = ""
    split: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    texts: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of one or more CSV files by the last part of their key; see `read_tables`."""

    rows: dict[str, list[tuple[tuple[str, ...], dict[str, str]]]]

    def facts(self, name: str) -> Facts | None:
        """Of the file with this name (its path in the source); None where no row is about it."""
        parts = _parts(name)
        found = [row for key, row in self.rows.get(parts[-1], []) if parts[-len(key) :] == key]
        return merged(found) if found else None

    def unused(self, names: Iterable[str]) -> list[str]:
        """Keys of rows about none of these files."""
        there = defaultdict(list)
        for name in names:
            there[_parts(name)[-1]].append(_parts(name))
        keys = (key for rows in self.rows.values() for key, _ in rows)
        return sorted({"/".join(k) for k in keys if not any(parts[-len(k) :] == k for parts in there[k[-1]])})


def read_tables(paths: Sequence[Path]) -> Table:
    """Tables as CSV with a header. A row is about the file that its `file` column (or `*_file`, or `trial`) names.

    A name stands for every file whose path ends so, with or without ending. Columns that are used: description*, text*,
    caption* (texts), activity, label, action, content or exercise (the label `activity`), style (a label), subject,
    session, group, split; start_s and end_s, between which the texts of the row hold. Other columns are not used. Where
    several rows are about a file, texts add up and later rows fill in what earlier ones leave open; a question mark behind
    a subject (it was inferred) is left out. ShardError naming the file for a table that cannot be read so.
    """
    rows: dict[str, list[tuple[tuple[str, ...], dict[str, str]]]] = {}
    for path in paths:
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                content = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ShardError(f"{path} cannot be read as a table: {error}") from error
        columns = [name for name in (content[0] if content else {}) if name]
        keys = [n for n in columns if n == "file"] or [n for n in columns if n.endswith("_file")]
        keys = keys or [n for n in columns if n == "trial"]
        if not keys:
            raise ShardError(f"{path} has no column 'file' (its columns: {', '.join(columns) or 'none, it is empty'})")
        for number, row in enumerate(content, 2):
            name = (row[keys[0]] or "").strip()
            if not name:
                raise ShardError(f"{path}, line {number}: its column {keys[0]!r} is empty")
            values = {column: (row[column] or "").strip() for column in columns}
            for column in TIMES:
                if values.get(column):
                    try:
                        float(values[column])
                    except ValueError:
                        raise ShardError(f"{path}, line {number}: {column} {values[column]!r} is no number") from None
            key = _parts(name)
            rows.setdefault(key[-1], []).append((key, values))
    return Table(rows)


def merged(rows: Sequence[Mapping[str, str]]) -> Facts:
    """The facts of the rows about one recording."""
    people = {name: next((r[name] for r in rows if r.get(name)), "").rstrip("?") for name in PEOPLE}
    labels: dict[str, str] = {}
    texts = []
    for row in rows:
        timed = any(row.get(name) for name in TIMES)
        span = {"start_s": float(row.get("start_s") or 0), "end_s": float(row["end_s"]) if row.get("end_s") else None}
        activity = next((row[name] for name in ACTIVITY if row.get(name)), "")
        if activity:
            texts.append({"text": activity.replace("_", " ").replace("-", " "), **span, "kind": "label"})
        texts += [
            {"text": value, **span, "kind": "description"}
            for name, value in row.items()
            if value and name.startswith(TEXTS)
        ]
        if activity and not timed:
            labels.setdefault("activity", activity)
        if row.get("style"):
            labels.setdefault("style", row["style"])
    return Facts(**people, labels=labels, texts=tuple(t for i, t in enumerate(texts) if t not in texts[:i]))


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    last = next((parts[-1][: -len(e)] for e in ENDINGS if parts[-1].lower().endswith(e)), parts[-1])
    return (*parts[:-1], last)


def assign(
    facts: Mapping[str, Facts],
    *,
    val: float = 0.1,
    test: float = 0.1,
    subjects: Mapping[str, Iterable[str]] | None = None,
    together: Iterable[Iterable[str]] = (),
) -> dict[str, Facts]:
    """Facts by name of the recording, with `split` filled in: what shares a subject, a session or a group is in one split.

    val, test   shares of the recordings. Sets of recordings are taken in the order of a hash of their names while they
                fit, so the result depends on the names alone
    subjects    split -> subjects that are to be in it; all others train. In place of shares
    together    sets of subjects who were recorded together

    Splits that are given in the facts stay, and then the rest trains. Where some subjects are known, a recording of
    nobody known trains, since anybody may be in it; where none is known, every recording stands alone.
    """
    wanted = {who: split for split, people in (subjects or {}).items() for who in people}
    absent = sorted(wanted.keys() - {f.subject for f in facts.values()})
    if absent:
        there = sorted({f.subject for f in facts.values() if f.subject})
        named = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
        raise ShardError(
            f"no recording has the subject {', '.join(absent)}: nothing to put into the split asked for; there are"
            f" {named or 'none that are named'}"
        )
    if any(f.split for f in facts.values()) or wanted:
        return {n: f if f.split else replace(f, split=wanted.get(f.subject, "train")) for n, f in facts.items()}
    sets = sorted(_sets(facts, together), key=lambda s: hashlib.sha256(s[0].encode()).digest())
    split_of: dict[str, str] = {}
    for split, share in (("test", test), ("val", val)):
        room = share * len(facts)
        for mark, members in sets:
            if room >= 0.5 and mark and members[0] not in split_of and len(members) <= max(room, 1):
                split_of.update(dict.fromkeys(members, split))
                room -= len(members)
    return {name: replace(f, split=split_of.get(name, "train")) for name, f in facts.items()}


def _sets(facts: Mapping[str, Facts], together: Iterable[Iterable[str]]) -> list[tuple[str, list[str]]]:
    """Recordings that must stay together, as (mark, names); "" marks those of nobody known, where others are known."""
    root = {name: name for name in facts}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    mates = {who: f"mates of {people[0]}" for people in map(sorted, together) for who in people}
    known = any(f.subject for f in facts.values())
    by_mark: dict[str, list[str]] = defaultdict(list)
    for name, f in facts.items():
        marks = [f"{kind} {getattr(f, kind)}" for kind in ("subject", "session", "group") if getattr(f, kind)]
        marks += [mates[f.subject]] if f.subject in mates else []
        for mark in marks or ([""] if known else [name]):
            by_mark[mark].append(name)
    for members in by_mark.values():
        for a, b in itertools.pairwise(members):
            root[find(a)] = find(b)
    sets: dict[str, tuple[list[str], list[str]]] = {}
    for mark, members in by_mark.items():
        sets.setdefault(find(members[0]), ([], []))[0].append(mark)
    for name in facts:
        sets[find(name)][1].append(name)
    return [(min(marks), members) for marks, members in sets.values()]
