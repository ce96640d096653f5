"""Shards of any motion capture in BVH files: skeleton, virtual IMUs, 2D poses of virtual cameras, texts.

    python -m shards.bvh --source DIR --out DIR [--texts FILE.csv] [--placements left_wrist,right_thigh]
        [--cameras N|FILE] [--licence TEXT] [--limit N] [--workers N] [--resume]

DIR holds `.bvh` files, or archives of them. `shards/bvh_file.py` says how the format is read, `shards/bvh_names.py` which
joints are known, `shards/mocap.py` how faults are mended.

- Unit: metres, centimetres, millimetres, inches or the CMU database's unit, whichever gives the body a height nearest to
  1.65 m; a file whose body is not 0.5 to 2.5 m high in it is left out. The factor is `unit_m` of the stream `mocap`.
- Up: the axis along which the head is over the ankles in the pose of all angles 0, or in the mean of the clip where that
  pose is none that a person can take. The world is turned so that z is up.
- Splits: by subject where the table of texts names subjects, else by recording.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from aura.body import kinematics as kin
from aura.body.skeletons import Skeleton, skeleton
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.bvh_file import Bvh, kinematics, read_bvh, rest
from shards.bvh_names import match_joints
from shards.common import convert, how_of, parser
from shards.mocap import Motion, Settings, recording_name, samples
from shards.mocap_job import TABLE, Known, add_options, card, settings_of, splits_asked
from shards.tables import Facts, Table, assign, read_tables

UNITS = {"metres": 1.0, "CMU units": 0.0254 / 0.45, "inches": 0.0254, "centimetres": 0.01, "millimetres": 0.001}
USUAL_M, HEIGHTS_M = 1.65, (0.5, 2.5)
HEAD_AND_FEET = 1.16  # height of a body over the sum of its leg, trunk and neck: feet and the head above its joint
PER_PART = 8


KNOWN = {
    "cmu_bvh": Known(
        "CMU motion capture database (part), as BVH",
        "mocap.cs.cmu.edu, through conversions to BVH",
        "CMU Graphics Lab Motion Capture Database: free for research and commercial use, not for resale; credit"
        " mocap.cs.cmu.edu and NSF EIA-0196217",
        "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF"
        " EIA-0196217.",
        "The conversions lack the thorax: head, neck and arms are some 12 cm too low. Clips of `seq8` have one generic body"
        " for all subjects. The two partners of the salsa (subjects 60 and 61) are in one split.",
        (TABLE, "exercise6_segments.csv", "../more_mocap/cmu_bvh_trials.csv"),
        together=(("60", "61"),),
    ),
    "bandai_namco": Known(
        "Bandai Namco Research Motion dataset (part)",
        "github.com/BandaiNamcoResearchInc/Bandai-Namco-Research-Motiondataset",
        "CC BY-NC 4.0, Bandai Namco Research Inc.; changed: a subset, rounded, converted",
        "M. Kobayashi et al., Motion Capture Dataset for Practical Use of AI-based Motion Editing and Stylization,"
        " arXiv 2306.08861.",
        "Motions have 30 frames a second: second derivatives end below 15 Hz, impacts are missing. Which of the six actors"
        " moves is not recorded, so people are in several splits.",
    ),
}


@dataclass(frozen=True)
class Reading:
    """What overrides the file: frames a second, metres a unit, the axis that is up, joint of the library -> of the file."""

    fps: float | None = None
    unit_m: float | None = None
    up: str | None = None
    joints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Recording:
    """A file, its id, and what is known about it; `facts` has no texts where no table names it."""

    id: str
    file: SourceFile
    facts: Facts


def samples_of(
    recording: Recording, dataset: str, licence: str, settings: Settings, reading: Reading
) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file; a file that cannot be used is dropped with the reason."""
    try:
        bvh = read_bvh(recording.file.read(), rate_hz=reading.fps)
        motion, left_out = motion_of(bvh, reading)
    except ValueError as error:
        yield Dropped(f"{recording.file.name}: {error}")
        return
    for warning in bvh.warnings:
        yield Dropped(f"file used although {warning}")
    if left_out:
        yield Dropped(f"joints that the skeleton does not have, left out: {', '.join(left_out)}")
    if not recording.facts.texts:
        yield Dropped("file without a text")
    yield from samples(motion, dataset, recording.id, recording.facts, licence, settings)


def motion_of(bvh: Bvh, reading: Reading = Reading()) -> tuple[Motion, tuple[str, ...]]:
    """The motion in metres, z up, on a skeleton of the library; and the names of joints that are not in it.

    ValueError where joints, unit or up axis cannot be told.
    """
    matched = match_joints(bvh.names, bvh.paths, bvh.parents, dict(reading.joints) or None)
    tree = skeleton(matched.skeleton)
    (places, turns), (rest_places, rest_turns) = kinematics(bvh, matched.joints), rest(bvh, matched.joints)
    finite = np.isfinite(places).all((1, 2))
    if not finite.any():
        raise ValueError("no frame has only finite numbers")
    first = int(finite.argmax())
    size = body_size(places[first], tree)
    unit = reading.unit_m or unit_of(size)
    if not HEIGHTS_M[0] <= size * unit <= HEIGHTS_M[1]:
        raise ValueError(
            f"its body is {size * unit:.3g} m high at {unit:g} m a unit ({size:.4g} units), not {HEIGHTS_M[0]:g} to"
            f" {HEIGHTS_M[1]:g} m: give the true unit (--unit)"
        )
    up, stands = up_axis(rest_places[0], places[finite], tree, reading.up)
    turn = to_z_up(up)
    pose = (rest_places[0], rest_turns[0]) if stands else (places[first], turns[first])
    motion = Motion(
        matched.skeleton,
        bvh.rate_hz,
        kin.rotate(turn, places * unit),
        kin.multiply(turn, turns),
        (kin.rotate(turn, pose[0] * unit), kin.multiply(turn, pose[1])),
        {"unit_m": float(unit)},
    )
    return motion, matched.left_out


def body_size(places: np.ndarray, tree: Skeleton) -> float:
    """Height of a body by its bones, from joints (J, 3) in any pose, in their unit."""
    names = tree.canonical

    def length(a: str, b: str) -> float:
        return float(np.linalg.norm(places[names.index(a)] - places[names.index(b)]))

    legs = [length(f"{s}_hip", f"{s}_knee") + length(f"{s}_knee", f"{s}_ankle") for s in ("left", "right")]
    chain, at = 0.0, names.index("head")
    while names[at] != "pelvis":
        parent = tree.parents[at]
        if parent < 0:
            raise ValueError("its head does not hang on its pelvis")
        chain += float(np.linalg.norm(places[at] - places[parent]))
        at = parent
    return HEAD_AND_FEET * (sum(legs) / 2 + chain)


def unit_of(size: float) -> float:
    """Metres a unit for which a body of `size` units is nearest to the usual height, by ratio."""
    if not size > 0:
        raise ValueError("its body has no height: all its joints are in one place")
    return min(UNITS.values(), key=lambda unit: abs(np.log(size * unit / USUAL_M)))


def up_axis(
    rest_places: np.ndarray, places: np.ndarray, tree: Skeleton, given: str | None = None
) -> tuple[np.ndarray, bool]:
    """The up direction of a file's world, (3,) along an axis; and whether the pose of all angles 0 stands along it."""
    names = tree.canonical
    ankles = [names.index("left_ankle"), names.index("right_ankle")]

    def upright(joints: np.ndarray) -> np.ndarray:
        """From the ankles to the head, as a share of the body's height, (..., 3)."""
        return (joints[..., names.index("head"), :] - joints[..., ankles, :].mean(-2)) / body_size(places[0], tree)

    at_rest = upright(rest_places)
    axis = int(np.abs(at_rest).argmax())
    stands = abs(at_rest[axis]) > 0.6 and abs(at_rest[axis]) > 0.9 * np.linalg.norm(at_rest)
    if given is not None:
        up = np.eye(3)["xyz".index(given[-1])] * (-1 if given.startswith("-") else 1)
        return up, bool(stands and at_rest @ up > 0.6)
    if not stands:
        mean = upright(places).mean(0)
        axis = int(np.abs(mean).argmax())
        if abs(mean[axis]) < 0.8 * np.linalg.norm(mean) or abs(mean[axis]) < 0.2:
            raise ValueError("which axis is up cannot be told from its poses: give it (--up)")
        return np.eye(3)[axis] * np.sign(mean[axis]), False
    return np.eye(3)[axis] * np.sign(at_rest[axis]), True


def to_z_up(up: np.ndarray) -> np.ndarray:
    """The rotation (4,) that brings an axis to z by the shortest turn; for -z, half a turn about x."""
    z = np.array([0.0, 0.0, 1.0])
    if abs(up @ z) > 0.5:
        return kin.from_axis_angle([1.0, 0, 0], 0.0 if up @ z > 0 else np.pi)
    return kin.from_axis_angle(np.cross(up, z), np.pi / 2)


def plan(source: Path, cache: Path, table: Table, known: Known, subjects: dict[str, list[str]]) -> list[Recording]:
    """The recordings of a source with what is known about them and their splits, in order of name."""
    found = files(source, (".bvh",), cache)
    if not found:
        raise ShardError(f"{source} holds neither .bvh files nor archives of them: give their folder as --source")
    facts = assign(
        {file.name: table.facts(file.name) or Facts() for file in found}, subjects=subjects, together=known.together
    )
    return [Recording(recording_name(file.name), file, facts[file.name]) for file in found]


def run(
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
    """Converts a folder or an archive of BVH files; `how` goes to `shards.common.convert`. Gives the manifest.

    tables   CSV files of texts and people; None: those that lie beside the files
    """
    settings, reading = settings or Settings(), reading or Reading()
    dataset = dataset or source.resolve().name.partition(".")[0]
    known = KNOWN.get(dataset, Known(dataset, dataset, "", ""))
    licence = licence or known.licence
    if not licence:
        raise ShardError(f"{dataset}: say under which terms these recordings may be used (--licence TEXT)")
    beside = source if source.is_dir() else source.parent
    paths = [beside / name for name in known.tables if (beside / name).exists()] if tables is None else tables
    table = read_tables(paths)
    with tempfile.TemporaryDirectory(prefix="bvh_") as cache:
        recordings = plan(source, Path(cache), table, known, subjects or {})
        unused = table.unused(r.file.name for r in recordings)
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
            "bvh",
            recordings[:limit],
            partial(samples_of, dataset=dataset, licence=licence, settings=settings, reading=reading),
            out,
            card=card(
                known,
                licence,
                settings,
                [r.facts for r in recordings],
                "BVH files",
                "Sensors keep the place on their segment that they have in a standing pose, x along the bone, y forward.",
                unused,
            ),
            # As JSON gives it back: a resumed conversion compares.
            arguments=json.loads(json.dumps(arguments)),
            per_part=PER_PART,
            **how,
        )


def main() -> None:
    p = parser("bvh", "Shards of motion capture in BVH files.")
    add_options(p)
    p.add_argument("--fps", type=float, help="frames a second, where the files' Frame Time is wrong")
    p.add_argument("--unit", type=float, help="metres a unit, where the body's height does not tell")
    p.add_argument(
        "--up", choices=["x", "y", "z", "-x", "-y", "-z"], help="the axis that is up, where poses do not tell"
    )
    p.add_argument("--joints", type=Path, help="YAML table, joint of the library: joint of the files, for other names")
    args = p.parse_args()
    if args.source is None:
        p.error("--source: give the folder with the .bvh files or archives of them")
    try:
        joints = yaml.safe_load(args.joints.read_text()) if args.joints else {}
        reading = Reading(args.fps, args.unit, args.up, tuple((str(a), str(b)) for a, b in joints.items()))
        run(
            args.source,
            args.out,
            dataset=args.dataset or "",
            licence=args.licence or "",
            tables=args.texts,
            subjects=splits_asked(args),
            settings=settings_of(args),
            reading=reading,
            limit=args.limit,
            **how_of(args),
        )
    except (ShardError, yaml.YAMLError, OSError, AttributeError) as error:
        p.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
