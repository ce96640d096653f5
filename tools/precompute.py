"""Encodes a recipe's frozen video and text towers once, and writes the shards anew with the embeddings added.

python tools/precompute.py data/mine --recipe recipes/mine.yaml --out data/mine_emb
python tools/precompute.py data/mine --recipe recipes/mine.yaml --out data/mine_emb --streams text towers.text.tuning=frozen
python tools/precompute.py data/mine --recipe recipes/mine.yaml --out data/mine_emb --resume      goes on after a stop

Training then reads them: data.sources.0.path=data/mine_emb inputs.video.stored=true inputs.text.stored=true.

A text has a row. A video under an image tower (clip_video) has a row for each frame of the input's grid (grid_hz), under a
clip tower (transformers_video) a row for a window at every --stride seconds: training takes the nearest. All other files
of a sample stay as they are, byte for byte. The same towers and --batch give the same bytes on one kind of device, with
any number of --workers and after any stop.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import io
import json
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from aura.data.batch import Stream
from aura.data.config import Input, Window
from aura.data.cut import Cut, evaluation_cut
from aura.data.files import atomic, pack
from aura.data.index import BadSample, Record, Split, open_folder, open_split
from aura.data.sample import KEY
from aura.data.storage import Storage, StorageError
from aura.data.streams import Options, fit_frame, grid_items, read_video
from aura.data.writer import MANIFEST, Dropped, Part, ShardError, assemble, open_parts, part_path, write_part
from aura.model import AuraModel
from aura.towers import make_tokenizer
from aura.towers.stored import Storable, check_storable, tower_hash
from aura.towers.text import ClipText, HfText
from aura.towers.video import HfVideo
from aura.train.recipe import Recipe, RecipeError, load_recipe

VERSION = "2"
# Samples of one shard: what a stop loses at most, and what a batch is made of. Texts are short, and samples share them.
PART_SAMPLES, TEXT_PART_SAMPLES = 16, 1024

T = TypeVar("T")
R = TypeVar("R")
Rows = list[tuple[Tensor, ...]]


@dataclass(frozen=True)
class Encoder:
    """How the rows of a stream are made.

    load      from a sample to what the tower takes, a tuple of tensors for each row, and what KEY.json says of them; None
              where the sample lacks the stream. Runs in threads
    encode    from these tensors, stacked, to embeddings (n, D)
    """

    stream: str
    tower: str
    load: Callable[[Record], tuple[Rows, dict] | None]
    encode: Callable[..., Tensor]


@dataclass
class Added:
    """What a sample gets: rows (n, D) float16 and the entry of KEY.json, by array; or why it is left out."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    entries: dict[str, dict] = field(default_factory=dict)
    fault: str = ""


def precompute(
    source: str,
    recipe: Recipe,
    out: Path,
    *,
    streams: Sequence[str] = (),
    batch: int = 64,
    workers: int = 2,
    stride_s: float = 0.5,
    resume: bool = False,
) -> dict:
    """Writes into `out` the samples of the folder `source` with embeddings added, and gives the manifest.

    streams   of the recipe, with frozen towers; none named: all of these
    batch     rows (frames, clips, texts) of one forward
    workers   threads that read and decode
    stride_s  seconds between the windows of a clip tower

    A sample that cannot be decoded is left out, named, and counted in the manifest. Raises RecipeError for a tower that is
    not frozen or of no such kind, ShardError for a folder that cannot be read or written as asked.
    """
    encoders = make_encoders(recipe, streams, stride_s)
    splits = [open_split(source, name) for name in open_folder(source)]
    storage = splits[0].shards[0].storage
    before = json.loads(storage.read(MANIFEST)) if storage.exists(MANIFEST) else {}
    job = {
        "name": before.get("name") or Path(source).resolve().name.removesuffix(".tar"),
        "version": VERSION,
        "arguments": {
            "precompute": {encoder.stream: encoder.tower for encoder in encoders},
            "batch": batch,
            "stride_s": stride_s,
            "source": {split.name: split.digest for split in splits},
            "converter": before.get("converter", {}),
        },
    }
    folder, lock = open_parts(out, job, resume=resume)
    try:
        dropped = [Dropped(why, d["seconds"], d["count"]) for why, d in before.get("dropped", {}).items()]
        write_part(folder, "what the source's converter dropped", dropped)
        with (
            tqdm(total=sum(map(len, splits)), desc="precompute", unit="sample") as bar,
            ThreadPoolExecutor(max(1, workers)) as pool,
        ):
            size = TEXT_PART_SAMPLES if all(encoder.stream == "text" for encoder in encoders) else PART_SAMPLES
            for split, numbers in [(one, run) for one in splits for run in runs_of(one, size)]:
                name = f"{split.name} {numbers.start} to {numbers.stop}"
                if part_path(folder, name).exists():
                    bar.update(len(numbers))
                else:
                    write_run(folder, name, split, numbers, encoders, batch, pool, workers, bar)
        return assemble(out, job, card=card(storage, encoders))
    finally:
        lock.close()


def runs_of(split: Split, size: int) -> Iterator[range]:
    """Numbers of the samples of a split, in runs of at most `size` of one shard."""
    start = 0
    for shard in split.shards:
        for i in range(start, start + shard.samples, size):
            yield range(i, min(i + size, start + shard.samples))
        start += shard.samples


def make_encoders(recipe: Recipe, streams: Sequence[str], stride_s: float) -> list[Encoder]:
    """An encoder for each stream named; or, with none named, for each whose tower is frozen and can be stored."""
    unknown = sorted(set(streams) - set(recipe.inputs))
    if unknown:
        raise RecipeError(f"--streams: the recipe has no {', '.join(unknown)}; it has {', '.join(recipe.inputs)}")
    torch.manual_seed(recipe.seed)  # random weights: those that training starts with, as the loop makes them
    window = recipe.data.window
    model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, window.seconds).eval()
    encoders, refused = [], []
    for name in streams or recipe.inputs:
        try:
            tower = check_storable(name, model.towers[name], window)
        except ValueError as error:
            refused.append(str(error))
            continue
        tower = tower.to("cuda" if torch.cuda.is_available() else "cpu")
        encoders.append(make_encoder(name, tower, recipe, stride_s))
    if refused and (streams or not encoders):
        raise RecipeError("cannot store embeddings:\n  " + "\n  ".join(refused))
    return encoders


def make_encoder(name: str, tower: Storable, recipe: Recipe, stride_s: float) -> Encoder:
    settings, window = recipe.inputs[name], recipe.data.window
    if isinstance(tower, ClipText | HfText):
        tokenize = make_tokenizer({name: recipe.towers[name]})
        assert tokenize is not None
        digest = tower_hash(tower, settings, window, tokenize)
        return Encoder(name, digest, lambda record: load_texts(record, tokenize), tower.encode)
    digest = tower_hash(tower, settings, window, None)
    if isinstance(tower, HfVideo):

        def encode(frames: Tensor, valid: Tensor) -> Tensor:
            return tower(Stream(frames, torch.ones_like(valid[:, 0]), valid)).pooled

        return Encoder(name, digest, lambda record: load_clips(record, name, settings, window, stride_s), encode)
    return Encoder(name, digest, lambda record: load_frames(record, name, settings), tower.encode)


def load_texts(record: Record, tokenize: Callable[[list[str]], Tensor]) -> tuple[Rows, dict] | None:
    """The tokens of every text of a sample."""
    texts = [text["text"] for text in record.head["texts"]]
    if not texts:
        return None
    return [(ids,) for ids in tokenize(texts)], {"length": len(texts)}


def load_frames(record: Record, name: str, settings: Any) -> tuple[Rows, dict] | None:
    """Every frame of the grid from which training takes its frames."""
    stream = record.head["streams"].get(name)
    if stream is None:
        return None
    count = grid_items(stream, settings.grid_hz)
    frames = record.frames(name, np.arange(count) / settings.grid_hz, partial(fit_frame, size=settings.size))
    entry = {"rate_hz": float(settings.grid_hz), "start_s": float(stream["start_s"]), "length": count}
    return [(frame,) for frame in torch.from_numpy(frames)], entry


def load_clips(record: Record, name: str, settings: Input, window: Window, stride_s: float) -> tuple[Rows, dict] | None:
    """The frames of windows at every `stride_s`, as training takes them, and which of these are there."""
    cuts = window_cuts(window, float(record.entry["duration_s"]), stride_s)
    read = [read_video(record, cut, Options(name, settings, window.min_cover)) for cut in cuts]
    # A stream has one start and one end, so that the windows it covers follow one another.
    there = [i for i, fields in enumerate(read) if fields is not None]
    if not there:
        return None
    entry = {"rate_hz": 1 / stride_s, "start_s": cuts[there[0]].start_s, "length": len(there)}
    rows = [(torch.from_numpy(f["values"]), torch.from_numpy(f["valid"])) for f in read if f is not None]
    return rows, entry | {"window_s": window.seconds}


def window_cuts(window: Window, duration_s: float, stride_s: float) -> list[Cut]:
    """Windows of a sample so close that each that training can draw has one within half a stride."""
    if window.whole:
        return [evaluation_cut(window, duration_s, 0)]
    count = max(1, math.ceil((duration_s - window.seconds) / stride_s + 0.5 - 1e-6))
    return [Cut(i * stride_s, window.seconds, window.seconds) for i in range(count)]


def write_run(
    folder: Path,
    name: str,
    split: Split,
    numbers: range,
    encoders: list[Encoder],
    batch: int,
    pool: Executor,
    workers: int,
    bar: tqdm,
) -> None:
    """Encodes the samples of a run and writes them as one part, which is whole or absent."""
    added = {i: Added() for i in numbers}
    for encoder in encoders:
        encode_run(encoder, split, added, batch, pool, workers)
    path = part_path(folder, name)
    part = Part(folder, path.stem, name)
    with atomic(path.with_suffix(".tar")) as file:
        for i, found in added.items():
            if found.fault:
                tqdm.write(f"left out: {found.fault}", file=sys.stderr)
                duration = float(split.entry(i)["duration_s"])
                part.dropped.append(Dropped("precompute: the sample cannot be read or decoded", duration))
            else:
                row, blocks = repack(split.record(i), found)
                row["entry"]["offset"] = file.tell()
                part.rows.append({"split": split.name, **row})
                file.write(blocks)
            bar.update()
    part.finish()


def encode_run(
    encoder: Encoder, split: Split, added: dict[int, Added], batch: int, pool: Executor, workers: int
) -> None:
    """Adds a stream's rows to the samples of a run. Batches are of the run alone, so that a stop changes no batch.

    A text that samples share is encoded once.
    """

    def load(i: int) -> tuple[Rows, dict] | BadSample | None:
        try:
            return encoder.load(split.record(i))
        except BadSample as error:
            return error

    array = f"{encoder.stream}.emb"
    waiting: Rows = []
    owners: list[int] = []
    which: list[int] = []  # row of `done` that each row of the owners is
    known: dict[Any, int] = {}  # texts, or rows counted, to their row of `done`
    done: list[np.ndarray] = []
    todo = [i for i, found in added.items() if not found.fault]
    for i, loaded in zip(todo, ahead(pool, load, todo, workers)):
        if isinstance(loaded, BadSample):
            added[i].fault = str(loaded)
        elif loaded is not None:
            rows, entry = loaded
            added[i].entries[array] = entry | {"tower": encoder.tower}
            owners += [i] * len(rows)
            for row in rows:
                content = row[0].numpy().tobytes() if encoder.stream == "text" else len(which)
                if content not in known:
                    known[content] = len(known)
                    waiting.append(row)
                which.append(known[content])
            while len(waiting) >= batch:
                done.append(encode(encoder, waiting[:batch]))
                waiting = waiting[batch:]
    if waiting:
        done.append(encode(encoder, waiting))
    if not done:
        return
    found, owner = np.concatenate(done)[which], np.array(owners)
    for i in dict.fromkeys(owners):
        added[i].arrays[array] = found[owner == i]
        if not np.isfinite(added[i].arrays[array]).all():
            where = split.record(i).where
            raise ShardError(f"{where}: towers.{encoder.stream} gives values that are not finite in float16")


def encode(encoder: Encoder, rows: Rows) -> np.ndarray:
    """Embeddings (n, D) float16 of n rows."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # One thread of arithmetic: several add in an order that changes from run to run, and with it the last bits.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            found = encoder.encode(*(torch.stack(column).to(device) for column in zip(*rows)))
    finally:
        torch.set_num_threads(threads)
    return found.to(torch.float16).cpu().numpy().astype("<f2")


def ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """`map` in order by a pool, with at most `count` results beyond the one in use: they are large."""
    running = deque()
    for item in items:
        running.append(pool.submit(function, item))
        if len(running) > count:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def repack(record: Record, added: Added) -> tuple[dict, bytes]:
    """Index entry and tar blocks of a sample with arrays added; its own files are copied as they are."""
    key = record.entry["key"]
    if KEY.fullmatch(key) is None:
        raise ShardError(f"{record.where}: a key must be of [A-Za-z0-9_-]")
    head = dict(record.head)
    head["streams"] = dict(sorted((head["streams"] | added.entries).items()))
    old = record.entry["members"]
    files = {rest: (record.bytes(rest), about[2:]) for rest, about in old.items() if rest != "json"}
    for name, values in added.arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        files[f"{name}.npy"] = buffer.getvalue(), [values.dtype.str, list(values.shape)]
    content = json.dumps(head, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    blocks, members, digests = pack(key, {"json": (content, []), **dict(sorted(files.items()))})
    changed = {
        "offset": 0,
        "size": len(blocks),
        "streams": sorted(head["streams"]) + (["text"] if head["texts"] else []),
        "members": members,
        "sha256": digests,
    }
    return {"entry": {**record.entry, **changed}, "head": head}, blocks


def card(storage: Storage, encoders: list[Encoder]) -> str:
    """The source's own text, then which embeddings were added."""
    body = ""
    if storage.exists("README.md"):
        text = storage.read("README.md").decode()
        body = text.partition("\n---\n")[2] if text.startswith("---\n") else text
    lines = [body.partition("## What is here")[0].strip(), "", "## Embeddings", ""]
    lines += ["Of frozen towers, stored by `tools/precompute.py`.", "", "| stream | tower (hash) |", "|---|---|"]
    lines += [f"| {encoder.stream} | `{encoder.tower}` |" for encoder in encoders]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", help="folder of shards, local or a URL")
    parser.add_argument("--recipe", type=Path, required=True, help="the recipe that training will use")
    parser.add_argument("--out", type=Path, required=True, help="folder of shards to write")
    parser.add_argument("--streams", nargs="+", default=[], help="default: all whose towers are frozen")
    parser.add_argument("--batch", type=int, default=64, help="frames, clips or texts of one forward (64)")
    parser.add_argument("--workers", type=int, default=2, help="threads that read and decode (2)")
    parser.add_argument("--stride", type=float, default=0.5, help="clip towers: seconds between windows (0.5)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes to the recipe")
    options = parser.parse_intermixed_args(arguments)
    # What follows --streams is read as its values, overrides too.
    overrides = options.overrides + [word for word in options.streams if "=" in word]
    streams = [word for word in options.streams if "=" not in word]
    if options.batch < 1 or options.workers < 1 or options.stride <= 0:
        parser.error("--batch, --workers and --stride must be above 0")
    try:
        manifest = precompute(
            options.shards,
            load_recipe(options.recipe, overrides),
            options.out,
            streams=streams,
            batch=options.batch,
            workers=options.workers,
            stride_s=options.stride,
            resume=options.resume,
        )
    except (RecipeError, ShardError, StorageError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, split in manifest["splits"].items():
        stored = [f"{stream} {t['samples']}" for stream, t in split["streams"].items() if stream.endswith(".emb")]
        print(f"{options.out}: {name}: {split['samples']} samples, embeddings of {', '.join(stored) or 'none'}")
    keys = " ".join(f"inputs.{stream}.stored=true" for stream in manifest["converter"]["arguments"]["precompute"])
    print(f"train from them with data.sources.0.path={options.out} {keys}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
