"""AURA-MFM's head on frozen embeddings."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aura.tasks.transfer import transfer
from tests.tasks.test_probe import clusters

NAMES = ["class 0", "class 1", "class 2"]
WORDS = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(3)), dim=-1)


def windows(count, seed, spread=0.4):
    x, labels = clusters(count, seed, spread)
    return torch.tensor(x, dtype=torch.float32), labels


def test_a_head_learns_the_classes_by_their_words():
    found = transfer(*windows(300, 1), *windows(100, 2), WORDS, NAMES, epochs=60, batch=64, lr=3e-3)
    assert found.figures["accuracy"] > 0.95
    assert found.figures["chance/accuracy"] == pytest.approx(1 / 3)
    assert (found.epoch, found.unseen, found.figures["pool"]) == (60, (), 300)
    layers = [module for module in found.head if isinstance(module, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(8, 8), (6, 8)]
    with torch.no_grad():
        logits = found.head(windows(100, 2)[0]) @ WORDS.T
    assert [NAMES[i] for i in logits.argmax(1)] == found.found


def test_the_size_is_that_of_the_release():
    x = torch.zeros(2, 512)
    head = transfer(x, ["a", "b"], x, ["a", "b"], torch.eye(2, 512), ["a", "b"], epochs=1).head
    assert sum(p.numel() for p in head.parameters()) == 525_312


def test_a_step_is_one_of_adamw_with_amsgrad():
    """By hand, from the same start and in the same order; long enough for gradients to fall below earlier ones."""
    x, labels = windows(30, 1)
    found = transfer(x, labels, x, labels, WORDS, NAMES, epochs=60, batch=12, lr=3e-2, seed=7)
    torch.manual_seed(7)
    head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6))
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-2, weight_decay=1e-3, amsgrad=True)
    target = torch.tensor([NAMES.index(name) for name in labels])
    for _ in range(60):
        for rows in torch.randperm(30).split(12):
            optimizer.zero_grad()
            F.cross_entropy(head(x[rows]) @ WORDS.T, target[rows]).backward()
            optimizer.step()
    for mine, theirs in zip(found.head.parameters(), head.parameters()):
        torch.testing.assert_close(mine, theirs)


def test_the_seed_decides_and_nothing_else_is_touched():
    data = (*windows(60, 1), *windows(30, 2), WORDS, NAMES)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        first = transfer(*data, epochs=3, lr=1e-2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    again, other = transfer(*data, epochs=3, lr=1e-2), transfer(*data, epochs=3, lr=1e-2, seed=1)
    weights = [next(iter(found.head.parameters())) for found in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_validation_chooses_the_epoch():
    """Labels of the validation are turned round: what is learned makes it worse, so an early epoch is kept."""
    x, labels = windows(200, 1)
    turned = {"class 0": "class 1", "class 1": "class 2", "class 2": "class 0"}
    wrong = transfer(x, labels, x, labels, WORDS, NAMES, (x, [turned[n] for n in labels]), epochs=30, lr=1e-2)
    right = transfer(x, labels, x, labels, WORDS, NAMES, (x, labels), epochs=30, lr=1e-2)
    assert wrong.epoch < 10
    assert wrong.figures["accuracy"] < right.figures["accuracy"] > 0.9


def test_classes_without_windows_and_other_faults():
    x, labels = windows(30, 1)
    names = [*NAMES, "class 3"]
    words = F.normalize(torch.randn(4, 6), dim=-1)
    assert transfer(x, labels, x, labels, words, names, epochs=1).unseen == ("class 3",)
    with pytest.raises(ValueError, match="none of the classes"):
        transfer(x, ["class 9"] * 30, x, labels, WORDS, NAMES)
    with pytest.raises(ValueError, match="0 training and 30 test"):
        transfer(x[:0], [], x, labels, WORDS, NAMES)
    with pytest.raises(ValueError, match="as many labels"):
        transfer(x, labels[:3], x, labels, WORDS, NAMES)
