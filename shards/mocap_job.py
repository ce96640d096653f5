"""What the converters of motion capture share beside `shards/mocap.py`: options, cards."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from aura.body.cameras import look_at
from aura.body.placements import placement_id
from aura.data.writer import ShardError
from shards.mocap import PLACEMENTS, Settings
from shards.tables import Facts

TABLE = "texts.csv"


@dataclass(frozen=True)
class Known:
    """A data set that is known: what its card says, its tables where they lie as seen from the source, and who was
    recorded together."""

    title: str
    source: str
    licence: str
    citation: str
    notes: str = ""
    tables: tuple[str, ...] = (TABLE,)
    splits: str = ""
    together: tuple[tuple[str, ...], ...] = ()


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


def splits_asked(args: argparse.Namespace) -> dict[str, list[str]]:
    """Split -> subjects, of the options."""
    asked = {"val": args.val_subjects, "test": args.test_subjects}
    return {split: [s.strip() for s in given.split(",") if s.strip()] for split, given in asked.items() if given}


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
