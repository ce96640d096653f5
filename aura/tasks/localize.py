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
from aura.tasks.scores import Interval, classification, label_intervals, mean_intervals


@dataclass(frozen=True)
class Scene:
    """What is placed at once: A sensors (or wearers) on C parts (or bodies).

    similarity   (A, C); rows: the right name of each row; columns: names, of which some may be equal (two sensors on a part)
    keys         (A,) what tells rows apart in any model; subjects (A,) whose sensors they are, "" where unknown
    """

    similarity: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    keys: Sequence[str] = ()
    subjects: Sequence[str] = ()

    @property
    def asks(self) -> bool:
        """One name alone leaves no question."""
        return len(set(self.columns)) > 1


def localization(scenes: Sequence[Scene]) -> Localization:
    """What is answered for all rows of all scenes: the best column of each row (`argmax`), and the best assignment of a
    column to each row alone (`one_to_one`, which is told how often each name occurs). Scenes that ask nothing are left
    out. ValueError where none is left."""
    scenes = [scene for scene in scenes if scene.asks]
    if not scenes:
        raise ValueError("localisation: no scene has two to choose from")
    found = {
        kind: [scene.columns[i] for scene in scenes for i in choose(scene.similarity)]
        for kind, choose in (("argmax", _best), ("one_to_one", _one_to_one))
    }
    truth, keys, subjects = ([x for s in scenes for x in getattr(s, name)] for name in ("rows", "keys", "subjects"))
    return Localization(tuple(scenes), truth, keys, subjects, found)


@dataclass(frozen=True)
class Localization:
    """Answers for n rows of all scenes: `found` by kind of answer; truth, keys and subjects as of `Scene`."""

    scenes: tuple[Scene, ...]
    truth: list[str]
    keys: list[str]
    subjects: list[str]
    found: dict[str, list[str]]

    def figures(self) -> dict[str, float]:
        """`<kind>/accuracy` and `<kind>/macro_f1`, and `chance/...`, what a random name among the scene's gives (of macro-F1
        with the expected counts). `n` rows in `scenes` scenes of `pool` names on average."""
        out = {"n": float(len(self.truth)), "scenes": float(len(self.scenes))}
        out["pool"] = float(np.mean([len(set(scene.columns)) for scene in self.scenes for _ in scene.rows]))
        for kind, found in self.found.items():
            figures = classification(self.truth, found).figures()
            out |= {f"{kind}/{key}": figures[key] for key in ("accuracy", "macro_f1")}
        guesses = [(set(scene.columns), scene.rows) for scene in self.scenes]
        out["chance/accuracy"] = sum(len(rows) / len(names) for names, rows in guesses) / len(self.truth)
        out["chance/macro_f1"] = float(np.mean([_chance_f1(name, guesses) for name in sorted(set(self.truth))]))
        return out

    def values(self) -> dict[str, np.ndarray]:
        """What each row (n,) adds to the accuracies."""
        truth = np.array(self.truth)
        return {f"{kind}/accuracy": (np.array(found) == truth).astype(float) for kind, found in self.found.items()}

    def intervals(self) -> dict[str, Interval]:
        """Intervals of the figures over people: those whose sensors are placed are drawn, the scenes stay as they are. Where
        the names are people themselves, macro-F1 is the mean of the F1 of those who are drawn."""
        out = mean_intervals(self.values(), self.subjects)
        for kind, found in self.found.items():
            if self.truth == self.subjects:
                classes = classification(self.truth, found).per_class()
                people = sorted(set(self.truth))
                f1 = mean_intervals({"macro_f1": np.array([classes[name]["f1"] for name in people])}, people)
            else:
                f1 = label_intervals(self.truth, found, self.subjects)
            out[f"{kind}/macro_f1"] = f1["macro_f1"]
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


def part_scenes(
    similarity: Tensor, part: Tensor, there: Tensor, keys: Sequence[str], subjects: Sequence[str]
) -> list[Scene]:
    """A scene for each window: its sensors on the parts that they are worn on, as far as the body shows these.

    similarity (n, S, P), part (n, S) right part of each sensor (-1: unknown), there (n, S) bool; keys, subjects (n,)
    """
    scenes = []
    windows = zip(similarity.cpu().double().numpy(), part.tolist(), there.tolist(), keys, subjects)
    for scores, parts, seen, key, subject in windows:
        worn = [s for s, p in enumerate(parts) if seen[s] and p >= 0 and np.isfinite(scores[s, p])]
        names = [PARTS[parts[s]] for s in worn]
        columns = [parts[s] for s in worn]
        # A part that is seen at other moments than the sensor is the last choice.
        placed = np.maximum(scores[worn][:, columns], -1e6)
        scenes.append(Scene(placed, names, names, [f"{key}, sensor {s}" for s in worn], [subject] * len(worn)))
    return scenes


def person_scenes(
    similarity: Callable[[list[int]], Tensor],
    groups: Sequence[Sequence[int]],
    names: Sequence[str],
    keys: Sequence[str],
    subjects: Sequence[str],
) -> list[Scene]:
    """A scene for each group of windows (indexes) of several people at one time: whose sensors are on which body.

    similarity(g) gives (P, P) of the sensors of each window in g with the body of each; names (N,) of the people; keys,
    subjects (N,) as of `Scene`
    """
    scenes = []
    for group in groups:
        who, *rest = ([column[i] for i in group] for column in (names, keys, subjects))
        scenes.append(Scene(similarity(list(group)).cpu().double().numpy(), who, who, *rest))
    return scenes


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
