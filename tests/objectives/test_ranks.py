"""The losses on 2 and 4 processes (gloo) against one process."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from aura.objectives import gather as gather_module
from aura.objectives import lean as lean_module
from aura.objectives.contrast import contrast
from aura.objectives.gather import gather, logsumexp_over_ranks
from aura.objectives.rows import Rows, stable_hash
from tests.objectives.references import make_case
from tests.ports import free_port

FORMS = [
    (loss, same, lean) for loss in ("infonce", "sigmoid") for same in (None, "mask", "positive") for lean in (0, 1)
]


def case_with_unequal_ranks(ranks):
    """24 rows; rank 0 has all of its streams, the last rank none."""
    case = make_case(n=24)
    case.both = np.random.default_rng(1).random(24) > 0.4
    case.both[: 24 // ranks] = True
    case.both[-24 // ranks :] = False
    return case


def gradients(case, rank, ranks, form, both=None):
    """This rank's loss, accuracy, and gradients of a shared linear map (a tower) and of the scale."""
    loss, same, lean = form
    torch.manual_seed(0)
    tower, scale = torch.nn.Linear(8, 8).double(), torch.tensor([9.0], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([-2.0], dtype=torch.float64, requires_grad=True)
    share = 24 // ranks
    part = slice(rank * share, (rank + 1) * share)
    a, b = (torch.nn.functional.normalize(tower(torch.tensor(x[part])), dim=-1) for x in (case.a, case.b))
    rows = case.rows(part)
    both = torch.tensor(case.both if both is None else both)[part]
    result = contrast(a, b, both, rows, rows.gather(), scale, bias=bias, loss=loss, same=same, lean=bool(lean))
    result.loss.backward()
    parts = [result.loss.detach(), result.accuracy, tower.weight.grad, tower.bias.grad, scale.grad]
    return parts + ([bias.grad] if loss == "sigmoid" else []), result.count.item()


def start(rank, ranks, port):
    torch.set_num_threads(1)
    lean_module.TILE = (3, 5)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)


def all_forms(rank, ranks, port, queue, broken):
    start(rank, ranks, port)
    if broken:  # what a gather without its backward pass would do
        gather_module._Gather.apply = staticmethod(lambda x: gather_module._gather(x.detach()))
    case = case_with_unequal_ranks(ranks)
    out = {}
    for form in FORMS:
        parts, count = gradients(case, rank, ranks, form)
        for x in parts:
            dist.all_reduce(x)
        out[form] = [x.numpy() for x in parts], count
    # One row of the whole batch has both streams, on one rank: nothing is contrasted, nothing hangs.
    lonely, count = gradients(case, rank, ranks, FORMS[0], np.arange(24) == 1)
    out["lonely"] = [x.numpy() for x in lonely], count
    if rank == 0:
        queue.put(out)
    dist.barrier()
    dist.destroy_process_group()


def gathers(rank, ranks, port, queue, broken):
    start(rank, ranks, port)
    x = torch.full((2, 3), float(rank + 1), requires_grad=True)
    every = gather(x)
    # Rank r weighs row i by (r + 1) * i: the gradient of a row is the sum over ranks.
    (every * torch.arange(2.0 * ranks)[:, None] * (rank + 1)).sum().backward()
    whole = [gather(torch.tensor([rank, 7])), gather(torch.tensor([rank == 1])), gather(x.detach())]
    rows = Rows.of([f"r{rank}", ""], torch.tensor([rank + 0.25, -3.0]), torch.tensor([1.0, 0.1]), ["", "word"]).gather()
    keys = [rows.recording, rows.start_s, rows.span_s, rows.meaning]
    # The second entry overflows without the largest taken out; of the third one rank has nothing.
    parts = torch.tensor([[0.0, 800.0, -torch.inf], [1.0, 801.0, 5.0]])[rank]
    whole += [logsumexp_over_ranks(parts), *keys]
    queue.put((rank, every.detach().numpy(), x.grad.numpy(), [t.numpy() for t in whole]))
    dist.barrier()
    dist.destroy_process_group()


def launch(work, ranks, results=1, broken=False):
    port = free_port()
    queue = mp.get_context("spawn").SimpleQueue()
    context = mp.spawn(work, (ranks, port, queue, broken), nprocs=ranks, join=False)
    found = []
    while len(found) < results:
        if queue.empty():
            context.join(timeout=0.1)
        else:
            found.append(queue.get())
    while not context.join():
        pass
    return found


def worst(found, ranks):
    """Largest difference to one process over all forms, relative to the largest entry."""
    lean_module.TILE, kept = (3, 5), lean_module.TILE
    case = case_with_unequal_ranks(ranks)
    differences = {}
    for form in FORMS:
        expected, count = gradients(case, 0, 1, form)
        parts, found_count = found[form]
        assert found_count == count == case.both.sum()
        differences[form] = max(
            float(np.abs(e.numpy() - x).max() / np.abs(e.numpy()).max().clip(1e-6)) for e, x in zip(expected, parts)
        )
    lean_module.TILE = kept
    return differences


@pytest.mark.parametrize("ranks", [2, 4])
def test_losses_and_gradients_equal_one_process(ranks):
    (found,) = launch(all_forms, ranks)
    assert max(worst(found, ranks).values()) < 1e-6
    parts, count = found["lonely"]
    assert count == 1
    assert all((x == 0).all() for x in (parts[0], *parts[2:]))


def test_without_the_gathers_backward_pass_the_gradients_are_wrong():
    (found,) = launch(all_forms, 2, broken=True)
    assert min(worst(found, 2).values()) > 1e-3


def test_gather():
    found = {rank: rest for rank, *rest in launch(gathers, 2, results=2)}
    for rank, (every, gradient, whole) in found.items():
        assert every[:, 0].tolist() == [1, 1, 2, 2]
        assert gradient[:, 0].tolist() == [3.0 * (2 * rank), 3.0 * (2 * rank + 1)]  # (1 + 2) times the row's weight
        assert whole[0].tolist() == [0, 7, 1, 7]
        assert whole[1].tolist() == [False, True]
        assert whole[2].shape == (4, 3)
        assert whole[3].tolist() == pytest.approx([np.logaddexp(0, 1), np.logaddexp(800, 801), 5])
        recording, start, span, meaning = whole[4:]
        assert recording.tolist() == [stable_hash("r0"), 0, stable_hash("r1"), 0]
        assert start.tolist() == [0.25, -3, 1.25, -3]
        assert span.tolist() == torch.tensor([1.0, 0.1] * 2).double().tolist()
        assert meaning.tolist() == [0, stable_hash("word")] * 2


def test_one_process_gathers_nothing():
    x = torch.randn(3, requires_grad=True)
    assert gather(x) is x
