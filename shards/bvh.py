"""Shards of any motion capture in BVH files: skeleton, virtual IMUs, 2D poses of virtual cameras, texts.

    python -m shards.bvh --source DIR --out DIR [--texts FILE.csv] [--placements left_wrist,right_thigh]
        [--cameras N|FILE] [--licence TEXT] [--limit N] [--workers N] [--resume]

DIR holds `.bvh` files, or archives of them. `shards/bvh_file.py` says how the format is read, `shards/bvh_names.py` which
joints are known, `shards/mocap_units.py` how unit and axes are told, `shards/mocap.py` how faults are mended.
Splits: by subject where the table of texts names subjects, else by recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.bvh_file import Bvh, kinematics, read_bvh, rest
from shards.bvh_names import match_joints
from shards.common import parser
from shards.mocap import Motion
from shards.mocap_job import (
    CMU_CITATION,
    CMU_LICENCE,
    CMU_SUBJECTS,
    TABLE,
    Job,
    Known,
    Recording,
    convert_files,
    run_command,
)
from shards.mocap_units import Reading, placed

KNOWN = {
    "cmu_bvh": Known(
        "CMU motion capture database (part), as BVH",
        "mocap.cs.cmu.edu, through conversions to BVH",
        CMU_LICENCE,
        CMU_CITATION,
        "The conversions lack the thorax: head, neck and arms are some 12 cm too low. Clips of `seq8` have one generic body"
        " for all subjects. The two partners of the salsa (subjects 60 and 61) are in one split.",
        (TABLE, "exercise6_segments.csv", "../more_mocap/cmu_bvh_trials.csv"),
        together=(("60", "61"),),
        subjects=CMU_SUBJECTS,
    ),
    "more_mocap": Known(
        "CMU motion capture database (22 clips), as BVH",
        "mocap.cs.cmu.edu, through conversions to BVH",
        CMU_LICENCE,
        CMU_CITATION,
        "The conversions lack the thorax: head, neck and arms are some 12 cm too low. Splits agree with those of"
        " `cmu_bvh` and of `shards/amc.py`.",
        subjects=CMU_SUBJECTS,
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


def samples_of(job: Job, recording: Recording) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file; a file that cannot be used is dropped with the reason."""
    try:
        bvh = read_bvh(recording.file.read(), rate_hz=job.reading.fps)
        motion, left_out = motion_of(bvh, job.reading)
    except ValueError as error:
        yield Dropped(f"{recording.file.name}: {error}")
        return
    yield from job.samples(recording, motion, bvh.warnings, left_out)


def motion_of(bvh: Bvh, reading: Reading | None = None) -> tuple[Motion, tuple[str, ...]]:
    """The motion in metres, z up, on a skeleton of the library; and the names of joints that are not in it.

    ValueError where joints, unit or up axis cannot be told.
    """
    reading = reading or Reading()
    matched = match_joints(bvh.names, bvh.paths, bvh.parents, dict(reading.joints) or None)
    poses = kinematics(bvh, matched.joints)
    return placed(matched, bvh.rate_hz, poses, rest(bvh, matched.joints), reading), matched.left_out


def run(source: Path, out: Path, **options) -> dict:
    """Converts a folder or an archive of BVH files; `options` as of `shards.mocap_job.convert_files`. Gives the manifest."""
    return convert_files("bvh", samples_of, (".bvh",), KNOWN, "BVH files", source, out, **options)


def main() -> None:
    p = parser("bvh", "Shards of motion capture in BVH files.")
    p.add_argument("--fps", type=float, help="frames a second, where the files' Frame Time is wrong")
    run_command(p, run, ".bvh")


if __name__ == "__main__":
    main()
