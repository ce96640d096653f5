"""Shows what a folder of shards holds: a table of its splits and streams, and a picture of a sample.

python tools/inspect_shards.py data/utd_mhad                                    the table
python tools/inspect_shards.py data/utd_mhad --out first.png                    and its first sample as a picture
python tools/inspect_shards.py data/utd_mhad --key a01_s1_t1 --out wave.html    all of it as one page
python tools/inspect_shards.py https://host/folder --out first.png              shards behind a URL
python tools/inspect_shards.py "tars/clips-{000..003}.tar" --out first.png      tars without a manifest

The picture has the sample's video, 2D poses, skeletons, signals and texts on one time axis.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from aura import page
from aura.data.files import atomic
from aura.data.index import BadSample, Split, open_folder
from aura.data.manifest import read_manifest
from aura.data.picture import picture
from aura.data.sample import Sample, metadata
from aura.data.storage import Storage, StorageError
from aura.data.writer import MANIFEST, ShardError

SHOWN = 12  # values of a list that are named
RATES = 4

Table = list[list[str]]  # the first row is the head


def describe(splits: Mapping[str, Split]) -> list[Table]:
    """Tables of a folder: its splits; its streams; what it says about them: labels, texts, people, licences."""
    found = [_splits(splits), _streams(splits)]
    rows = [["what", "values", ""]]
    for name in sorted({name for split in splits.values() for name in split.totals["labels"]}):
        counts: Counter[str] = sum((Counter(s.totals["labels"].get(name, {})) for s in splits.values()), Counter())
        rows.append([f"label {name}", str(len(counts)), _some(f"{value} {n}" for value, n in counts.most_common())])
    for name, split in splits.items():
        people = split.totals["subjects"]
        rows.append([f"subjects of {name}", str(len(people)), _some(people)])
    licences = sorted({licence for split in splits.values() for licence in split.totals["licences"]})
    rows.append(["licences", str(len(licences)), "; ".join(licences)])
    return [*found, rows]


def _splits(splits: Mapping[str, Split]) -> Table:
    rows = [["split", "samples", "hours", "subjects", "sessions", "groups", "shards", "MB", "keys"]]
    for name, split in splits.items():
        about = split.totals
        keys = [split.entry(i)["key"] for i in sorted({0, len(split) - 1}) if len(split)]
        size = sum(shard.bytes for shard in split.shards) / 1e6
        counts = [len(about["subjects"]), about["sessions"], about["groups"], len(split.shards)]
        row = [name, f"{about['samples']:,}", f"{about['seconds'] / 3600:.3g}", *map(str, counts)]
        rows.append([*row, f"{size:,.4g}", " to ".join(keys)])
    return rows


def _streams(splits: Mapping[str, Split]) -> Table:
    rows = [["stream", "samples", "hours", "Hz", "of"]]
    for name in sorted({name for split in splits.values() for name in split.totals["streams"]}):
        here = {key: split.totals["streams"][name] for key, split in splits.items() if name in split.totals["streams"]}
        samples = ", ".join(f"{key} {about['samples']:,}" for key, about in here.items())
        seconds = sum(about.get("seconds", 0.0) for about in here.values())
        rates: Counter[str] = sum((Counter(about.get("rates_hz", {})) for about in here.values()), Counter())
        facts = []
        for fact in ("placements", "skeletons", "towers", "kinds"):
            counts: Counter[str] = sum((Counter(about.get(fact, {})) for about in here.values()), Counter())
            facts += [f"{value} {count:,}" for value, count in counts.most_common()]
        rows.append([name, samples, f"{seconds / 3600:.3g}" if seconds else "", _rates(rates), ", ".join(facts)])
    return rows


def _rates(counts: Mapping[str, int]) -> str:
    values = sorted(map(float, counts))
    if len(values) > RATES:
        return f"{values[0]:.4g} to {values[-1]:.4g}"
    return ", ".join(f"{value:.6g}" for value in values)


def _some(values: Iterable[str]) -> str:
    values = list(values)
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(values[:SHOWN]) + more


def describe_sample(sample: Sample) -> list[Table]:
    """Tables of a sample: its streams, its texts."""
    rows = [["stream of the sample", "array", "Hz", "from s", "to s", "of"]]
    for name, entry in sample.streams.items():
        value = sample.arrays.get(name)
        size = f"{len(value):,} bytes" if isinstance(value, bytes) else str(getattr(value, "shape", "absent"))
        about = [_sensor(sensor) for sensor in entry.get("sensors", [])]
        if "channels" in entry and isinstance(value, np.ndarray):
            about += [_channel(channel, column) for channel, column in zip(entry["channels"], value.T)]
        if "skeleton" in entry:
            about.append(entry["skeleton"] if isinstance(entry["skeleton"], str) else "skeleton in place")
        if "camera" in entry:
            about.append(", ".join(f"{k} {v:.5g}" for k, v in entry["camera"].items() if isinstance(v, int | float)))
        if "tower" in entry:
            about.append(f"tower {entry['tower']}")
        span = ["", "", ""]
        if "rate_hz" in entry:
            end = entry["start_s"] + (entry["length"] - 1) / entry["rate_hz"]
            span = [f"{entry['rate_hz']:.6g}", f"{entry['start_s']:.4g}", f"{end:.4g}"]
        rows.append([name, size, *span, "; ".join(about)])
    texts = [["text of the sample", "kind", "from s", "to s"]]
    texts += [[t["text"], t["kind"], f"{t['start_s']:.4g}", f"{t['end_s']:.4g}"] for t in sample.texts]
    return [rows, texts] if len(texts) > 1 else [rows]


def _channel(name: str, values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return f"{name} (missing)"
    return f"{name} (mean {known.mean():.4g}, std {known.std():.3g}, {1 - len(known) / len(values):.0%} missing)"


def _sensor(sensor: Mapping) -> str:
    words = [*sensor["channels"], *(["virtual"] if sensor.get("virtual") else [])]
    return f"{sensor['placement']} ({', '.join(words)})"


def origin(path: str) -> str:
    """What the manifest says about who wrote the folder, and what was left out."""
    storage = Storage(path)
    if path.endswith(".tar") or not storage.exists(MANIFEST):
        return "no manifest: indexed as it is"
    manifest = read_manifest(storage.read(MANIFEST), storage.where(MANIFEST))
    writer = manifest["converter"]
    lines = [f"{manifest['format']}, written by {writer['name']} {writer['version']} {json.dumps(writer['arguments'])}"]
    for reason, about in manifest["dropped"].items():
        seconds = f", {about['seconds']:,.4g} s" if about["seconds"] else ""
        lines.append(f"dropped: {reason}: {about['count']:,}{seconds}")
    return "\n".join(lines)


def find(splits: Mapping[str, Split], key: str | None) -> tuple[str, Sample]:
    """The split and the sample of a key; without one the first. ShardError where there is none."""
    for name, split in splits.items():
        for i, entry in enumerate(split.entries()):
            if key in (None, entry["key"]):
                return name, split.sample(i)
    some = _some(entry["key"] for split in splits.values() for entry in split.entries())
    raise ShardError(f"there is no sample {key!r}; there are {some or 'none at all'}")


def text_of(table: Table) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def page_of(title: str, about: str, tables: list[Table], sample: Sample, image: bytes) -> str:
    """One page of HTML that needs no other file: of the folder, then of the sample."""
    head = json.dumps(metadata(sample), indent=1, ensure_ascii=False)
    return page.page(
        title,
        [
            page.preformatted(about),
            *(page.table(table) for table in tables[:3]),
            page.heading(sample.id),
            page.picture(image, f"the sample {sample.id}"),
            *(page.table(table) for table in tables[3:]),
            page.details(f"{sample.id}.json", page.preformatted(head)),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", help="folder, URL, tar, or a pattern of tars with braces")
    parser.add_argument("--key", help="the sample to show (default: the first)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where its picture goes: .png, or .html with the tables"
    )
    options = parser.parse_args(arguments)
    if options.out is not None and options.out.suffix not in (".png", ".html"):
        parser.error(f"--out {options.out}: give a name that ends in .png or .html")
    try:
        splits = open_folder(options.shards)
        words, tables = origin(options.shards), describe(splits)
        print("\n\n".join([f"{options.shards}: {words}", *map(text_of, tables)]))
        if options.out is None and options.key is None:
            return 0
        split, sample = find(splits, options.key)
        more = describe_sample(sample)
        print("\n" + "\n\n".join([f"{sample.id} of {split}", *map(text_of, more)]))
        if options.out is not None:
            image = io.BytesIO()
            picture(sample).savefig(image, format="png", dpi=110)
            made = image.getvalue()
            if options.out.suffix == ".html":
                made = page_of(options.shards, words, [*tables, *more], sample, made).encode()
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with atomic(options.out) as file:
                file.write(made)
            print(f"\nwrote {options.out}")
    except (ShardError, StorageError, BadSample, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
