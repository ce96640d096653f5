"""What converters share: recordings in, a folder of shards out, in parallel, able to go on after a stop."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aura.data.card import reasons
from aura.data.files import sync_folder
from aura.data.sample import Sample
from aura.data.writer import (
    MANIFEST,
    PARTS,
    SHARD_BYTES,
    Dropped,
    ShardError,
    assemble,
    open_parts,
    part_path,
    write_part,
)
from shards.engines import ENGINES, Run, start

SamplesOf = Callable[[Any], Iterable["tuple[str, Sample] | Dropped"]]


def convert(
    name: str,
    recordings: Sequence[Any],
    samples_of: SamplesOf,
    out: str | Path,
    *,
    workers: int = 1,
    engine: str = "local",
    resume: bool = False,
    skip_failed: bool = False,
    card: str = "",
    arguments: dict | None = None,
    version: str = "1",
    shard_bytes: int = SHARD_BYTES,
    per_part: int = 1,
) -> dict:
    """Converts recordings to a folder of shards and gives its manifest.

    recordings    picklable items, each a string (its id) or with an attribute `id`; the order does not matter
    samples_of    from a recording to its (split, Sample), and `Dropped` for what is left out; a function of a module or
                  a partial of one, since workers run it
    workers       processes, or tasks of Ray at a time (0: as many as the cluster has room for)
    engine        local or ray: see `shards/engines.py`
    arguments     what decides the result, for the manifest: none of workers, engine and resume, and no path of this machine
    version       of the converter: a resumed conversion must have the same name, version and arguments
    per_part      recordings that are written to disk together, by one worker. Each part is flushed to disk four times,
                  some 0.1 s: more than one where recordings are many and small; a constant of the converter

    The bytes of the folder are the same with any engine and number of workers. Where recordings fail, the others are
    converted all the same; then ShardError names those. Finished recordings stay in OUT/.parts, and `resume` goes on from
    them; with `skip_failed` those that fail are left out, and the card says why. A full disk ends all at once.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ShardError(f"{out} is a file: give the folder that is to hold the shards as --out")
    # As JSON gives them back, so that a resumed conversion has the same ones: lists, not tuples.
    job = {"name": name, "version": version, "arguments": json.loads(json.dumps(arguments or {}))}
    ids = [recording_id(recording) for recording in recordings]
    twice = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise ShardError(f"{name}: recordings with the same id: {', '.join(twice[:5])}")
    if resume and (out / MANIFEST).exists():
        shutil.rmtree(out / PARTS, ignore_errors=True)  # left by a stop just before the end
    folder, lock = open_parts(out, job, resume=resume)
    try:
        parts = [list(recordings[i : i + per_part]) for i in range(0, len(ids), per_part)]
        todo = [part for part in parts if not part_path(folder, _part_id(part)).exists()]
        done = len(ids) - sum(map(len, todo))
        wanted = [_part_id(part) for part in parts]
        with start(engine, workers) as run:
            with tqdm(total=len(ids), initial=done, desc=name, unit="recording") as bar:
                faults, held = [], 0
                for place, fault in run(partial(_convert_part, samples_of, folder, skip_failed), todo):
                    faults += [fault] if fault else []
                    held += len(todo[place]) - 1 if fault else 0
                    bar.update(len(todo[place]))
            if faults:
                raise _failed(sorted(faults), held, len(ids))
            _drop_strangers(folder, wanted)
            manifest = assemble(out, job, card=card, shard_bytes=shard_bytes, parallel=partial(_in_order, run))
    finally:
        lock.close()
    print(summary(out, manifest))
    return manifest


def recording_id(recording: Any) -> str:
    """The id of an item of `convert`: itself, or its attribute `id`."""
    found = recording if isinstance(recording, str) else getattr(recording, "id", None)
    if not isinstance(found, str) or not found:
        raise ShardError(f"recording {recording!r} has no id: give a string, or an object with an attribute id")
    return found


def _part_id(part: Sequence[Any]) -> str:
    """What a part is called: its only recording, or all of them."""
    return " ".join(recording_id(recording) for recording in part)


def _in_order(run: Run, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [result for _, result in sorted(run(function, items), key=lambda found: found[0])]


def _convert_part(samples_of: SamplesOf, folder: Path, skip_failed: bool, part: list) -> str:
    """Writes the part; what is wrong with a recording of it, "" if nothing is. OSError for a disk or file at fault."""
    try:
        items = (item for recording in part for item in _items(samples_of, recording, skip_failed))
        write_part(folder, _part_id(part), items)
    except OSError:
        raise  # a full disk or an unreadable file says where itself
    except ShardError as error:
        return str(error)
    except Exception as error:  # a sample that breaks the format
        return f"recording {_part_id(part)!r}: {type(error).__name__}: {error}"
    return ""


def _items(samples_of: SamplesOf, recording: Any, skip_failed: bool) -> Iterator[tuple[str, Sample] | Dropped]:
    try:
        # A recording that is left out leaves no sample behind: all are made before the first is written.
        yield from list(samples_of(recording)) if skip_failed else samples_of(recording)
    except OSError:
        raise
    except Exception as error:
        fault = f"recording {recording_id(recording)!r}: {type(error).__name__}: {error}"
        if not skip_failed:
            raise ShardError(fault) from error
        yield Dropped(f"could not be converted: {fault}")


def _failed(faults: list[str], held: int, count: int) -> ShardError:
    """What is said about recordings that failed, and `held` others, which are written together with them."""
    shown = "\n  ".join(faults[:10]) + (f"\n  and {len(faults) - 10} more" if len(faults) > 10 else "")
    if count == 1:
        return ShardError(faults[0])
    others = f"; {held} that are written together with them are not converted either" if held else ""
    others += "" if len(faults) + held == count else "; the others are converted"
    return ShardError(
        f"{len(faults)} of {count} recordings failed{others}:\n  {shown}\nMend them and go on with --resume,"
        " or leave them out with --resume --skip-failed. If the command or its YAML is what was wrong, delete the output folder"
        " and begin anew"
    )


def _drop_strangers(folder: Path, ids: Sequence[str]) -> None:
    """Removes parts of recordings that this conversion does not have: those of a resumed job with another source."""
    wanted = {part_path(folder, i).name for i in ids} | {"job.json"}
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    sync_folder(folder)


def summary(out: Path, manifest: dict) -> str:
    """A table of what a folder holds."""
    lines = [
        f"{out}: {manifest['name']}",
        f"{'split':8}{'samples':>9}{'hours':>9}{'subjects':>10}{'shards':>8}{'MB':>10}  streams",
    ]
    for name, split in manifest["splits"].items():
        megabytes = sum(shard["bytes"] for shard in split["shards"]) / 1e6
        streams = ", ".join(f"{stream} {total['samples']}" for stream, total in split["streams"].items())
        counts = f"{split['samples']:>9}{split['seconds'] / 3600:>9.3f}{len(split['subjects']):>10}"
        lines.append(f"{name:8}{counts}{len(split['shards']):>8}{megabytes:>10.1f}  {streams}")
    told = [
        f"  {reason}: {count:,}" + (f" ({seconds:.3g} s)" if seconds else "")
        for reason, count, seconds in reasons(manifest["dropped"])
    ]
    lines += ["left out or mended:", *told] if told else []
    return "\n".join(lines)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The command line that all converters share: `python -m shards.NAME --source DIR --out DIR ...`."""
    made = argparse.ArgumentParser(prog=f"python -m shards.{name}", description=description)
    made.add_argument("--source", type=Path, help="the data as its publisher ships it, archives included")
    made.add_argument("--out", type=Path, required=True, help="folder of shards to write")
    made.add_argument("--limit", type=_count, help="convert only the first recordings")
    made.add_argument(
        "--workers",
        type=int,
        help="processes, or tasks of Ray at a time (default: 1; of Ray: as many as there is room for). The result is the"
        " same for any number",
    )
    made.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="local: processes of this machine. ray (pip install ray): tasks of the Ray cluster at RAY_ADDRESS, or of"
        " one that is started here. Workers on other machines need aura, and --source, --out and TMPDIR (where compressed"
        " archives are unpacked) at the same paths, on storage that all share",
    )
    made.add_argument("--resume", action="store_true", help="go on with a conversion that was stopped")
    made.add_argument(
        "--skip-failed", action="store_true", help="leave out recordings that cannot be converted; the card says why"
    )
    return made


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of recordings: give 1 or more")
    return int(text)


def numbers_of(p: argparse.ArgumentParser, option: str, text: str) -> tuple[int, ...]:
    """The numbers of an option such as `--val-subjects 3,7`; ends the command where it has something else."""
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        p.error(f"{option} {text!r}: give numbers such as 3,7")


@contextmanager
def exit_on_fault(p: argparse.ArgumentParser, *kinds: type[Exception]) -> Iterator[None]:
    """Ends the command with the words of a fault: a ShardError, an OSError, or one of `kinds`; Ctrl-C with how to go on."""
    try:
        yield
    except (ShardError, OSError, *kinds) as error:
        p.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        p.exit(130, "stopped; the same command with --resume goes on\n")


def how_of(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `convert` that the options of `parser` give."""
    workers = args.workers if args.workers is not None else 0 if args.engine == "ray" else 1
    return {"workers": workers, "engine": args.engine, "resume": args.resume, "skip_failed": args.skip_failed}
