"""Transfer: a small head on a frozen tower, trained to give the embedding of the class's words."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aura.tasks.scores import classification, label_codes


@dataclass(frozen=True)
class Transfer:
    """A head that was trained.

    found      answers for the test windows
    figures    of `scores.classification`, with baselines, `n` test and `pool` training windows
    epoch      that was kept, from 1
    unseen     classes without a training window: the head knows them by their words alone
    """

    head: nn.Module
    found: list[str]
    figures: dict[str, float]
    epoch: int
    unseen: tuple[str, ...]


def transfer(
    train: Tensor,
    labels: Sequence[str],
    test: Tensor,
    test_labels: Sequence[str],
    classes: Tensor,
    names: Sequence[str],
    validation: tuple[Tensor, Sequence[str]] | None = None,
    epochs: int = 100,
    batch: int = 1024,
    lr: float = 5e-5,
    seed: int = 0,
) -> Transfer:
    """AURA-MFM's transfer (arXiv 2506.03174; released code): two linear layers with ReLU between, as wide as the embedding,
    whose output h gives the logits h . t_k, with t_k the fixed embedding of class k's words; cross-entropy, AdamW with
    amsgrad and decay 1e-3, all windows in random order each epoch.

    train (N, D), test (n, D)    frozen embeddings on one device, used as they are: AURA-MFM's have no unit norm
    classes (C, W)               embeddings of the classes' words, of unit norm, for `names` (C)
    validation                   windows and labels that choose the epoch, by macro-F1, later ones before earlier; they must
                                 not be the test's. None: the last epoch (released code: macro-F1 or, failing that, accuracy)

    Its tower was trained without unit norm; with unit vectors the logits start small, and more epochs or a higher `lr` may
    be due. The same seed on the same device gives the same head. ValueError for labels that are no class, or no windows.
    """
    target = torch.from_numpy(label_codes(labels, names)).to(train.device)
    if epochs < 1 or lr <= 0:
        raise ValueError(f"transfer for {epochs} epochs at a learning rate of {lr:g}: at least one epoch, above 0")
    if not len(labels) or not len(test_labels):
        raise ValueError(f"transfer with {len(labels)} training and {len(test_labels)} test windows: at least 1 each")
    if (len(train), len(test), len(classes)) != (len(labels), len(test_labels), len(names)):
        raise ValueError("transfer: as many labels as windows, and as many names as classes")
    x, words = train.detach().float(), classes.detach().float().to(train.device)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        width = train.shape[1]
        head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, words.shape[1])).to(train.device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=1e-3, amsgrad=True)
        best, kept, epoch = -1.0, head, epochs
        for number in range(1, epochs + 1):
            for rows in torch.randperm(len(x)).to(x.device).split(batch):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(head(x[rows]) @ words.T, target[rows]).backward()
                optimizer.step()
            if validation is not None:
                values, truth = validation
                score = classification(truth, answers(head, values, words, names), names).figures()["macro_f1"]
                if score >= best:
                    best, kept, epoch = score, copy.deepcopy(head), number
    found = answers(kept, test, words, names)
    scores = classification(test_labels, found, names)
    figures = {**scores.figures(), **scores.baselines(), "n": float(len(test)), "pool": float(len(train))}
    return Transfer(kept, found, figures, epoch, tuple(name for name in names if name not in set(labels)))


def answers(head: nn.Module, windows: Tensor, classes: Tensor, names: Sequence[str]) -> list[str]:
    """The class whose words' embedding has the highest product with the head's output, of windows (n, D)."""
    with torch.no_grad():
        return [names[int(i)] for i in (head(windows.float()) @ classes.T).argmax(1)]
