"""Shards of PAMAP2 (Reiss, Stricker, 2012): three IMUs, heart rate, 18 activities, 9 subjects.

    python -m shards.pamap2 --source DIR|ZIP --out DIR [--check] [--max-gap S] [--val-subjects 105] [--test-subjects 106]
        [--limit N] [--workers N] [--resume]

The source is the publisher's zip (also the one that holds `PAMAP2_Dataset.zip`), or its folder with `Protocol` and, if
wanted, `Optional`.

- A line is 54 numbers: seconds, activity, heart rate, then 17 of each IMU: temperature, acceleration in +-16 g (m/s^2),
  the same in +-6 g, angular velocity (rad/s), magnetic field, orientation. Used are the +-16 g accelerometer (the other
  one saturates) and the gyroscope. The publisher calls the orientation invalid.
- Sensors: the wrist of the dominant arm, the chest, the ankle of the dominant side; all subjects but 108 are
  right-handed.
- Heart rate has a value in about every 11th row, none in between: it is put on 10 Hz, linear between values up to 1 s apart,
  NaN elsewhere; never across activities, as the sensors.
- Rows are 10 ms apart, and a packet that was lost leaves NaN for its sensor alone. Samples are placed by the time stamps.
- The label was set by hand on a small computer: it may be late at both ends of an activity.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from aura.body.virtual_imu import GRAVITY
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files_within
from shards.columns import Layout, open_source, read_columns
from shards.common import convert, exit_on_fault, how_of, parser
from shards.pamap2_texts import ACTIVITIES, FILES, TRANSIENT
from shards.signals import Series, Settings, Stretch, clocks, runs, samples

DATASET = "pamap2"
VERSION = "2"  # 2: heart rate
PAGE = "https://archive.ics.uci.edu/dataset/231/pamap2+physical+activity+monitoring"
LICENCE = (
    "free for scientific use, with citation of Reiss and Stricker, 2012 (two papers); the UCI archive says CC BY 4.0"
)
RATE_HZ = 100.0
COLUMNS = 54
TIME, ACTIVITY, HEART = "c0", "c1", "c2"
HEART_HZ, HEART_GAP_S = 10.0, 1.0
BLOCKS = (3, 20, 37)  # first column of the wrist's, the chest's and the ankle's sensor
CHANNELS = (1, 2, 3, 7, 8, 9)  # of a block: acceleration in +-16 g, angular velocity
LEFT_HANDED = ("108",)
SUBJECTS = tuple(str(number) for number in range(101, 110))
# `NaN` is read as the number that it is, which is faster than as a cell without a value.
LAYOUT = Layout(delimiter=" ", names=tuple(f"c{i}" for i in range(COLUMNS)), missing=(), quotes=False)

CARD = f"""# PAMAP2

18 activities of 9 subjects, three inertial sensors at 100 Hz: wrist and ankle of the dominant side, chest; heart rate.
Written by `shards/pamap2.py` of aura.

Source: {PAGE}. Licence: {LICENCE}.
A. Reiss, D. Stricker, "Introducing a New Benchmarked Dataset for Activity Monitoring", ISWC 2012.
A. Reiss, D. Stricker, "Creating and Benchmarking a New Dataset for Physical Activity Monitoring", PETRA 2012.

Labels: `activity`, one of 18; `activity12`, for the 12 of the protocol alone, the subset that zero-shot work uses.
Texts: the activity's name as `label`, one sentence of ours as `description`.

`series_heart` is the heart rate (bpm) at 10 Hz, of values measured about 9 times a second: linear between values up to 1 s
apart, NaN elsewhere.

Not taken over: temperature, the +-6 g accelerometer, the magnetic field, the orientation (invalid, says the
publisher).

Known: subject 109 has rope jumping alone of the protocol; 103 lacks running, cycling, Nordic walking and rope jumping,
104 running and rope jumping, 107 rope jumping; 106 has 2.55 s of it. Take the mean over classes over those that occur.
Subject 102 is the only woman, 108 the only left-hander. Labels were set by hand and may be late at borders.
"""


@dataclass(frozen=True)
class Recording:
    """One file: `part` is Protocol or Optional."""

    part: str
    subject: str
    split: str
    file: SourceFile

    @property
    def id(self) -> str:
        return f"{self.part.lower()}_subject{self.subject}"


def samples_of(recording: Recording, settings: Settings, threads: bool) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file. ValueError, naming the file, where it cannot be parsed."""
    times, activity, values, heart, notes = read(recording, threads)
    yield from notes
    orders, notes = clocks(times)
    yield from notes
    sensors = sensors_of(recording.subject)
    for number, rows in enumerate(orders):
        name = recording.id + (f"_clock{number + 1}" if number else "")
        for begin, end in runs(activity[rows]):
            here = rows[begin:end]
            label, seconds = int(activity[here[0]]), len(here) / RATE_HZ
            if label == TRANSIENT:
                yield Dropped("rows between activities (transient, id 0)", seconds, len(here))
                continue
            if label not in ACTIVITIES:
                yield Dropped(f"rows of an activity that is not in the list: {label}", seconds, len(here))
                continue
            known = ACTIVITIES[label]
            span = {"start_s": 0.0, "end_s": float("inf")}
            stretch = Stretch(
                split=recording.split,
                times=times[here] - times[rows[0]],
                values=[sensor[here] for sensor in values],
                sensors=sensors,
                about={
                    "dataset": DATASET,
                    "recording": name,
                    "session": name,
                    "subject": recording.subject,
                    "licence": LICENCE,
                    "labels": {"activity": known.name, **({"activity12": known.name} if known.subset12 else {})},
                },
                texts=[
                    {"text": known.name, **span, "kind": "label"},
                    {"text": known.description, **span, "kind": "description"},
                ],
                series={"series_heart": Series(heart[here, None], ("heart_rate bpm",), HEART_HZ, HEART_GAP_S)},
            )
            yield from samples(stretch, RATE_HZ, settings)


def read(
    recording: Recording, threads: bool
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray, list[Dropped]]:
    """Times (n,) in seconds, activities (n,), per sensor (n, 6) float32 in m/s^2 and rad/s, heart rate (n,) in bpm with NaN where
    there is none, and what was left out."""
    signals = [[f"c{first + channel}" for channel in CHANNELS] for first in BLOCKS]
    types = {TIME: pa.float64(), ACTIVITY: pa.float32(), HEART: pa.float32()}
    types |= {name: pa.float32() for names in signals for name in names}
    notes = []
    try:
        with open_source(recording.file) as file:
            found, skipped = read_columns(file, types, LAYOUT, threads=threads)
    except ValueError as error:
        raise ValueError(f"{recording.file.name}: {error}; --check tells which files are damaged") from error
    if skipped:
        notes.append(Dropped(f"lines that have not {COLUMNS} numbers", skipped / RATE_HZ, skipped))
    published = FILES.get(f"{recording.part}/subject{recording.subject}.dat")
    if published is None or size_of(recording.file) != published[0]:
        notes.append(Dropped(f"file that is not of the published size, used: {recording.id}"))
    activity = found[ACTIVITY]
    labelled = np.isfinite(activity)
    if not labelled.all():
        unlabelled = len(labelled) - int(labelled.sum())
        notes.append(Dropped("rows without an activity", unlabelled / RATE_HZ, unlabelled))
    values = [np.stack([found.pop(name) for name in names], 1) for names in signals]
    if labelled.all():
        return found[TIME], activity.astype(int), values, found[HEART], notes
    kept = found[TIME][labelled], activity[labelled].astype(int), [x[labelled] for x in values]
    return *kept, found[HEART][labelled], notes


def sensors_of(subject: str) -> list[dict]:
    """The three sensors as a stream lists them; full scale of the gyroscope is not published."""
    side = "left" if subject in LEFT_HANDED else "right"
    return [
        {"placement": place, "channels": ["acc", "gyro"], "virtual": False, "range": [16 * GRAVITY, 0.0]}
        for place in (f"{side} wrist", "chest", f"{side} ankle")
    ]


def size_of(file: SourceFile) -> int:
    """Bytes of a file, without reading it."""
    if file.member:
        with zipfile.ZipFile(file.path) as archive:
            return archive.getinfo(file.member).file_size
    return file.span[1] if file.span else file.unpacked().stat().st_size


def find(source: Path, cache: Path) -> list[SourceFile]:
    """The `.dat` files of a folder or zip. A zip inside a zip is unpacked into `cache`."""
    return files_within(source, (".dat",), cache)


def plan(found: Sequence[SourceFile], val: Sequence[str], test: Sequence[str]) -> list[Recording]:
    """Recordings in order of name, with their splits by subject. ShardError where there are none, or one is there twice."""
    recordings: dict[str, Recording] = {}
    for file in found:
        part, _, name = f"/{file.name}".rpartition("/")
        part, subject = part.rpartition("/")[2].capitalize(), name.removeprefix("subject").removesuffix(".dat")
        if part not in ("Protocol", "Optional") or subject not in SUBJECTS:
            continue
        split = "test" if subject in test else "val" if subject in val else "train"
        recording = Recording(part, subject, split, file)
        if recording.id in recordings:
            raise ShardError(f"{file.name} is there twice, also as {recordings[recording.id].file.name}: keep one")
        recordings[recording.id] = recording
    if not recordings:
        raise ShardError(
            f"there are no files such as Protocol/subject101.dat: download PAMAP2 from {PAGE} and give the zip, or the"
            " folder that holds Protocol and Optional, as --source"
        )
    unknown = sorted({*val, *test} - set(SUBJECTS))
    if unknown or set(val) & set(test):
        what = f"there is no subject {unknown[0]}" if unknown else f"{sorted(set(val) & set(test))} are in both splits"
        raise ShardError(f"--val-subjects, --test-subjects: {what}; choose from 101 to 109")
    return [recordings[name] for name in sorted(recordings)]


def check(recordings: Sequence[Recording]) -> str:
    """A line for each published file; ShardError with those that differ in size or in their SHA-256."""
    here = {f"{r.part}/subject{r.subject}.dat": r.file for r in recordings}
    lines, wrong = [], []
    for name, (size, digest) in FILES.items():
        if name not in here:
            lines.append(f"{name}: not there")
            continue
        sha = hashlib.sha256()
        with open_source(here[name]) as file:
            while data := file.read(1 << 20):
                sha.update(data)
        good = size_of(here[name]) == size and sha.hexdigest().startswith(digest)
        lines.append(f"{name}: {'as published' if good else 'differs'}")
        if not good:
            wrong.append(
                f"{name} has {size_of(here[name])} bytes, SHA-256 {sha.hexdigest()[:12]}, not {size}, {digest}"
            )
    if wrong:
        raise ShardError(f"files differ from the published ones, download them again: {'; '.join(wrong)}")
    return "\n".join(lines)


def run(
    source: Path,
    out: Path,
    *,
    val_subjects: tuple[str, ...] = ("105",),
    test_subjects: tuple[str, ...] = ("106",),
    settings: Settings | None = None,
    checked: bool = False,
    limit: int | None = None,
    workers: int = 1,
    **how,
) -> dict:
    """Converts the data set as shipped; `how` goes to `shards.common.convert`. Gives the manifest.

    checked   first compare every file with the published size and SHA-256
    """
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="pamap2_") as cache:
        recordings = plan(find(source, Path(cache)), val_subjects, test_subjects)
        if checked:
            print(check(recordings))
        splits = (
            f"Splits: by subject; {', '.join(val_subjects)} val, {', '.join(test_subjects)} test, all others train."
        )
        arguments = {
            "val_subjects": list(val_subjects),
            "test_subjects": list(test_subjects),
            "limit": limit,
            **asdict(settings),
        }
        return convert(
            DATASET,
            recordings[:limit],
            partial(samples_of, settings=settings, threads=workers == 1),
            out,
            card=f"{CARD}\n{splits}\n",
            arguments=arguments,
            version=VERSION,
            workers=workers,
            **how,
        )


def main() -> None:
    p = parser(DATASET, "Shards of PAMAP2 from the publisher's zip or its folder.")
    p.add_argument("--check", action="store_true", help="first compare all files with the published SHA-256")
    p.add_argument("--max-gap", type=float, default=Settings.gap_s, help="seconds of loss that are interpolated (0.1)")
    p.add_argument("--val-subjects", default="105", help="subjects of the val split, such as 104,105; '' for none")
    p.add_argument("--test-subjects", default="106", help="subjects of the test split; '' for none")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the zip or folder of PAMAP2; it is at {PAGE}")
    if not 0 <= args.max_gap <= 1:
        p.error(f"--max-gap {args.max_gap:g}: must be 0 to 1 s; a straight line is no movement over longer")
    val, test = (tuple(s.strip() for s in x.split(",") if s.strip()) for x in (args.val_subjects, args.test_subjects))
    with exit_on_fault(p):
        run(
            args.source,
            args.out,
            val_subjects=val,
            test_subjects=test,
            settings=Settings(gap_s=args.max_gap),
            checked=args.check,
            limit=args.limit,
            **how_of(args),
        )


if __name__ == "__main__":
    main()
