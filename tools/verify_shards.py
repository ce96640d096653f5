"""Checks a folder of shards: files against manifest and hashes, tars, samples against the format, units.

python tools/verify_shards.py FOLDER             a table of what is wrong; exit code 0 (nothing), 1 (something)
python tools/verify_shards.py FOLDER --repair OUT     writes a new folder of the good samples
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import hashlib
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from aura.data.config import kind_of
from aura.data.files import sha256_of
from aura.data.index import index_name
from aura.data.manifest import read_manifest
from aura.data.sample import KEY, Sample, from_members, metadata, problems
from aura.data.writer import MANIFEST, PARTS, Dropped, ShardError, ShardWriter, totals

REST_NORM = (8.8, 10.8)  # m/s^2: resting specific force, with the errors of cheap sensors
MOST_MISSING = 0.8  # of a channel of a series
MOST_GYRO = 70.0  # rad/s: 4,000 degrees a second, beyond the range of sensors worn by people
MOST_ACC = 700.0  # m/s^2: beyond 70 g
REST_S = 0.5


@dataclass(frozen=True)
class Fault:
    """Something wrong: `check` is what kind, `place` the file or sample."""

    check: str
    place: str
    message: str


@dataclass
class Found:
    """A sample of a tar: `sample` until it is checked, then `head`, the content of its KEY.json; `fault` if it is bad."""

    tar: str
    split: str
    key: str
    sample: Sample | None
    digests: dict[str, str]
    fault: str = ""
    head: dict | None = None


def verify(folder: Path) -> tuple[list[Fault], list[Found], dict]:
    """Everything wrong in a folder, all samples that are there, and the manifest ({} if it cannot be used)."""
    faults: list[Fault] = []
    manifest = _manifest(folder, faults)
    listed = {s["file"]: (name, s) for name, about in manifest.get("splits", {}).items() for s in about["shards"]}
    tars = sorted(path.name for path in folder.glob("*.tar"))
    for name in sorted(listed.keys() - set(tars)):
        faults.append(Fault("manifest", name, "is listed in the manifest and missing"))
    for name in sorted(set(tars) - listed.keys()) if manifest else []:
        faults.append(Fault("manifest", name, "is not listed in the manifest; its samples are not read"))
    found: list[Found] = []
    seen: dict[str, str] = {}
    for name in tqdm(tars, desc="verify", unit="shard", disable=not sys.stderr.isatty()):
        split, about = listed.get(name, (name.partition("-")[0].removesuffix(".tar"), None))
        here = list(read_tar(folder / name, split, faults))
        if about is not None:
            _check_shard(folder, name, about, here, faults)
        elif manifest:
            for one in here:
                one.fault, one.sample = "the manifest does not list its shard", None
            found += here
            continue
        for one in here:
            place = f"{name}: {one.key}"
            if seen.setdefault(one.key, name) != name:
                one.fault = f"this key is in {seen[one.key]} too"
                faults.append(Fault("duplicate", place, one.fault))
            elif one.fault:
                faults.append(Fault("damaged", place, one.fault))
            elif one.sample is not None:
                try:
                    wrong = [Fault(_kind(line), place, line) for line in problems(one.sample)]
                    wrong += [] if wrong else [Fault("units", place, line) for line in unit_problems(one.sample)]
                    one.head = metadata(one.sample)
                except Exception as error:  # of damaged values whatever is done with them first
                    wrong = [Fault("format", place, f"cannot be checked: {type(error).__name__}: {error}")]
                faults += wrong
                one.fault = "; ".join(fault.message for fault in wrong)
            one.sample = None  # a folder may be larger than the memory
        found += here
    if manifest:
        _check_totals(manifest, found, faults)
    return faults, found, manifest


def _manifest(folder: Path, faults: list[Fault]) -> dict:
    path = folder / MANIFEST
    if not path.exists():
        state = f"unfinished: {PARTS} is there, resume its converter" if (folder / PARTS).exists() else "missing"
        faults.append(Fault("manifest", MANIFEST, state))
        return {}
    try:
        return read_manifest(path.read_bytes(), MANIFEST)
    except ShardError as error:
        faults.append(Fault("manifest", MANIFEST, f"cannot be used: {error}"))
        return {}


def read_tar(path: Path, split: str, faults: list[Fault]) -> Iterator[Found]:
    """Samples of a tar, as far as it can be read; interleaved keys and files that are there twice are faults."""
    groups: dict[str, list[tuple[str, bytes]]] = {}
    broken: dict[str, str] = {}
    last = None
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                key = info.name.partition(".")[0]
                if not info.isreg() or not KEY.fullmatch(key) or "." not in info.name:
                    faults.append(Fault("tar", f"{path.name}: {info.name}", "is no file of a sample"))
                    continue
                file = tar.extractfile(info)
                data = file.read() if file else b""
                if len(data) != info.size:
                    raise tarfile.ReadError(f"{info.name} ends after {len(data)} of {info.size} bytes")
                if key != last and key in groups:
                    broken[key] = "its files are not together: others lie between them"
                members = groups.setdefault(key, [])
                if info.name in (name for name, _ in members):
                    broken[key] = f"{info.name} is there twice"
                members.append((info.name, data))
                last = key
            if tar.offset >= path.stat().st_size:
                raise tarfile.ReadError("the end of the archive is missing")
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
        faults.append(Fault("truncated", path.name, f"{error}"))
        if last is not None:
            broken.setdefault(last, f"the tar is truncated in or after this sample: {error}")
    for key, members in groups.items():
        digests = {_stream_of(name): hashlib.sha256(data).hexdigest() for name, data in members}
        sample, fault = None, broken.get(key, "")
        if not fault:
            try:
                if not members[0][0].endswith(f"{key}.json"):
                    raise ValueError(f"{key}.json is not the first of its files")
                sample = from_members(members)
                if sample.id != key:
                    raise ValueError(f"{key}.json has the id {sample.id!r}")
            except (ValueError, TypeError) as error:
                sample, fault = None, str(error)
        yield Found(path.name, split, key, sample, digests, fault)


def _stream_of(name: str) -> str:
    rest = name.partition(".")[2]
    return rest.rpartition(".")[0] or rest


def _check_shard(folder: Path, name: str, about: dict, found: list[Found], faults: list[Fault]) -> None:
    """A shard against the manifest and its index; samples whose bytes have changed are marked."""
    path = folder / name
    size = path.stat().st_size
    if size != about["bytes"]:
        faults.append(Fault("truncated", name, f"has {size} bytes, the manifest says {about['bytes']}"))
    elif sha256_of(path) != about["sha256"]:
        faults.append(Fault("hash", name, "SHA-256 differs from the manifest's"))
    if len(found) != about["samples"]:
        faults.append(Fault("manifest", name, f"has {len(found)} samples, the manifest says {about['samples']}"))
    index = folder / index_name(name)
    try:
        content = index.read_bytes()
        entries = {entry["key"]: entry for entry in json.loads(content)["samples"]}
        hashes = {key: dict(entry.get("sha256", {})) for key, entry in entries.items()}
        if odd := [key for key in entries if not isinstance(key, str)]:
            raise TypeError(f"the key {odd[0]!r} is not a string")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        faults.append(Fault("index", index.name, f"cannot be read: {error}"))
        return
    if hashlib.sha256(content).hexdigest() != about["index_sha256"]:
        faults.append(Fault("index", index.name, "SHA-256 differs from the manifest's"))
    keys = [one.key for one in found]
    for key in sorted(entries.keys() ^ set(keys)):
        where = "in the index and not in the tar" if key in entries else "in the tar and not in the index"
        faults.append(Fault("index", f"{name}: {key}", f"is {where}"))
    for one in found:
        stored = hashes.get(one.key, one.digests)
        changed = sorted(
            stream for stream in stored.keys() | one.digests if stored.get(stream) != one.digests.get(stream)
        )
        if changed and not one.fault:
            one.fault = f"the bytes of {', '.join(changed)} are not those that were written"


def _check_totals(manifest: dict, found: list[Found], faults: list[Fault]) -> None:
    """What the manifest says about each split, against its samples."""
    for name, about in manifest["splits"].items():
        heads = (one.head for one in found if one.split == name and one.head is not None)
        counted = json.loads(json.dumps(totals(heads)))
        for key in counted:
            if about.get(key) != counted[key]:
                faults.append(
                    Fault("manifest", f"split {name}", f"{key}: says {about.get(key)}, the samples give {counted[key]}")
                )


def mixed_splits(found: list[Found]) -> list[str]:
    """Subjects and sessions that more than one split holds: results there are not about unseen people."""
    notes = []
    for what in ("subject", "session"):
        splits: dict[tuple[str, str], set[str]] = {}
        for one in found:
            if one.head is not None and one.head[what]:
                splits.setdefault((one.head["dataset"], one.head[what]), set()).add(one.split)
        mixed = sorted(f"{name} ({', '.join(sorted(there))})" for (_, name), there in splits.items() if len(there) > 1)
        if mixed:
            more = f" and {len(mixed) - 5} more" if len(mixed) > 5 else ""
            notes.append(
                f"{len(mixed)} of {len(splits)} {what}s are in more than one split: {'; '.join(mixed[:5])}{more}"
            )
    return notes


def _kind(line: str) -> str:
    if "finite" in line:
        return "not finite"
    return "rate" if "rate_hz" in line else "format"


def unit_problems(sample: Sample) -> Iterator[str]:
    """Values that no person's motion has in the units of the format."""
    for name, value in sample.arrays.items():
        kind = kind_of(name)
        if not isinstance(value, np.ndarray) or name.endswith(".emb"):
            continue
        if kind == "imu":
            for i, sensor in enumerate(sample.streams[name]["sensors"]):
                place = f"{name}, sensor {i} ({sensor['placement']})"
                yield from _imu_problems(place, value[i], sensor["channels"], sample.streams[name]["rate_hz"])
        elif kind == "mocap":
            size = float(np.median(np.ptp(value, axis=1).max(-1)))
            if not 0.3 < size < 4.0:
                yield f"{name}: the joints span {size:.3g} m, a body 0.3 to 4: not metres?"
        elif kind == "series":
            for channel, column in zip(sample.streams[name]["channels"], value.T):
                known = ~np.isnan(column)
                beside = np.append(known[1:], False) | np.append(False, known[:-1])
                lonely = (known & ~beside).sum() > known.sum() / 2  # one long gap leaves values side by side
                if (missing := 1 - known.mean()) > MOST_MISSING and lonely:
                    yield (
                        f"{name}: {missing:.0%} of {channel} is missing: store it at its own rate, windows need neighbours"
                    )
        elif kind == "pose2d":
            camera = sample.streams[name]["camera"]
            known = value[value[..., 2] > 0]
            sides = np.array([camera["width"], camera["height"]])
            if len(known) and float(np.ptp(known[:, :2], axis=0).max()) < 2 and sides.min() > 8:
                yield f"{name}: all points lie within 2 pixels of {sides[0]} x {sides[1]}: not pixels?"


def _imu_problems(place: str, values: np.ndarray, channels: list[str], rate_hz: float) -> Iterator[str]:
    acc, gyro = values[:, :3], values[:, 3:]
    if "gyro" in channels and (most := float(np.abs(gyro).max())) > MOST_GYRO:
        yield f"{place}: angular velocity reaches {most:.4g}, above {MOST_GYRO:g} rad/s: degrees?"
    if "acc" in channels:
        norm = np.linalg.norm(acc, axis=-1)
        if (most := float(norm.max())) > MOST_ACC:
            yield f"{place}: acceleration reaches {most:.4g}, above {MOST_ACC:g} m/s^2"
        rest = resting_norm(acc, gyro if "gyro" in channels else None, rate_hz)
        if rest is not None and not REST_NORM[0] < rest < REST_NORM[1]:
            unit = "g instead of m/s^2?" if 0.9 < rest < 1.1 else "gravity removed?" if rest < 0.5 else "scale?"
            yield f"{place}: at rest the accelerometer shows {rest:.3g}, not near 9.81: {unit}"


def resting_norm(acc: np.ndarray, gyro: np.ndarray | None, rate_hz: float) -> float | None:
    """Median norm of the accelerometer (T, 3) over moments at rest; None where there is none.

    At rest: over half a second the acceleration varies by less than 2 % of its mean norm (0.05 where that is smaller), and
    the gyroscope shows under 0.1 rad/s.
    """
    count = max(2, round(REST_S * rate_hz))
    if len(acc) < count:
        return None
    pieces = len(acc) // count
    a = acc[: pieces * count].reshape(pieces, count, 3).astype(np.float64)
    norm = np.linalg.norm(a, axis=-1).mean(1)
    still = a.std(1).max(-1) < np.maximum(0.02 * norm, 0.05)
    if gyro is not None:
        g = gyro[: pieces * count].reshape(pieces, count, 3)
        still &= np.abs(g).max((1, 2)) < 0.1
    # A sensor that shows nothing at all is broken or padded: its zeros are no measurement of gravity.
    return float(np.median(norm[still])) if still.any() else None


def repair(folder: Path, out: Path, found: list[Found], manifest: dict) -> int:
    """Writes the good samples into a new folder; gives their number."""
    converter = manifest.get("converter", {"name": folder.resolve().name, "version": "1", "arguments": {}})
    readme = folder / "README.md"
    body = readme.read_text().partition("\n---\n")[2].partition("## What is here")[0] if readme.exists() else ""
    good = {(one.tar, one.key): one.split for one in found if not one.fault}
    with ShardWriter(out, **converter, card=body.strip()) as writer:
        for tar in dict.fromkeys(one.tar for one in found):
            for one in read_tar(folder / tar, "", []):
                if (tar, one.key) in good and one.sample is not None:
                    writer.write(good[tar, one.key], one.sample)
        if len(good) < len(found):
            writer.drop(Dropped("repair: unreadable or against the format", count=len(found) - len(good)))
        for reason, dropped in manifest.get("dropped", {}).items():
            writer.drop(Dropped(reason, dropped["seconds"], dropped["count"]))
    return len(good)


def table(faults: list[Fault], shown: int = 20) -> str:
    """A table of faults by check, with the first of each."""
    if not faults:
        return "nothing is wrong"
    lines = [f"{'check':12} {'count':>6}  first"]
    for check in dict.fromkeys(fault.check for fault in faults):
        same = [fault for fault in faults if fault.check == check]
        lines.append(f"{check:12} {len(same):>6}  {same[0].place}: {same[0].message}")
        lines += [f"{'':20} {fault.place}: {fault.message}" for fault in same[1:shown]]
        if len(same) > shown:
            lines.append(f"{'':20} and {len(same) - shown} more")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repair", type=Path, metavar="OUT", help="write the good samples into this new folder")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    faults, found, manifest = verify(options.folder)
    good = sum(not one.fault for one in found)
    print(table(faults))
    for note in mixed_splits(found):
        print(f"note: {note}")
    print(f"{options.folder}: {good} of {len(found)} samples are good, {len(faults)} faults")
    if options.repair is not None:
        try:
            kept = repair(options.folder, options.repair, found, manifest)
        except ShardError as error:
            print(f"not repaired: {error}")
            return 1
        print(f"{options.repair}: {kept} samples")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
