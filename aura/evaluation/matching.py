"""Tasks that find what belongs together: windows of two streams, offsets of recordings, people and body parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch

from aura import page
from aura.data.order import even_subset
from aura.data.reader import EvalReader
from aura.evaluation.examples import examples_figure
from aura.evaluation.result import Result, Windows
from aura.evaluation.windows import EvaluationError, Request, embed, inputs_of, make_reader, streams_there
from aura.objectives.config import has_text, streams_of
from aura.tasks.evaluate import Embedded, keys_of, pair_ranks, people_of, spaces_of
from aura.tasks.localize import Scene, localization
from aura.tasks.pieces import Cutting, draw_pieces, sync_on
from aura.tasks.placing import body_scenes, fine_of, people_scenes
from aura.tasks.scores import mean_intervals, median_intervals
from aura.tasks.sync import sync_intervals, sync_values
from aura.tasks.tracks import Encoder

QUERIES, ANSWERS = 3, 3  # of the examples of a pair


def retrieval(request: Request, sensors: Sequence[int] = ()) -> Result:
    """Every ordered pair of streams, of the joined streams of the recipe too; of fine pairs by moments and body parts as
    well. Pairs that no loss compared are `emergent`.

    sensors    with so many random sensors of each window, one after another; default: all
    """
    result, objective = Result(), request.loaded.recipe.objective
    trained = {frozenset(name.split(":")) for name in (*objective.pairs, *objective.fine)}
    emergent = []
    for count in sensors or [None]:
        windows = embed(request, sensors=count)
        sides = sorted(side for space, side in windows.sides if space == "pooled")
        for query, gallery in permutations(sides, 2):
            if set(query.split("+")) & set(gallery.split("+")):
                continue  # a stream finds itself
            both = objective.compared.issuperset(streams_of(query) + streams_of(gallery))
            for term, space in spaces_of(objective, query, gallery).items():
                if space == "pooled" and not both:
                    continue  # nothing ever brought these two into one space
                found = pair_ranks(windows, query, gallery, space, objective)
                if found is None:
                    continue
                ranks, rows = found
                name = f"{query}:{gallery}" + (f"/{term}" if term else "")
                if frozenset((query, gallery)) not in trained:
                    name += ", emergent"
                    emergent.append(name)
                if count is not None:
                    name = f"{count} sensors, {name}"
                values, people = ranks.values(), people_of(windows, rows)
                rank = values.pop("rank")
                # Words are nobody's. The gallery stays: intervals are of new people who ask.
                intervals = {} if query == "text" else mean_intervals(values, people)
                if intervals:
                    intervals["median_rank"] = median_intervals({"rank": rank}, people)["rank"]
                result.add(
                    name,
                    ranks.figures() | {"n": float(len(rows))},
                    intervals,
                    Windows(keys_of(windows, rows), people, values),
                )
        if count is None:
            result.parts += shown(make_reader(request), windows, sorted(trained, key=sorted), objective.compared)
    if not result.figures:
        raise EvaluationError("no two streams of the model are in two windows of the shards or more")
    result.facts["emergent"] = emergent
    return result


def shown(reader: EvalReader, windows: Embedded, pairs: Sequence[frozenset[str]], shared: frozenset[str]) -> list[str]:
    """Some queries of the trained pairs of streams that share a space, with their first answers, side by side."""
    parts: list[str] = []
    for pair in pairs:
        streams = sorted(pair)
        if len(streams) != 2 or not shared.issuperset(streams) or has_text(*streams):
            continue
        query, gallery = streams
        both = (windows.present[query] & windows.present[gallery]).nonzero()[:, 0]
        if len(both) < ANSWERS:
            continue
        chosen = both[torch.linspace(0, len(both) - 1, QUERIES).long()].unique()
        scores = windows.sides["pooled", query][chosen] @ windows.sides["pooled", gallery][both].T
        best = both[scores.topk(ANSWERS).indices]
        figure = examples_figure(reader, windows, query, chosen, gallery, best)
        parts.append(
            page.picture(
                figure, f"{query} (left) and the first {gallery} that it finds, by whole windows; framed: its own"
            )
        )
    return [page.heading("Examples"), *parts] if parts else []


def pair_of(request: Request, pair: str | None) -> tuple[str, str]:
    """The two streams that are compared: those given, else the recipe's first fine pair, else its first pair in time."""
    recipe, towers = request.loaded.recipe, request.loaded.model.towers
    plain = [name for name in recipe.objective.pairs if "+" not in name and "text" not in name.split(":")]
    name = pair or next(iter([*recipe.objective.fine, *plain]), None)
    if name is None:
        raise EvaluationError(f"recipe {recipe.name} has no pair of two streams in time: give --pair A:B")
    a, _, b = name.partition(":")
    for stream in (a, b):
        if stream not in towers or stream == "text":
            raise EvaluationError(
                f"--pair {name}: recipe {recipe.name} has no stream {stream!r} in time; it has {', '.join(towers)}"
            )
    there = streams_there(request)
    if not {a, b} <= there:
        raise EvaluationError(f"{a} and {b} are to be compared, and the shards have {', '.join(sorted(there))} alone")
    return a, b


def localize(request: Request, pair: str | None, people: int) -> Result:
    """On which body part each sensor is worn, and who wears the sensors, among `people` where shards have no groups."""
    result, loaded = Result(), request.loaded
    a, b = pair_of(request, pair)
    if {a, b} <= set(loaded.model.fine):
        fine = fine_of(loaded.recipe.objective, a, b)
        for term, scenes in body_scenes(make_reader(request), loaded.model, a, b, fine).items():
            placed(result, f"part, {term}", scenes)
    scenes, kind = people_scenes(embed(request), a, b, loaded.recipe.objective, people)
    for space, found in scenes.items():
        placed(result, f"{kind}, {space}", found)
    if not result.figures:
        raise EvaluationError("; ".join(result.notes))
    result.facts["pair"] = f"{a}:{b}"
    return result


def placed(result: Result, name: str, scenes: Sequence[Scene]) -> None:
    """Adds what was answered for scenes, with intervals over the people whose sensors are placed; where no scene leaves a
    question, a note."""
    if not any(scene.asks for scene in scenes):
        result.notes.append(f"{name}: no scene has two to choose from")
        return
    found = localization(scenes)
    result.add(name, found.figures(), found.intervals(), Windows(found.keys, found.subjects, found.values()))


def encoder_of(request: Request) -> Encoder:
    loaded = request.loaded
    return Encoder(loaded.model, inputs_of(request), loaded.recipe.data.window.seconds)


def sync(request: Request, pair: str | None, cutting: Cutting) -> Result:
    """Offsets of pieces of the samples that are cut apart by known amounts."""
    result = Result()
    a, b = pair_of(request, pair)
    pieces, left_out = [], {}
    for split in request.splits():
        found, reasons = draw_pieces(split, a, b, cutting)
        pieces += found
        left_out |= {f"samples of {split.folder} {reason}": count for reason, count in reasons.items()}
    if not pieces:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are no samples"
        raise EvaluationError(f"no sample gives a piece ({reasons}): take a shorter --piece and --range")
    pieces = [pieces[i] for i in even_subset(len(pieces), request.pool)]
    truth = [piece.offset_s for piece in pieces]
    keys, people = [piece.key for piece in pieces], [piece.subject for piece in pieces]
    for name, synced in sync_on(encoder_of(request), pieces, a, b, cutting).items():
        values = Windows(keys, people, sync_values(synced.found, truth))
        result.add(name, synced.figures, sync_intervals(synced.found, truth, people), values)
    result.facts |= {"pair": f"{a}:{b}", "cutting": vars(cutting), "left_out": left_out}
    return result
