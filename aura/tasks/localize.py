"""Localisation: which person wears the sensors, and which part of the body each sensor is on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from aura.body.parts import PARTS
from aura.objectives.fine import Tokens, on_parts
from aura.tasks.scores import classification


@dataclass(frozen=True)
class Scene:
    """What is placed at once: A sensors (or wearers) on C parts (or bodies).

    similarity   (A, C); rows: the right name of each row; columns: names, of which some may be equal (two sensors on a part)
    """

    similarity: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]


def localization(scenes: Sequence[Scene]) -> dict[str, float]:
    """Accuracy and macro-F1 over all rows of all scenes: of the best column of each row (`argmax/...`), and of the best
    assignment of a column to each row alone (`one_to_one/...`, which is told how often each name occurs).

    `chance/...` is what a random name among the scene's gives (of macro-F1 with the expected counts). `n` rows in `scenes`
    scenes; those with one name alone leave no question, and are left out. ValueError where none is left.
    """
    scenes = [scene for scene in scenes if len(set(scene.columns)) > 1]
    if not scenes:
        raise ValueError("localisation: no scene has two to choose from")
    truth = [name for scene in scenes for name in scene.rows]
    classes = sorted(set(truth))
    out = {"n": float(len(truth)), "scenes": float(len(scenes))}
    out["pool"] = float(np.mean([len(set(scene.columns)) for scene in scenes for _ in scene.rows]))
    for kind, choose in (("argmax", _best), ("one_to_one", _one_to_one)):
        found = [scene.columns[i] for scene in scenes for i in choose(scene.similarity)]
        figures = classification(truth, found).figures()
        out |= {f"{kind}/{key}": figures[key] for key in ("accuracy", "macro_f1")}
    guesses = [(set(scene.columns), scene.rows) for scene in scenes]
    out["chance/accuracy"] = sum(len(rows) / len(names) for names, rows in guesses) / len(truth)
    out["chance/macro_f1"] = float(np.mean([_chance_f1(name, guesses) for name in classes]))
    return out


def _best(similarity: np.ndarray) -> list[int]:
    return similarity.argmax(1).tolist()


def _one_to_one(similarity: np.ndarray) -> list[int]:
    """The column of each row in the assignment with the highest sum; where there are more rows than columns, the best
    column for those that are left."""
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    found = similarity.argmax(1)
    found[rows] = columns
    return found.tolist()


def _chance_f1(name: str, guesses: Sequence[tuple[set[str], Sequence[str]]]) -> float:
    right = sum(list(rows).count(name) / len(names) for names, rows in guesses if name in names)
    there = sum(list(rows).count(name) for _, rows in guesses)
    guessed = sum(len(rows) / len(names) for names, rows in guesses if name in names)
    return 2 * right / (there + guessed) if there else 0.0


def part_similarity(a: Tokens, b: Tokens) -> Tensor:
    """(n, S, P): mean cosine of each sensor of a with each body part of b, over the moments that both have in one window;
    -inf where there are none."""
    values, count = on_parts(b)
    x = torch.where(a.mask[..., None], a.values, 0.0)
    shared = torch.einsum("nst,npt->nsp", a.mask.to(count.dtype), count)
    cosine = torch.einsum("nstm,nptm->nsp", x, values) / shared.clamp(min=1)
    return torch.where(shared > 0, cosine, -torch.inf)


def local_similarity(a: Tokens, b: Tokens) -> Tensor:
    """(n, S, P): cosine of the whole windows' vectors of each sensor of a and each body part of b; -inf where one lacks."""
    whole = [Tokens(t.local[:, :, None], t.there[..., None], t.local, t.part, t.start) for t in (a, b)]
    return part_similarity(*whole)


def part_scenes(similarity: Tensor, part: Tensor, there: Tensor) -> list[Scene]:
    """A scene for each window: its sensors on the parts that they are worn on, as far as the body shows these.

    similarity (n, S, P), part (n, S) right part of each sensor (-1: unknown), there (n, S) bool
    """
    scenes = []
    for scores, parts, seen in zip(similarity.cpu().double().numpy(), part.tolist(), there.tolist()):
        worn = [s for s, p in enumerate(parts) if seen[s] and p >= 0 and np.isfinite(scores[s, p])]
        names = [PARTS[parts[s]] for s in worn]
        columns = [parts[s] for s in worn]
        # A part that is seen at other moments than the sensor is the last choice.
        scenes.append(Scene(np.maximum(scores[worn][:, columns], -1e6), names, names))
    return scenes


def person_scenes(
    similarity: Callable[[list[int]], Tensor], groups: Sequence[Sequence[int]], names: Sequence[str]
) -> list[Scene]:
    """A scene for each group of windows (indexes) of several people at one time: whose sensors are on which body.

    similarity(g) gives (P, P) of the sensors of each window in g with the body of each; names (N,) of the people
    """
    people = [[names[i] for i in group] for group in groups]
    return [Scene(similarity(list(g)).cpu().double().numpy(), who, who) for g, who in zip(groups, people)]


def groups_of(groups: Sequence[str], start_s: Sequence[float], names: Sequence[str]) -> list[list[int]]:
    """Windows (indexes) of one group that begin at the same second, one of each person."""
    found: dict[tuple[str, float], dict[str, int]] = {}
    for i, (group, start, name) in enumerate(zip(groups, start_s, names)):
        if group:
            found.setdefault((group, round(start, 3)), {}).setdefault(name, i)
    return [list(people.values()) for people in found.values() if len(people) > 1]


def drawn_groups(names: Sequence[str], size: int, seed: int = 0) -> list[list[int]]:
    """Windows (indexes) of `size` different people each, put together at random, every window in one group at most."""
    groups: list[list[int]] = []
    for i in np.random.default_rng(seed).permutation(len(names)).tolist():
        room = (g for g in groups if len(g) < size and names[i] not in {names[j] for j in g})
        group = next(room, None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return [group for group in groups if len(group) == size]
