"""Shards of motions on SMPL bodies: AMASS (`.npz` of pose parameters) or HumanML3D (joint positions with texts).

    python -m shards.smpl --source DIR --out DIR [--body-model DIR] [--texts FILE.csv] [--placements ...] [--cameras N|FILE]
        [--limit N] [--workers N] [--resume]

DIR holds AMASS as it is downloaded (archives or `SUBSET/SUBJECT/NAME_poses.npz`), of either release (SMPL+H or SMPL-X), or
HumanML3D as its scripts leave it (`new_joints`, `texts`, `train.txt`, `val.txt`, `test.txt`): then the latter is read.

- AMASS: z is up, metres. Joints need a body: that of `--body-model` (SMPL+H or SMPL-X files as `.npz`, by gender and
  shape of the clip), else an average one, and then the pelvis is where the file's translation is. Rates are the files'.
- HumanML3D: 20 frames a second, y is up. Joint positions alone, so IMUs do not see a limb's twist. Splits are the
  publisher's; mirrored copies (`M...`) have the group of their original.
"""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aura.body import kinematics as kin
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.common import convert, exit_on_fault, how_of, parser
from shards.mocap import Motion, Settings, recording_name, samples
from shards.mocap_job import Known, add_options, card, options_of
from shards.smpl_body import BODY, average_joints, find_models, move, rest_joints
from shards.tables import Facts, Table, assign, read_tables

PER_PART = 16
HUMANML_HZ = 20.0
RATES = ("mocap_frame_rate", "mocap_framerate")  # SMPL-X release, SMPL+H release
SPLITS = ("train", "val", "test")
AMASS = Known(
    "AMASS",
    "amass.is.tue.mpg.de",
    "AMASS: non-commercial scientific research, no redistribution; its subsets have terms of their own",
    "N. Mahmood et al., AMASS: Archive of Motion Capture as Surface Shapes, ICCV 2019.",
    "Some subsets are said to bear a wrong frame rate (BMLhandball: 120 for 240 a second): rates are as in the files.",
    tables=(),
)
HUMANML3D = Known(
    "HumanML3D",
    "github.com/EricGuo5513/HumanML3D",
    "texts: MIT; motions: the terms of AMASS (non-commercial scientific research, no redistribution)",
    "C. Guo et al., Generating Diverse and Natural 3D Human Motions from Text, CVPR 2022.",
    "All bodies have the bones of one reference body. Joint positions alone: a sensor's frame follows its bone without twist.",
    tables=(),
    splits="the publisher's",
)


@dataclass(frozen=True)
class Recording:
    """A file, its id and what is known about it; `file` is None, with `why`, for what is named and not there."""

    id: str
    file: SourceFile | None
    facts: Facts
    why: str = ""


def samples_of(
    recording: Recording, dataset: str, licence: str, settings: Settings, body_models: Path | None
) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file; a file that cannot be used is dropped with the reason."""
    if recording.file is None or recording.why:
        yield Dropped(recording.why)
        return
    humanml = recording.file.name.lower().endswith(".npy")
    try:
        if humanml:
            motion, notes = read_positions(recording.file), []
        else:
            motion, notes = read_amass(recording.file, body_models)
    except ValueError as error:
        yield Dropped(f"{recording.file.name}: {error}")
        return
    if motion is None:
        yield Dropped("file of a body's shape, without motion")
        return
    yield from map(Dropped, notes)
    if humanml and not np.isfinite(motion.positions).all():
        yield Dropped("file that holds NaN, left out", len(motion.positions) / motion.rate_hz)
        return
    if not recording.facts.texts:
        yield Dropped("file without a text")
    yield from samples(motion, dataset, recording.id, recording.facts, licence, settings)


def read_positions(file: SourceFile) -> Motion:
    """The motion of a file of HumanML3D's `new_joints`."""
    try:
        joints = np.load(io.BytesIO(file.read()), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"cannot be read as an array: {error}") from error
    if joints.ndim != 3 or joints.shape[1:] != (BODY, 3) or not len(joints):
        raise ValueError(f"has shape {joints.shape}, expected (T, {BODY}, 3): give new_joints, not new_joint_vecs")
    x, y, z = np.moveaxis(joints.astype(np.float64), -1, 0)
    return Motion("smpl22", HUMANML_HZ, np.stack([x, -z, y], axis=-1))


def read_amass(file: SourceFile, body_models: Path | None) -> tuple[Motion | None, list[str]]:
    """The motion of a file of AMASS, None for one that holds a shape alone; and notes on what it lacks."""
    notes = []
    try:
        with np.load(io.BytesIO(file.read()), allow_pickle=False) as content:
            keys = set(content.files)
            if "trans" not in keys or not keys & {"poses", "pose_body"}:
                return None, []
            trans = np.asarray(content["trans"], np.float64)
            poses = _poses(content, keys)
            rate = next((float(content[key]) for key in RATES if key in keys), math.nan)
            betas = np.asarray(content["betas"], np.float64).ravel() if "betas" in keys else np.zeros(0)
            gender, family = _word(content, "gender"), _word(content, "surface_model_type") or "smplh"
    except (ValueError, EOFError, OSError, KeyError) as error:
        raise ValueError(f"cannot be read: {error}") from error
    if not 1 < rate < 1000:
        raise ValueError(f"has no frame rate (its keys: {', '.join(sorted(keys))})")
    if trans.shape != (len(poses), 3) or not len(poses):
        raise ValueError(f"has {len(poses)} poses and translations of shape {trans.shape}")
    if body_models is None:
        joints = average_joints()
    else:
        models = find_models(body_models)
        model = models.get((family, gender)) or models.get((family, "neutral"))
        if model is None:
            there = ", ".join(f"{f} {g}" for f, g in sorted(models))
            raise ValueError(f"needs a body model of {family} for gender {gender!r} or neutral; there are {there}")
        if (family, gender) not in models:
            notes.append(f"file of gender {gender!r}, on the neutral body")
        joints = rest_joints(model, betas)
    places, turns = move(joints, poses, trans)
    upright = kin.from_axis_angle([1.0, 0, 0], np.pi / 2)  # the model's y is up, the world's z
    rest = kin.rotate(upright, joints), np.tile(upright, (BODY, 1))
    return Motion("smpl22", rate, places, turns, rest), notes


def _poses(content: Any, keys: set[str]) -> np.ndarray:
    """Rotation vectors (T, 22, 3) of the body's joints, of either release."""
    if "poses" in keys:
        poses = content["poses"]
    else:
        poses = np.concatenate([content["root_orient"], content["pose_body"]], axis=1)
    if poses.ndim != 2 or poses.shape[1] < 3 * BODY:
        raise ValueError(f"poses have shape {poses.shape}, expected (T, {3 * BODY} or more)")
    return poses[:, : 3 * BODY].reshape(len(poses), BODY, 3).astype(np.float64)


def _word(content: Any, key: str) -> str:
    """A string that may be stored as text or as bytes; "" where it is absent."""
    if key not in content.files:
        return ""
    value = content[key].item()
    return (value.decode() if isinstance(value, bytes) else str(value)).lower()


def plan_amass(found: list[SourceFile], table: Table, subjects: dict[str, list[str]]) -> list[Recording]:
    """Recordings of AMASS: subject by the folder of a file in its subset, unless the table says otherwise."""
    if not found:
        raise ShardError(
            "the source holds neither .npz files of AMASS, archives of them, nor HumanML3D's folder new_joints: AMASS is at"
            " amass.is.tue.mpg.de; give its folder as --source"
        )
    facts = {}
    for file in found:
        known, folders = table.facts(file.name) or Facts(), file.name.split("/")[:-1]
        facts[file.name] = replace(known, subject=known.subject or "-".join(folders[-2:]))
    facts = assign(facts, subjects=subjects)
    return [Recording(recording_name(file.name), file, facts[file.name]) for file in found]


def plan_humanml(found: list[SourceFile], table: Table) -> list[Recording]:
    """Recordings of HumanML3D, with the publisher's splits."""
    by_name = {file.name: file for file in found}
    joints = {file.name.rsplit("/", 1)[-1][:-4]: file for file in found if "new_joints/" in f"/{file.name}"}
    root = next(iter(joints.values())).name.rpartition("new_joints/")[0]
    split_of: dict[str, str] = {}
    for split in SPLITS:
        listed = by_name.get(f"{root}{split}.txt")
        for key in listed.read().decode().split() if listed else []:
            if split_of.setdefault(key, split) != split:
                raise ShardError(f"{root}{split}.txt: {key} is in {split_of[key]}.txt too")
    if not split_of:
        raise ShardError(
            f"{root or 'the source'}: train.txt, val.txt and test.txt are missing; they come with HumanML3D"
        )
    made = []
    for key in sorted({*joints, *split_of}):
        base = key.removeprefix("M")
        if base in split_of and key in split_of and split_of[base] != split_of[key]:
            raise ShardError(f"{key} is in {split_of[key]}.txt and its original in {split_of[base]}.txt")
        text = by_name.get(f"{root}texts/{key}.txt")
        known = table.facts(key) or Facts()
        try:
            texts = known.texts + (captions(text.read().decode()) if text else ())
        except ValueError as error:
            raise ShardError(f"{root}texts/{key}.txt: {error}") from error
        facts = replace(known, group=base, split=split_of.get(key, ""), texts=texts)
        why = "" if key in split_of else "file that is in no split"
        made.append(
            Recording(key, joints.get(key), facts, why or ("" if key in joints else "file of a split, missing"))
        )
    return made


def captions(text: str) -> tuple[dict, ...]:
    """The captions of a text file of HumanML3D: `caption#words with their kinds#from#to` a line, in seconds.

    0 to 0 (or nan) is the whole clip. ValueError for a line that is none.
    """
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = line.split("#")
        if len(parts) != 4:
            raise ValueError(f"{line[:60]!r} is not caption#words#from#to")
        begin, end = (0.0 if math.isnan(float(part)) else float(part) for part in parts[2:])
        if parts[0].strip():
            whole = begin == end == 0.0
            span = {"start_s": begin, "end_s": None if whole else end}
            found.append({"text": parts[0].strip(), **span, "kind": "description"})
    return tuple(found)


def run(
    source: Path,
    out: Path,
    *,
    dataset: str = "",
    licence: str = "",
    tables: list[Path] | None = None,
    subjects: dict[str, list[str]] | None = None,
    settings: Settings | None = None,
    body_models: Path | None = None,
    limit: int | None = None,
    **how,
) -> dict:
    """Converts AMASS or HumanML3D; `how` goes to `shards.common.convert`. Gives the manifest."""
    settings = settings or Settings()
    if body_models is not None:
        find_models(body_models)
    table = read_tables(tables or [])
    with tempfile.TemporaryDirectory(prefix="smpl_") as cache:
        found = files(source, (".npy", ".npz", ".txt"), Path(cache))
        humanml = any("new_joints/" in f"/{file.name}" for file in found)
        known, body = (HUMANML3D, "") if humanml else (AMASS, _body_words(body_models))
        if humanml:
            if subjects:
                raise ShardError("HumanML3D names no subjects: its splits are the publisher's")
            recordings = plan_humanml(found, table)
        else:
            recordings = plan_amass([f for f in found if f.name.lower().endswith(".npz")], table, subjects or {})
        dataset, licence = dataset or known.title.lower(), licence or known.licence
        arguments = {
            "dataset": dataset,
            "licence": licence,
            "tables": [path.name for path in tables or []],
            "subjects": subjects or {},
            "body_model": body_models is not None,
            "limit": limit,
            **asdict(settings),
        }
        return convert(
            "smpl",
            recordings[:limit],
            partial(samples_of, dataset=dataset, licence=licence, settings=settings, body_models=body_models),
            out,
            card=card(known, licence, settings, [r.facts for r in recordings], "SMPL bodies", body),
            arguments=arguments,
            per_part=PER_PART,
            **how,
        )


def _body_words(body_models: Path | None) -> str:
    if body_models is not None:
        return "Joints are those of the body model, by gender and shape of each clip."
    return (
        "Joints are of one average body of 1.70 m (segment lengths after Drillis and Contini 1966), not of the people: their"
        " angles are exact, lengths and heights over the floor are not, and the pelvis lies where the translation of the"
        " files is, a constant off its true place. With `--body-model` they are exact."
    )


def main() -> None:
    p = parser("smpl", "Shards of motions on SMPL bodies: AMASS or HumanML3D.")
    add_options(p)
    p.add_argument("--body-model", type=Path, help="folder of body models as .npz (SMPL+H, SMPL-X), for AMASS")
    args = p.parse_args()
    if args.source is None:
        p.error("--source: give the folder of AMASS or of HumanML3D")
    with exit_on_fault(p, ValueError):
        run(
            args.source,
            args.out,
            **options_of(args),
            body_models=args.body_model,
            limit=args.limit,
            **how_of(args),
        )


if __name__ == "__main__":
    main()
