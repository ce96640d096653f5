"""Shards of Berkeley MHAD (Ofli, Chaudhry, Kurillo, Vidal, Bajcsy, WACV 2013): its six accelerometers.

    python -m shards.berkeley_mhad --source DIR|ARCHIVE --out DIR [--val-subjects 6,7] [--limit N] [--workers N] [--resume]

The source is an archive or folder with `Shimmer01` to `Shimmer06`, each with files `acc_h01_s01_a01_r01.txt`: a line a
sample, ax ay az in g and the Unix time at which it arrived.

- Clock: the sensors sample evenly at 31.03 Hz, but the stamps are those of a receiver that looks about every 22 ms, and
  after a stall many samples come at once. `even_times` gives back when they were taken: 30.6 to 31.2 Hz in all
  files, and a sample is predicted from its neighbours 4 % better than by the stamps.
- Calibration: as published the sensors show 0.74 to 1.02 g at rest, and another norm when worn another way round: each
  has a constant offset. `OFFSETS` were found such that the norm is 1 g in all moments of rest of all subjects (1 to 99 %:
  0.96 to 1.03 g). The axes are the sensor's own.
- A clip is one sample, from the last sensor's start to the first one's end. A sensor that lost more than
  `GAP_S` in it, or that starts late or ends early by `EDGE_S`, is left out of it.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aura.body.virtual_imu import GRAVITY
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.berkeley_mhad_texts import ACTIONS
from shards.common import convert, exit_on_fault, how_of, numbers_of, parser
from shards.signals import even_times, on_grid
from shards.wordings import spoken

DATASET = "berkeley_mhad"
PAGE = "https://tele-immersion.citris-uc.org/berkeley_mhad"
LICENCE = "not stated with the data: research use with citation of Ofli et al., WACV 2013"
RATE_HZ = 31.03
NAME = re.compile(r"acc_h0([1-6])_s(\d\d)_a(\d\d)_r(\d\d)\.txt")
PLACEMENTS = ("left wrist", "right wrist", "left hip", "right hip", "left ankle", "right ankle")
# What each sensor shows beyond the true specific force, in g; and two subjects whose hip sensors differ from the rest.
OFFSETS = (
    (-0.015, -0.115, -0.160), (0.000, -0.045, -0.262), (0.063, -0.241, -0.161), (0.041, -0.130, -0.189),
    (0.060, -0.108, -0.236), (0.029, -0.144, -0.219),
)  # fmt: skip
ODD_OFFSETS = {(3, 10): (0.000, 0.129, 0.122), (4, 6): (-0.061, 0.128, -0.097)}  # (sensor, subject)
RANGE = 2 * GRAVITY
SPIKE = 2.5  # g; beyond it is a fault of transmission
GAP_S = 0.1  # longest gap that is filled by interpolation
EDGE_S = 0.25
TEST_SUBJECTS = range(8, 13)
PER_PART = 32

CARD = f"""# Berkeley MHAD

11 actions of 12 subjects, 5 repetitions: accelerometers at both wrists, hips and ankles, about 31 Hz, and texts.
Written by `shards/berkeley_mhad.py` of aura.

Source: {PAGE}. Licence: {LICENCE}.
F. Ofli, R. Chaudhry, G. Kurillo, R. Vidal, R. Bajcsy, "Berkeley MHAD: A Comprehensive Multimodal Human Action Database",
WACV 2013.

Splits: by subject, as its authors: 1 to 7 train (or val, as asked for), 8 to 12 test.
Labels: `activity`, one of 11. Texts: the name as `label`, four sentences as `description`, two kept apart for prompts as
`paraphrase`; all ours.

Known: the range is +-2 g, and the ankles exceed it when jumping: 5 % or more of the samples are cut off in 117 clips of
the left ankle, 25 of the right wrist. There are no gyroscopes. Left and right of the wrists were found in the data (only
the right one moves in waving one hand); of hips and ankles they follow the numbering and are not confirmed. The offsets of
the accelerometers were estimated from moments of rest; for the left hip of subject 10 and the right hip of subject 6,
whose files were written in another way than all others and have other offsets, from few orientations. Times are late by the shortest delay of the radio, some
10 ms. Two of the 660 clips do not exist: s04 a08 r05, s02 a07 r05.
Not taken over: the times of the camera's frames, since the images are another download.
"""


@dataclass(frozen=True)
class Recording:
    """One clip; `sensors` are its files by number of the sensor, 1 to 6."""

    subject: int
    action: int
    repetition: int
    split: str
    sensors: tuple[tuple[int, SourceFile], ...]

    @property
    def id(self) -> str:
        return f"s{self.subject:02d}_a{self.action:02d}_r{self.repetition:02d}"


def samples_of(recording: Recording) -> Iterator[tuple[str, Sample] | Dropped]:
    """The clip as one sample, and what was left out. ValueError, naming the file, where one cannot be parsed."""
    tracks: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    arrivals = []
    for number, file in recording.sensors:
        found, skipped = _read(file)
        if skipped:
            yield Dropped("lines that have not 4 numbers", skipped / RATE_HZ, skipped)
        times, values, notes = track(found, number, recording.subject)
        yield from notes
        if len(times) > 1:
            tracks[number] = times, values
            arrivals.append((np.nanmin(found[:, 3]), np.nanmax(found[:, 3])))
    for number in sorted(set(range(1, 7)) - tracks.keys()):
        yield Dropped(f"{PLACEMENTS[number - 1]}: no file with two samples or more; sensor left out of the clip")
    if not tracks:
        yield Dropped("clip without a sensor")
        return
    begin, end = (float(x) for x in np.median(arrivals, axis=0))  # samples of before may have waited to be received
    kept = {}
    for number, (times, values) in tracks.items():
        lost = float(np.diff(times).max())
        if lost > GAP_S + 1.1 / RATE_HZ:
            why = f"lost for longer than {GAP_S:g} s"
        elif times[0] > begin + EDGE_S or times[-1] < end - EDGE_S:
            why = f"starts late or ends early by more than {EDGE_S:g} s"
        else:
            kept[number] = times, values
            continue
        yield Dropped(f"{PLACEMENTS[number - 1]}: {why}; sensor left out of the clip", end - begin)
    if not kept:
        yield Dropped("clip of which no sensor is whole", end - begin)
        return
    start = max(times[0] for times, _ in kept.values())
    stop = min(times[-1] for times, _ in kept.values())
    grid = start + np.arange(int((stop - start) * RATE_HZ + 1e-6) + 1) / RATE_HZ
    arrays = []
    for number, (times, values) in kept.items():
        laid, live, filled = on_grid(times, values, grid, RATE_HZ, GAP_S + 1.1 / RATE_HZ)
        if not live.all():  # a spike at an end: the value beside it holds
            laid = laid[np.where(live, np.arange(len(grid)), _nearest(live))]
        count = int((filled | ~live).sum())
        if count:
            yield Dropped(
                f"{PLACEMENTS[number - 1]}: samples of the even grid filled from their neighbours",
                count / RATE_HZ,
                count,
            )
        arrays.append(laid)
    duration = len(grid) / RATE_HZ
    action = ACTIONS[recording.action - 1]
    sensors = [
        {"placement": PLACEMENTS[number - 1], "channels": ["acc"], "virtual": False, "range": [RANGE, 0.0]}
        for number in kept
    ]
    subject = f"s{recording.subject:02d}"
    yield (
        recording.split,
        Sample(
            id=recording.id,
            dataset=DATASET,
            recording=recording.id,
            session=subject,
            subject=subject,
            duration_s=duration,
            licence=LICENCE,
            labels={"activity": action.name},
            texts=spoken(action, 0.0, duration),
            streams={"imu": {"rate_hz": RATE_HZ, "start_s": 0.0, "length": len(grid), "sensors": sensors}},
            arrays={"imu": np.stack(arrays)},
        ),
    )


def _read(file: SourceFile) -> tuple[np.ndarray, int]:
    """Numbers (n, 4) of a file, and how many lines were left out. Some files have a space at the end of each line."""
    rows = [line.split() for line in file.read().splitlines()]
    whole = [row for row in rows if len(row) == 4]
    try:
        return np.array(whole, float).reshape(-1, 4), sum(map(bool, rows)) - len(whole)
    except ValueError as error:
        raise ValueError(f"{file.name}: must be lines of 4 numbers: {error}") from error


def track(raw: np.ndarray, number: int, subject: int) -> tuple[np.ndarray, np.ndarray, list[Dropped]]:
    """Unix times (n,), values (n, 6) in m/s^2 (NaN where faulty; no angular velocity) of `raw` (n, 4), and notes."""
    notes = []
    whole = np.isfinite(raw).all(1)
    order = np.argsort(raw[whole, 3], kind="stable")
    if not whole.all():
        notes.append(Dropped("samples that are not numbers", (~whole).sum() / RATE_HZ, int((~whole).sum())))
    if (np.diff(order) < 0).any():
        notes.append(
            Dropped("samples out of order: put in the order of their times", count=int((np.diff(order) < 0).sum()))
        )
    raw = raw[whole][order]
    values = np.zeros((len(raw), 6), np.float32)
    offset = ODD_OFFSETS.get((number, subject), OFFSETS[number - 1])
    values[:, :3] = (raw[:, :3] - offset) * GRAVITY
    spikes = (np.abs(raw[:, :3]) > SPIKE).any(1)
    values[spikes] = np.nan
    if spikes.any():
        reason = f"{PLACEMENTS[number - 1]}: spikes beyond {SPIKE:g} g"
        notes.append(Dropped(reason, int(spikes.sum()) / RATE_HZ, int(spikes.sum())))
    return even_times(raw[:, 3], RATE_HZ), values, notes


def _nearest(live: np.ndarray) -> np.ndarray:
    """Index (n,) of the nearest place where `live` (n,)."""
    at = np.flatnonzero(live)
    return at[np.abs(at[None] - np.arange(len(live))[:, None]).argmin(1)]


def plan(found: Sequence[SourceFile], val_subjects: Sequence[int] = ()) -> list[Recording]:
    """Clips in order of name, with their splits by subject. ShardError where there are none, or one is there twice."""
    if any(subject in TEST_SUBJECTS for subject in val_subjects):
        raise ShardError(
            f"--val-subjects {sorted(val_subjects)}: subjects 8 to 12 are the test split, choose of 1 to 7"
        )
    clips: dict[tuple[int, int, int], dict[int, SourceFile]] = defaultdict(dict)
    for file in found:
        parts = NAME.fullmatch(file.name.rpartition("/")[2])
        if parts is None:
            continue
        number, subject, action, repetition = (int(part) for part in parts.groups())
        if not 1 <= action <= len(ACTIONS):
            raise ShardError(f"{file.name}: there is no action {action}, only 1 to {len(ACTIONS)}")
        clip = clips[subject, action, repetition]
        if number in clip:
            raise ShardError(f"{file.name} is there twice, also as {clip[number].name}: keep one")
        clip[number] = file
    if not clips:
        raise ShardError(
            "there are no files such as Shimmer01/acc_h01_s01_a01_r01.txt: download the accelerometers of Berkeley MHAD"
            f" from {PAGE} and give their archive or folder as --source"
        )
    unknown = sorted(set(val_subjects) - {subject for subject, _, _ in clips})
    if unknown:
        raise ShardError(f"--val-subjects: the source has no subject {unknown[0]}")
    return [
        Recording(
            *key,
            split="test" if key[0] in TEST_SUBJECTS else "val" if key[0] in val_subjects else "train",
            sensors=tuple(sorted(clip.items())),
        )
        for key, clip in sorted(clips.items())
    ]


def run(source: Path, out: Path, *, val_subjects: tuple[int, ...] = (), limit: int | None = None, **how) -> dict:
    """Converts the data set as shipped; `how` goes to `shards.common.convert`. Gives the manifest."""
    with tempfile.TemporaryDirectory(prefix="berkeley_mhad_") as cache:
        recordings = plan(files(source, (".txt",), Path(cache)), val_subjects)[:limit]
        arguments = {"val_subjects": list(val_subjects), "limit": limit}
        return convert(DATASET, recordings, samples_of, out, card=CARD, arguments=arguments, per_part=PER_PART, **how)


def main() -> None:
    p = parser(DATASET, "Shards of Berkeley MHAD's accelerometers.")
    p.add_argument("--val-subjects", default="", help="subjects of 1 to 7 to put into the val split, such as 6,7")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the archive or folder of the accelerometers of Berkeley MHAD; they are at {PAGE}")
    val = numbers_of(p, "--val-subjects", args.val_subjects)
    with exit_on_fault(p):
        run(args.source, args.out, val_subjects=val, limit=args.limit, **how_of(args))


if __name__ == "__main__":
    main()
