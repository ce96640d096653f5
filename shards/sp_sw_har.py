"""Shards of SP-SW-HAR (Matey-Sanz, Casteleyn, Granell, Data in Brief, 2023): phone and watch, five activities in a row.

    python -m shards.sp_sw_har --source DIR|ARCHIVE --out DIR [--whole] [--val-subjects 1,3] [--limit N] [--workers N]
        [--resume]

The source is an archive or folder with `s01/s01_01_sp.csv` (phone), `s01/s01_01_sw.csv` (watch), ..., and
`executions_info.csv`. An execution is a recording: a person stands up from a chair, walks, turns, walks back, turns, sits
down. Each row has the activity of its time.

- Rows: acceleration in m/s^2 with gravity, angular velocity in rad/s, Unix time in ms, label.
- Clock: phone and watch sample evenly, at 102.45 and 104.28 Hz in all files (within 0.02 %), but rows come in bursts
  and carry the time of their arrival, up to 0.18 s late. `even_times` gives back when they were taken: a sample is then
  predicted from its neighbours with a little over half of the error for the phone, 88 % of it for the watch.
- Both clocks are one: the recording is the common time of both devices, at 100 Hz.
- A sample is a run of one activity, with its label: 0.5 to 4 s, for windows of about 1 s. With --whole it is a whole
  execution, of 9 to 15 s: the activities are texts with their times, and there is no label of the activity.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.columns import Layout, open_source, read_columns
from shards.common import convert, exit_on_fault, how_of, numbers_of, parser
from shards.signals import Settings, Stretch, even_times, on_grid, runs, samples
from shards.sp_sw_har_texts import ACTIVITIES, TURNS
from shards.wordings import spoken

DATASET = "sp_sw_har"
PAGE = "https://doi.org/10.5281/zenodo.8398688"
LICENCE = "CC BY 4.0"
RATE_HZ = 100.0
NAME = re.compile(r"(s\d\d)_(\d\d)_(sp|sw)\.csv")
INFO = "executions_info.csv"
PLACEMENTS = {"sp": "left hip pocket", "sw": "left wrist"}
DEVICE_HZ = {"sp": 102.45, "sw": 104.28}
SIGNALS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")
TIME, LABEL = "timestamp", "label"
SHORT = Settings(min_s=0.5)  # runs are short: half of the standing up takes 1.2 s
PER_PART = 8

CARD = f"""# SP-SW-HAR

23 subjects, 223 executions of: stand up, walk, turn around, walk back, turn around, sit down. A phone in the left
trouser pocket and a watch on the left wrist, each with accelerometer and gyroscope; texts. Written by
`shards/sp_sw_har.py` of aura.

Source: {PAGE}. Licence: {LICENCE}.
M. Matey-Sanz, S. Casteleyn, C. Granell, "Dataset of inertial measurements of smartphones and smartwatches for human
activity recognition", Data in Brief 2023, 109809.

Splits: by subject; odd numbers train (or val, as asked for), even numbers test.
A sample is a run of one activity, 0.5 to 4 s: use windows of about 1 s. Converted with --whole it is an execution, whose
activities are texts with their times, without the labels `activity` and `turn`.

Labels: `activity`, one of 5; `turn`, left or right, in turns; `phone`, how it lay in the pocket (back, front, and _inv:
upside down). Texts: the name as `label`, four sentences as `description` (six in turns), two kept apart for prompts as
`paraphrase`; all ours.

Known: the two devices' labels differ by up to 0.09 s at borders, the watch's are used. Labels of one or two rows between
two activities, and the last moments of sitting, are shorter than what is kept. The placement is that which users of the
data name; the files say it nowhere. Age, sex, height, weight and dominant hand are not taken over.
"""


@dataclass(frozen=True)
class Recording:
    """One execution: its files by device, how the phone lay, and the ways of its turns (both "" where not known)."""

    id: str
    subject: str
    split: str
    devices: tuple[tuple[str, SourceFile], ...]
    phone: str
    turns: tuple[str, ...]


def samples_of(recording: Recording, whole: bool) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one execution. ValueError, naming the file, where one cannot be read."""
    tracks, labels = {}, None
    for device, file in recording.devices:
        found, notes = _read(file)
        yield from notes
        if len(found[TIME]) < 2:
            yield Dropped(f"{PLACEMENTS[device]}: file with fewer than two rows")
            continue
        values = np.stack([found[name] for name in SIGNALS], 1)
        tracks[device] = even_times(found[TIME], DEVICE_HZ[device]), values
        labels = found[TIME], found[LABEL]  # the watch's, where there is one: its stamps are the steadier ones
    for device in PLACEMENTS.keys() - tracks.keys():
        yield Dropped(f"{PLACEMENTS[device]}: not there in an execution, which holds the other device alone")
    if labels is None:
        return
    start = max(times[0] for times, _ in tracks.values())
    stop = min(times[-1] for times, _ in tracks.values())
    if stop <= start:
        yield Dropped("execution in which the devices have no common time")
        return
    grid = start + np.arange(int((stop - start) * RATE_HZ + 1e-6) + 1) / RATE_HZ
    laid = []
    for device, (times, values) in tracks.items():
        step = 1 / DEVICE_HZ[device]
        even, live, filled = on_grid(times, values, grid, RATE_HZ, SHORT.gap_s + 1.1 * step)
        if filled.any():
            yield Dropped(
                f"{PLACEMENTS[device]}: samples filled by interpolation", int(filled.sum()) / RATE_HZ, int(filled.sum())
            )
        laid.append(np.where(live[:, None], even, np.nan))
    stamps, names = labels
    here = np.searchsorted(stamps, grid, "right").clip(1) - 1
    stretch = partial(
        Stretch,
        split=recording.split,
        sensors=[
            {"placement": PLACEMENTS[d], "channels": ["acc", "gyro"], "virtual": False, "range": [0.0, 0.0]} for d in tracks
        ],
    )  # fmt: skip
    about = {
        "dataset": DATASET, "recording": recording.id, "session": recording.subject, "subject": recording.subject,
        "licence": LICENCE, "labels": {"phone": recording.phone} if recording.phone else {},
    }  # fmt: skip
    times = grid - start
    turns = iter(recording.turns)
    texts = []
    for begin, end in runs(names[here]):
        name = str(names[here[begin]])
        if name not in ACTIVITIES:
            yield Dropped(
                f"rows with the label {name!r}, which is not in the list", (end - begin) / RATE_HZ, end - begin
            )
            continue
        turn = next(turns, "") if name == "TURNING" else ""
        said = _texts(name, turn, float(times[begin]), float(times[end - 1]) + 1 / RATE_HZ)
        texts += said
        if not whole:
            extra = {"activity": ACTIVITIES[name].name, **({"turn": turn} if turn else {})}
            yield from samples(
                stretch(
                    times=times[begin:end],
                    values=[x[begin:end] for x in laid],
                    about={**about, "labels": {**about["labels"], **extra}},
                    texts=said,
                ),
                RATE_HZ,
                SHORT,
            )
    if whole:
        yield from samples(stretch(times=times, values=laid, about=about, texts=texts), RATE_HZ, SHORT)


def _texts(name: str, turn: str, start_s: float, end_s: float) -> list[dict]:
    wordings = ACTIVITIES[name]
    if turn:
        wordings = wordings._replace(descriptions=wordings.descriptions + TURNS[turn])
    return spoken(wordings, start_s, end_s)


def _read(file: SourceFile) -> tuple[dict[str, Any], list[Dropped]]:
    """Columns of a file, rows in order of time: signals float32, Unix time in s, label; and what was left out."""
    types = {**dict.fromkeys(SIGNALS, pa.float32()), TIME: pa.float64(), LABEL: pa.string()}
    try:
        with open_source(file) as stream:
            found, skipped = read_columns(stream, types, Layout(), threads=False)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    notes = [Dropped("lines with another number of cells", count=skipped)] if skipped else []
    found[LABEL] = np.array(found[LABEL].to_pylist(), dtype=object)
    stamps = found[TIME]
    order = np.argsort(stamps, kind="stable")
    order = order[np.isfinite(stamps[order])]
    if len(order) < len(stamps):
        notes.append(Dropped("rows without a time", count=len(stamps) - len(order)))
    if late := int((np.diff(order) < 0).sum()):
        notes.append(Dropped("rows out of order: put in the order of their times", count=late))
    out = {name: column[order] for name, column in found.items()}
    out[TIME] = out[TIME] / 1000
    return out, notes


def plan(found: Sequence[SourceFile], val_subjects: Sequence[int] = ()) -> list[Recording]:
    """Executions in order of name, with their splits by subject. ShardError where there are none, or a file is there twice."""
    if any(subject % 2 == 0 for subject in val_subjects):
        raise ShardError(f"--val-subjects {sorted(val_subjects)}: even subjects are the test split, choose odd ones")
    executions: dict[str, dict[str, SourceFile]] = defaultdict(dict)
    for file in found:
        parts = NAME.fullmatch(file.name.rpartition("/")[2])
        if parts is None:
            continue
        subject, number, device = parts.groups()
        devices = executions[f"{subject}_{number}"]
        if device in devices:
            raise ShardError(f"{file.name} is there twice, also as {devices[device].name}: keep one")
        devices[device] = file
    if not executions:
        raise ShardError(
            f"there are no files such as s01/s01_01_sp.csv: download SP-SW-HAR from {PAGE} and give the archive, or the"
            " folder DATA, as --source"
        )
    unknown = sorted({f"s{s:02d}" for s in val_subjects} - {name.partition("_")[0] for name in executions})
    if unknown:
        raise ShardError(f"--val-subjects: the source has no subject {unknown[0]}")
    facts = _executions_info(found)
    recordings = []
    for name, devices in sorted(executions.items()):
        number = int(name[1:3])
        fact = facts.get(name, {})
        recordings.append(
            Recording(
                id=name,
                subject=name.partition("_")[0],
                split="test" if number % 2 == 0 else "val" if number in val_subjects else "train",
                devices=tuple(sorted(devices.items())),
                phone=fact.get("orientation", ""),
                turns=tuple(
                    {"l": "left", "r": "right"}.get(fact.get(f"{k}_turn", ""), "") for k in ("first", "second")
                ),
            )
        )
    return recordings


def _executions_info(found: Sequence[SourceFile]) -> Mapping[str, dict[str, str]]:
    """Rows of executions_info.csv by execution; none where the file is absent. ShardError where it cannot be read."""
    rows = {}
    for file in found:
        if file.name.rpartition("/")[2] == INFO:
            try:
                head, *lines = [line.split(",") for line in file.read().decode("utf-8-sig").split()]
            except ValueError as error:
                raise ShardError(f"{file.name} cannot be read, download it again: {error}") from error
            rows |= {line[0]: dict(zip(head, line)) for line in lines}
    return rows


def run(
    source: Path, out: Path, *, whole: bool = False, val_subjects: tuple[int, ...] = (), limit: int | None = None, **how
) -> dict:
    """Converts the data set as shipped; `how` goes to `shards.common.convert`. Gives the manifest."""
    with tempfile.TemporaryDirectory(prefix="sp_sw_har_") as cache:
        recordings = plan(files(source, (".csv",), Path(cache)), val_subjects)[:limit]
        arguments = {"whole": whole, "val_subjects": list(val_subjects), "limit": limit}
        convertible = partial(samples_of, whole=whole)
        return convert(DATASET, recordings, convertible, out, card=CARD, arguments=arguments, per_part=PER_PART, **how)


def main() -> None:
    p = parser(DATASET, "Shards of SP-SW-HAR: phone and watch.")
    p.add_argument("--whole", action="store_true", help="a sample is an execution; activities are texts with times")
    p.add_argument("--val-subjects", default="", help="odd subjects to put into the val split, such as 1,3")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the archive or folder of SP-SW-HAR; it is at {PAGE}")
    val = numbers_of(p, "--val-subjects", args.val_subjects)
    with exit_on_fault(p):
        run(args.source, args.out, whole=args.whole, val_subjects=val, limit=args.limit, **how_of(args))


if __name__ == "__main__":
    main()
