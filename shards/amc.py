"""Shards of motion capture in Acclaim's ASF and AMC files, such as the CMU database's: skeleton, virtual IMUs, 2D poses, texts.

    python -m shards.amc --source DIR --out DIR [--fps 120] [--texts FILE.csv] [--placements left_wrist,right_thigh]
        [--cameras N|FILE] [--licence TEXT] [--limit N] [--workers N] [--resume]

DIR holds `.amc` files, each in one folder with its skeleton, or archives of them. The skeleton of a file is the `.asf` of
its folder; of several, the one with whose name the file's name begins (`14_04.amc`: `14.asf`). `shards/amc_file.py` says
how the formats are read, `shards/bvh_names.py` which joints are known, `shards/mocap_units.py` how unit and axes are told,
`shards/mocap.py` how faults are mended. Everything behind the files is as in `shards/bvh.py`.

- Rate: it is not in the files. 120 frames a second, as CMU recorded, unless `--fps` says otherwise.
- Splits: by subject where the table of texts names subjects, else by recording; of the CMU database the same subjects as
  in `shards/bvh.py`, so that folders can be pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.amc_file import Amc, Asf, kinematics, read_amc, read_asf, rest
from shards.archives import SourceFile
from shards.bvh_names import match_joints
from shards.common import parser
from shards.mocap import Motion
from shards.mocap_job import CMU_CITATION, CMU_LICENCE, CMU_SUBJECTS, Job, Known, Recording, convert_files, run_command
from shards.mocap_units import Reading, placed

FPS = 120.0
KNOWN = {
    "more_mocap": Known(
        "CMU motion capture database (part), as AMC",
        "mocap.cs.cmu.edu",
        CMU_LICENCE,
        CMU_CITATION,
        "The torso has its thorax, which BVH conversions of the database lack: neck, head and arms lie 12 cm further from"
        " the hips than in those. Objects (steps, ladders, balls) were not captured. Splits agree with those that"
        " `shards/bvh.py` makes of the database; dances of `dance_modern` are in the split test alone.",
        subjects=CMU_SUBJECTS,
    )
}


def samples_of(job: Job, recording: Recording) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one file; a file that cannot be used is dropped with the reason."""
    try:
        asf = read_asf(skeleton_file(recording.file, recording.beside).read())
        amc = read_amc(recording.file.read())
        motion, left_out = motion_of(asf, amc, job.reading)
    except ValueError as error:
        yield Dropped(f"{recording.file.name}: {error}")
        return
    yield from job.samples(recording, motion, amc.warnings, left_out)


def skeleton_file(file: SourceFile, beside: Sequence[SourceFile]) -> SourceFile:
    """The skeleton of a motion, of those in its folder. ValueError where it cannot be told."""
    if len(beside) == 1:
        return beside[0]
    name = _stem(file)
    fitting = [asf for asf in beside if name.startswith(_stem(asf))]
    if not fitting:
        there = ", ".join(asf.name for asf in beside) or "none"
        raise ValueError(f"no .asf file in its folder has a name with which its own begins (there: {there})")
    return max(fitting, key=lambda asf: len(_stem(asf)))


def _stem(file: SourceFile) -> str:
    return file.name.rpartition("/")[2].rpartition(".")[0].lower()


def motion_of(asf: Asf, amc: Amc, reading: Reading | None = None) -> tuple[Motion, tuple[str, ...]]:
    """The motion in metres, z up, on a skeleton of the library; and the names of joints that are not in it.

    ValueError where joints, unit or up axis cannot be told.
    """
    reading = reading or Reading()
    matched = match_joints(asf.names, asf.paths, asf.parents, dict(reading.joints) or None)
    poses = kinematics(asf, amc, matched.joints)
    return placed(matched, reading.fps or FPS, poses, rest(asf, matched.joints), reading), matched.left_out


def run(source: Path, out: Path, **options) -> dict:
    """Converts a folder or an archive of AMC files; `options` as of `shards.mocap_job.convert_files`. Gives the manifest."""
    return convert_files("amc", samples_of, (".amc", ".asf"), KNOWN, "AMC files", source, out, **options)


def main() -> None:
    p = parser("amc", "Shards of motion capture in AMC files with their ASF skeletons.")
    p.add_argument("--fps", type=float, help="frames a second, which the files do not say (120)")
    run_command(p, run, ".amc")


if __name__ == "__main__":
    main()
