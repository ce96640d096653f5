"""What the converters of motion capture share beside `shards/mocap.py`: options, plans, cards."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from aura.body.cameras import look_at
from aura.body.placements import placement_id
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.common import convert, exit_on_fault, how_of
from shards.mocap import PLACEMENTS, Motion, Settings, recording_name, samples
from shards.mocap_units import Reading
from shards.tables import Facts, Table, assign, read_tables

TABLE = "texts.csv"
PER_PART = 8
CMU_LICENCE = (
    "CMU Graphics Lab Motion Capture Database: free for research and commercial use, not for resale; credit"
    " mocap.cs.cmu.edu and NSF EIA-0196217"
)
CMU_CITATION = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF"
    " EIA-0196217."
)
# The same in every folder of the database, so that folders can be pooled.
CMU_SUBJECTS = {"val": ("08", "17", "127", "135"), "test": ("05", "06", "09", "27", "49", "94")}


@dataclass(frozen=True)
class Known:
    """A data set that is known: what its card says, its tables where they lie as seen from the source, who was recorded
    together, and subjects by split where those that a source has are to be in it."""

    title: str
    source: str
    licence: str
    citation: str
    notes: str = ""
    tables: tuple[str, ...] = (TABLE,)
    splits: str = ""
    together: tuple[tuple[str, ...], ...] = ()
    subjects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """A file, its id, and what is known about it; `facts` has no texts where no table names it.

    beside   files of the other endings in the same folder
    """

    id: str
    file: SourceFile
    facts: Facts
    beside: tuple[SourceFile, ...] = ()


@dataclass(frozen=True)
class Job:
    """What all recordings of a conversion have in common."""

    dataset: str
    licence: str
    settings: Settings
    reading: Reading

    def samples(
        self, recording: Recording, motion: Motion, warnings: Sequence[str], left_out: Sequence[str]
    ) -> Iterator[tuple[str, Sample] | Dropped]:
        """The samples of a file's motion, and what is to be said about it."""
        for warning in warnings:
            yield Dropped(f"file used although {warning}")
        if left_out:
            yield Dropped(f"joints that the skeleton does not have, left out: {', '.join(left_out)}")
        if not recording.facts.texts:
            yield Dropped("file without a text")
        yield from samples(motion, self.dataset, recording.id, recording.facts, self.licence, self.settings)


def add_options(p: argparse.ArgumentParser) -> None:
    """Options of every converter of mocap, beside those of `shards.common.parser`."""
    p.add_argument(
        "--placements", help=f"virtual sensors, such as left_wrist,right_thigh (default: {', '.join(PLACEMENTS)})"
    )
    p.add_argument(
        "--cameras", default="1", help="number of random cameras, or a YAML list of {eye, target, width, ...}"
    )
    p.add_argument("--seed", type=int, default=0, help="of the random cameras")
    p.add_argument("--texts", type=Path, action="append", help="CSV table of texts and people; several add up")
    p.add_argument("--licence", help="under which terms the recordings may be used")
    p.add_argument("--dataset", help="name of the data set (default: the name of the source)")
    p.add_argument(
        "--val-subjects", default="", help="subjects of the val split, such as 3,7 (default: a tenth, by subject)"
    )
    p.add_argument("--test-subjects", default="", help="subjects of the test split")


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options give. ShardError, naming the option, for what cannot be."""
    names = PLACEMENTS
    if args.placements:
        names = tuple(name.strip().replace("_", " ") for name in args.placements.split(",") if name.strip())
        try:
            for name in names:
                placement_id(name)
        except ValueError as error:
            raise ShardError(f"--placements: {error}") from error
    if args.cameras.isdigit():
        return Settings(placements=names, cameras=int(args.cameras), seed=args.seed)
    try:
        cameras = yaml.safe_load(Path(args.cameras).read_text())
        for camera in cameras:
            look_at(**camera)
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ShardError(
            f"--cameras {args.cameras}: give a number, or a YAML file with a list of cameras, each"
            f" {{eye: [x, y, z], target: [x, y, z], width: 640, height: 480, fov_deg: 50}}: {error}"
        ) from error
    return Settings(placements=names, cameras=tuple(cameras), seed=args.seed)


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a converter's `run` that the options of `add_options` give. ShardError, naming the option, as above."""
    asked = {"val": args.val_subjects, "test": args.test_subjects}
    return {
        "dataset": args.dataset or "",
        "licence": args.licence or "",
        "tables": args.texts,
        "subjects": {
            split: [s.strip() for s in given.split(",") if s.strip()] for split, given in asked.items() if given
        },
        "settings": settings_of(args),
    }


def card(
    known: Known,
    licence: str,
    settings: Settings,
    facts: Sequence[Facts],
    what: str,
    how: str,
    unused: Sequence[str] = (),
) -> str:
    """A converter's part of the card.

    what     the files, such as "BVH files"; how: what was done to them
    unused   rows of tables that no file belongs to
    """
    if any(f.subject for f in facts):
        by = (
            "by subject (and whoever was recorded together); recordings whose subject is not known train, and anybody may"
            " be in them"
        )
    else:
        by = "by recording: subjects are not known, so the same people may be in several splits"
    lines = [
        f"# {known.title}",
        f"Motion capture of {what} as `mocap` (z up), virtual IMUs ({', '.join(settings.placements)}; `virtual: true`, ideal,"
        f" of a motion smoothed at {settings.low_pass_hz:g} Hz or 0.4 of its rate), their orientation, 2D poses of virtual"
        " cameras, and text.",
        f"Source: {known.source}. Licence: {licence}.",
        known.citation,
        f"Splits: {known.splits or by}.",
        how,
        known.notes,
        f"Rows of the tables about files that are not there: {len(unused)}, such as {', '.join(unused[:3])}."
        if unused
        else "",
    ]
    return "\n\n".join(line for line in lines if line)


def plan(
    source: Path,
    cache: Path,
    endings: tuple[str, ...],
    table: Table,
    known: Known,
    subjects: Mapping[str, Sequence[str]],
) -> list[Recording]:
    """The recordings of a source, files of the first ending, with what is known about them and their splits, by name."""
    found = files(source, endings, cache)
    own = [file for file in found if file.name.lower().endswith(endings[0])]
    if not own:
        raise ShardError(
            f"{source} holds neither {endings[0]} files nor archives of them: give their folder as --source"
        )
    facts = {file.name: table.facts(file.name) or Facts() for file in own}
    there = {f.subject for f in facts.values()}
    usual = {split: [who for who in people if who in there] for split, people in known.subjects.items()}
    facts = assign(facts, subjects=subjects or usual, together=known.together)
    beside: dict[PurePosixPath, tuple[SourceFile, ...]] = {}
    for file in found:
        if not file.name.lower().endswith(endings[0]):
            folder = PurePosixPath(file.name).parent
            beside[folder] = (*beside.get(folder, ()), file)
    return [
        Recording(recording_name(f.name), f, facts[f.name], beside.get(PurePosixPath(f.name).parent, ())) for f in own
    ]


def convert_files(
    name: str,
    samples_of: Callable[[Job, Recording], Iterator[tuple[str, Sample] | Dropped]],
    endings: tuple[str, ...],
    knowns: Mapping[str, Known],
    what: str,
    source: Path,
    out: Path,
    *,
    dataset: str = "",
    licence: str = "",
    tables: list[Path] | None = None,
    subjects: dict[str, list[str]] | None = None,
    settings: Settings | None = None,
    reading: Reading | None = None,
    limit: int | None = None,
    **how,
) -> dict:
    """Converts a folder or an archive with files of `endings`; `how` goes to `shards.common.convert`. Gives the manifest.

    samples_of   of the converter `name`, whose files the card calls `what`
    knowns       data sets that are known, by name
    tables       CSV files of texts and people; None: those that lie beside the files
    """
    settings, reading = settings or Settings(), reading or Reading()
    if not source.exists():
        raise ShardError(f"{source} does not exist: give the folder with the {endings[0]} files as --source")
    dataset = dataset or source.resolve().name.partition(".")[0]
    known = knowns.get(dataset, Known(dataset, dataset, "", ""))
    licence = licence or known.licence
    if not licence:
        raise ShardError(f"{dataset}: say under which terms these recordings may be used (--licence TEXT)")
    beside = source if source.is_dir() else source.parent
    paths = [beside / table for table in known.tables if (beside / table).exists()] if tables is None else tables
    table = read_tables(paths)
    with tempfile.TemporaryDirectory(prefix=f"{name}_") as cache:
        recordings = plan(source, Path(cache), endings, table, known, subjects or {})
        arguments = {
            "dataset": dataset,
            "licence": licence,
            "tables": [path.name for path in paths],
            "subjects": subjects or {},
            "limit": limit,
            **asdict(settings),
            **asdict(reading),
        }
        return convert(
            name,
            recordings[:limit],
            partial(samples_of, Job(dataset, licence, settings, reading)),
            out,
            card=card(
                known,
                licence,
                settings,
                [r.facts for r in recordings],
                what,
                "Sensors keep the place on their segment that they have in a standing pose, x along the bone, y forward.",
                table.unused(r.file.name for r in recordings),
            ),
            arguments=arguments,
            per_part=PER_PART,
            **how,
        )


def run_command(p: argparse.ArgumentParser, run: Callable[..., Any], ending: str) -> None:
    """The command of a converter of files with an ending; its parser has `--fps`."""
    add_options(p)
    p.add_argument("--unit", type=float, help="metres a unit, where the body's height does not tell")
    p.add_argument(
        "--up", choices=["x", "y", "z", "-x", "-y", "-z"], help="the axis that is up, where poses do not tell"
    )
    p.add_argument("--joints", type=Path, help="YAML table, joint of the library: joint of the files, for other names")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the folder with the {ending} files or archives of them")
    with exit_on_fault(p, yaml.YAMLError, AttributeError):
        joints = yaml.safe_load(args.joints.read_text()) if args.joints else {}
        run(
            args.source,
            args.out,
            **options_of(args),
            reading=Reading(args.fps, args.unit, args.up, tuple((str(a), str(b)) for a, b in joints.items())),
            limit=args.limit,
            **how_of(args),
        )
