"""What a training step costs, in closed forms: for `tools/scale.py` and docs/scale.md.

`Work` is counted of a recipe, `Machine` is a class of nodes by named assumptions, `Layout` how a run is laid out on it; `step`
puts them together. Seconds, bytes, FLOPs (a product and a sum are two). An estimate within a factor of two, to find what will
be the bottleneck, no promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from aura.objectives.config import Objective

FLOAT = 4  # bytes of parameters, gradients, embeddings and logits: float32 in every mode
BESIDE = ("read", "launching", "step")  # told of a step beside its parts
ADAM = 8  # of a trained parameter, in its two moments


@dataclass(frozen=True)
class Link:
    """Between ranks: bytes a second that one rank sends while it receives as many, and seconds until the first arrives."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Machine:
    """A class of nodes. What is not in a data sheet is an assumption; the defaults are those of a node of 8 H100 or H200 (SXM).

    node           ranks of a node
    flops          peak of a rank in the precision of the towers, dense (bf16: 989e12 in the data sheet)
    efficiency     share of it that the towers reach. Two public runs of open_clip give 0.11 and 0.12 of A100's over the whole run
                   (ViT-B/32 on 128 of them, ViT-L/14 on 400; docs/scale.md)
    operation_s    seconds until an operation is launched: a pass of few rows takes this for each of its operations
    ahead          operations are launched while others run (a GPU): the longer of both counts. Else (a CPU) they add up
    loss_flops     float32 products of the loss as they are reached (peak without tensor cores 67e12)
    memory         of a rank
    memory_bandwidth
    inside         between the ranks of a node (NVLink 4: 450e9 in the data sheet)
    between        of one rank to other nodes: a network card of 400 Gb/s each, at 0.8 of it
    scatter        the library sums into parts (reduce-scatter); gloo sums everything everywhere instead
    overlap        share of the backward pass behind which the gradients' traffic hides
    copy           bytes a second of putting a batch together and to the device, in the training process
    row_s          of every row of the whole batch, on every rank: counted in the position, 30 to 65 ns measured
    step_s         of every step: Python of the loop, statistics, log
    jitter         standard deviation of a rank's computing over the ranks, as a share: the slowest decides
    storage        bytes a second that a node reads
    open_s         seconds until an opening or request is answered
    slowdown       by how much longer computing and reading take since processes share cores
    """

    name: str = "8 x H100/H200"
    node: int = 8
    flops: float = 989e12
    efficiency: float = 0.15
    operation_s: float = 8e-6
    ahead: bool = True
    loss_flops: float = 35e12
    memory: float = 80e9
    memory_bandwidth: float = 3.3e12
    inside: Link = Link(300e9, 4e-6)
    between: Link = Link(40e9, 12e-6)
    scatter: bool = True
    overlap: float = 0.6
    copy: float = 8e9
    row_s: float = 5e-8
    step_s: float = 5e-3
    jitter: float = 0.03
    storage: float = 5e9
    open_s: float = 2e-3
    slowdown: float = 1.0


GPU_NODE = Machine()
CPU_NODE = (
    Machine(  # one process a core, gloo over the machine's own network; `tools/scale.py --check` measures its own
        name="CPU, a process a core",
        node=64,
        flops=100e9,
        efficiency=0.3,
        operation_s=15e-6,
        ahead=False,
        loss_flops=50e9,
        memory=4e9,
        memory_bandwidth=8e9,
        inside=Link(0.6e9, 300e-6),
        between=Link(0.6e9, 500e-6),
        scatter=False,
        overlap=0.0,
        copy=3e9,
        step_s=10e-3,
        jitter=0.05,
    )
)


@dataclass(frozen=True)
class Work:
    """What a recipe asks for, counted.

    trained, frozen    parameters
    forward, backward  FLOPs of the towers for a row
    operations         of a forward and a backward pass, and `again` of a forward pass alone, whatever their rows
    saved, kept        bytes that a forward pass keeps for the backward pass: of a row, and of a pass
    objective, width   the pairs that are contrasted, of embeddings of this width. Fine pairs are not counted
    row_bytes          of a row in the batch
    read_bytes, read_s, openings    of a row: bytes read, CPU seconds of a reading process, files opened
    """

    trained: int
    frozen: int
    forward: float
    backward: float
    operations: float
    again: float
    saved: float
    kept: float
    objective: Objective
    width: int
    row_bytes: float
    read_bytes: float
    read_s: float
    openings: float


@dataclass(frozen=True)
class Layout:
    """ranks, batch (rows over all ranks), chunk (rows of a forward pass; None: all of a rank's), stage (of ZeRO; 0 is DDP),
    workers (reading processes of a rank; 0: the training process reads)."""

    ranks: int
    batch: int
    chunk: int | None = None
    stage: int = 0
    workers: int = 8

    @property
    def rows(self) -> float:
        """Of a rank in a step."""
        return self.batch / self.ranks

    @property
    def chunks(self) -> int:
        return math.ceil(self.rows / min(self.chunk or self.rows, self.rows))


def all_gather(size: float, ranks: int, machine: Machine) -> float:
    """Seconds until every rank has all of `size` bytes, of which it had its share: a ring. A reduce-scatter takes as long.

    Rings of several ranks leave a node side by side, each by its own network card.
    """
    local = min(ranks, machine.node)
    nodes = math.ceil(ranks / machine.node)
    bandwidth = machine.inside.bandwidth
    if nodes > 1:
        bandwidth = min(bandwidth, local * machine.between.bandwidth)
    latency = (local - 1) * machine.inside.latency + (nodes - 1) * machine.between.latency
    return (ranks - 1) / ranks * size / bandwidth + latency


def all_reduce(size: float, ranks: int, machine: Machine) -> float:
    """Seconds until every rank has the sum of `size` bytes: the traffic of a ring, the latency of trees over the nodes."""
    local = min(ranks, machine.node)
    nodes = math.ceil(ranks / machine.node)
    traffic = 2 * (all_gather(size, ranks, machine) - all_gather(0, ranks, machine))
    return traffic + 2 * ((local - 1) * machine.inside.latency + math.ceil(math.log2(nodes)) * machine.between.latency)


def gathered_columns(objective: Objective) -> int:
    """Embeddings that the pairs of an objective gather, each once: losses in tiles, and sigmoid losses, one side of a pair."""
    one_sided = objective.lean or objective.loss == "sigmoid"
    sides: set[tuple[str, str]] = set()
    for name, pair in objective.pairs.items():
        a, b = name.split(":")
        sides |= {(b, pair.space)} if one_sided else {(a, pair.space), (b, pair.space)}
    return len(sides)


def loss_flops(objective: Objective, width: int, rows: float, batch: int) -> float:
    """Matrix products of the pairs on one rank, forward and backward: (rows, width) by (width, batch) 3 times for the sigmoid
    loss, 6 times for InfoNCE, which has two directions, and 4 times where it is computed in tiles (lean)."""
    products = 3 if objective.loss == "sigmoid" else 4 if objective.lean else 6
    return len(objective.pairs) * products * 2 * rows * batch * width


def tower_flops(work: Work, layout: Layout) -> float:
    """Of a rank in a step: chunks make the forward pass twice (GradCache)."""
    forward = work.forward * (2 if layout.chunks > 1 else 1)
    return layout.rows * (forward + work.backward)


def state_bytes(trained: float, frozen: float, ranks: int) -> dict[str, float]:
    """Weights, gradients and moments of Adam that a rank holds, in DDP and by stage of ZeRO."""
    weights, gradients, moments = FLOAT * (trained + frozen), FLOAT * trained, ADAM * trained
    return {
        "DDP": weights + gradients + moments,
        "ZeRO-1": weights + gradients + moments / ranks,
        "ZeRO-2": weights + (gradients + moments) / ranks,
        "ZeRO-3": (weights + gradients + moments) / ranks,
    }


def gathered_bytes(objective: Objective, width: int, batch: int, ranks: int) -> float:
    """What a rank holds of the whole batch: gathered embeddings with their gradients, and where losses are not in tiles (lean)
    about four copies of the logits of each pair, and of each direction."""
    embeddings = 2 * gathered_columns(objective) * batch * width * FLOAT
    matrices = 1 if objective.loss == "sigmoid" else 2
    logits = 0 if objective.lean else 4 * matrices * len(objective.pairs) * batch / ranks * batch * FLOAT
    return embeddings + logits


def rank_bytes(work: Work, layout: Layout) -> dict[str, float]:
    """Memory of a rank, by what holds it."""
    rows = min(layout.chunk or layout.rows, layout.rows)
    stage = "DDP" if layout.stage == 0 else f"ZeRO-{layout.stage}"
    return {
        "states": state_bytes(work.trained, work.frozen, layout.ranks)[stage],
        "activations": work.kept + work.saved * rows,
        "loss": gathered_bytes(work.objective, work.width, layout.batch, layout.ranks),
        "batch": layout.rows * work.row_bytes,
    }


def gather_traffic(work: Work, layout: Layout, machine: Machine) -> float:
    """Seconds in which the losses of all ranks become one: embeddings and back, and what is short but waited for."""
    ranks = layout.ranks
    if ranks == 1:
        return 0.0
    size = layout.batch * work.width * FLOAT
    back = all_gather if machine.scatter else all_reduce
    embeddings = gathered_columns(work.objective) * (all_gather(size, ranks, machine) + back(size, ranks, machine))
    # Keys of rows, presence, signals; statistics, faults of reading, the hash of the rows.
    short = 3 * all_gather(0, ranks, machine) + 3 * all_reduce(0, ranks, machine)
    lean = work.objective.lean and work.objective.loss == "infonce"
    columns = 2 * len(work.objective.pairs) * all_reduce(FLOAT * layout.batch, ranks, machine) if lean else 0.0
    return embeddings + short + columns


def gradient_traffic(work: Work, layout: Layout, machine: Machine) -> tuple[float, float]:
    """Seconds of a step's traffic of gradients and parameters: that which may hide behind the backward pass, and the rest."""
    ranks, trained = layout.ranks, FLOAT * work.trained
    if ranks == 1:
        return 0.0, 0.0
    scatter = all_gather if machine.scatter else all_reduce
    if layout.stage == 0:
        return all_reduce(trained, ranks, machine), 0.0
    if layout.stage < 3:  # every rank updates its share, and gathers those of the others
        return scatter(trained, ranks, machine), all_gather(trained, ranks, machine)
    passes = layout.chunks * (3 if layout.chunks > 1 else 2)  # each gathers all parameters, forward or backward
    whole = FLOAT * (work.trained + work.frozen)
    return scatter(trained, ranks, machine) + passes * all_gather(whole, ranks, machine), 0.0


def step(work: Work, layout: Layout, machine: Machine) -> dict[str, float]:
    """Seconds of a step by what takes them, which add up to `step`. Told beside them: `read`, what reading takes, of which `wait` is
    not hidden behind the rest, and `launching`, what the launches of the towers' operations take."""
    rows, ranks = layout.rows, layout.ranks
    speed = machine.flops * machine.efficiency
    launched = layout.chunks * work.operations + (layout.chunks * work.again if layout.chunks > 1 else 0)
    arithmetic, launching = tower_flops(work, layout) / speed, launched * machine.operation_s
    towers = max(arithmetic, launching) if machine.ahead else arithmetic + launching
    hidden, open_ = gradient_traffic(work, layout, machine)
    # Gradients travel in the backward pass of the last chunk alone.
    backward = towers * work.backward / max(1.0, work.forward + work.backward) / layout.chunks
    shared = ranks if layout.stage else 1
    computing = {
        "towers": towers,
        "loss": loss_flops(work.objective, work.width, rows, layout.batch) / machine.loss_flops,
        # AdamW and clipping: parameter, gradient and two moments, read and written, about twice.
        "optimizer": 64 * work.trained / shared / machine.memory_bandwidth,
        "handover": rows * work.row_bytes / machine.copy,
        "loop": machine.step_s + machine.row_s * layout.batch,
        "slowest": machine.jitter * towers * math.sqrt(2 * math.log(ranks)),  # the expected maximum of normal deviates
    }
    parts = {name: seconds * machine.slowdown for name, seconds in computing.items()}
    parts["gather"] = gather_traffic(work, layout, machine)
    parts["gradients"] = max(0.0, hidden - machine.overlap * backward * machine.slowdown) + open_
    train = sum(parts.values())
    read = reading(work, layout, machine)
    parts["wait"] = read if layout.workers == 0 else max(0.0, read - train)
    return parts | {"read": read, "launching": launching * machine.slowdown, "step": train + parts["wait"]}


def reading(work: Work, layout: Layout, machine: Machine) -> float:
    """Seconds in which the processes of a rank read its rows of a step, or the storage of a node gives them."""
    process = layout.rows * (work.read_s * machine.slowdown + work.openings * machine.open_s) / max(1, layout.workers)
    storage = layout.rows * min(layout.ranks, machine.node) * work.read_bytes / machine.storage
    return max(process, storage)


def bottleneck(parts: Mapping[str, float]) -> str:
    """What takes most of a step; `wait` is reading, `launches` are towers whose operations are too small for a GPU."""
    most = max((key for key in parts if key not in BESIDE), key=lambda key: parts[key])
    return "launches" if most == "towers" and parts["launching"] >= parts["towers"] else most
