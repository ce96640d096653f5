"""Every pass visits every sample once, and ranks and workers change nothing."""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aura.data.order
from aura.data.kept import Kept
from aura.data.order import (
    Order,
    OrderError,
    check_ranks,
    even_subset,
    fitting_workers,
    owned_rows,
    passes,
    permutation,
    permuted,
    run_start,
    sample_at,
    visit,
)


def walk(order: Order, rows: int) -> list:
    """The rows of a run, one after another: the order as section 3 of the format words it."""
    counters, out = order.start(), []
    for r in range(rows):
        v, q = r % order.streams, r // order.streams
        source = int(order.source_of(np.array([v]), np.array([q]))[0])
        out.append(order.row(v, source, counters[v][source]))
        counters[v][source] += 1
    return out


def check_passes(sizes, streams, number_of_passes=3):
    for n in sizes:
        for p in range(number_of_passes):
            starts = [run_start(n, streams, v, p) for v in range(streams)] + [n]
            lengths = np.diff(starts)
            expected = [n // streams + ((v - p * (n % streams)) % streams < n % streams) for v in range(streams)]
            assert lengths.tolist() == expected
        seen = Counter()
        for r in range(number_of_passes * n):
            number, position = visit(n, streams, r % streams, r // streams)
            assert number == r // n
            seen[number, position] += 1
        assert set(seen) == set(itertools.product(range(number_of_passes), range(n)))
        assert set(seen.values()) == {1}


@pytest.mark.parametrize("streams", [48, 64])
def test_every_pass_visits_every_position_once(streams):
    check_passes(range(1, 301), streams)


@pytest.mark.slow
@pytest.mark.parametrize("streams", [48, 64])
def test_every_pass_visits_every_position_once_up_to_1000(streams):
    check_passes(range(301, 1001), streams)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 20), st.integers(1, 64), st.integers(0, 5))
def test_pass_is_permutation_of_blocks(samples, block, streams, number):
    order = [sample_at(7, 0, number, samples, i, block, streams) for i in range(samples)]
    assert sorted(order) == list(range(samples))
    if samples >= streams * block:  # samples of a block stay together, in an order of their own
        at = 0
        while at < samples:
            which = order[at] // block
            size = min(block, samples - which * block)
            assert {s // block for s in order[at : at + size]} == {which}
            at += size


def test_passes_and_seeds_differ():
    def one(seed, source, number):
        return tuple(sample_at(seed, source, number, 2000, i, 16, 64) for i in range(2000))

    assert len({one(0, 0, 0), one(0, 0, 1), one(0, 1, 0), one(1, 0, 0)}) == 4


def test_permutation_is_pinned():
    # A saved position means the same rows in every version: these numbers must never change.
    assert permutation(12345, 10).tolist() == PINNED
    assert sorted(permutation(2**64 - 1, 1000).tolist()) == list(range(1000))


BILLION = 1_000_000_005
POSITIONS = [0, 16, 469298415, 469298418, 469298423, 999_999_999]  # the last block, of 5 samples, begins at 469298416
SAMPLES = [438851377, 70884583, 9398822, 1000000003, 420960557, 524074226]
PINNED = [2, 6, 0, 3, 1, 5, 7, 8, 4, 9]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (1, 3), (2, 1), (2, 4), (4, 2), (8, 8)])
def test_ranks_and_workers_partition_the_rows(ranks, workers):
    batch, streams = 48, 64
    for step in range(5):
        parts = [owned_rows(step, batch, streams, g, ranks, w, workers) for g in range(ranks) for w in range(workers)]
        assert sorted(itertools.chain(*parts)) == list(range(step * batch, (step + 1) * batch))
        for rank in range(ranks):
            for w in range(workers):
                rows = parts[rank * workers + w]
                assert all(r % ranks == rank and (r % streams) // ranks % workers == w for r in rows)
    # A stream of order is always read by the same process: nobody else needs its counter.
    owner = {}
    for step in range(7):
        for g, w in itertools.product(range(ranks), range(workers)):
            for r in owned_rows(step, batch, streams, g, ranks, w, workers):
                assert owner.setdefault(r % streams, (g, w)) == (g, w)


def test_rows_that_a_process_owns_have_their_streams_and_sources():
    order, batch = Order(seed=2, sizes=(30, 90), weights=(1.0, 2.0), streams=16), 24
    counters = np.array(order.start())
    for step in range(4):
        sources = order.step_sources(step, batch)
        for g, w in itertools.product(range(2), range(4)):
            rows = owned_rows(step, batch, 16, g, 2, w, 4)
            expected = [(r, r % 16, sources[r - step * batch]) for r in rows]
            assert order.owned(step, batch, g, 2, w, 4) == expected
        order.advance(counters, step, batch)
        assert counters.sum() == (step + 1) * batch
    for v in range(16):  # rows of a stream so far, by source
        q = np.arange(len(range(v, 4 * batch, 16)))
        drawn = order.source_of(np.full(len(q), v), q)
        assert counters[v].tolist() == [np.sum(drawn == 0), np.sum(drawn == 1)]


@pytest.mark.parametrize("count", [101, 128, 4999, 70_000])
def test_parts_of_a_long_order_are_the_order(monkeypatch, count):
    whole = permutation(9, count)
    monkeypatch.setattr(aura.data.order, "WHOLE", 100)
    monkeypatch.setattr(aura.data.order, "CHUNK", 1000)
    monkeypatch.setattr(aura.data.order, "ORDERS", kept := Kept(1 << 20))
    positions = np.random.default_rng(0).permutation(count)[:2000].tolist()
    assert [permuted(9, count, i) for i in positions] == whole[positions].tolist()
    assert max(array.size for array in kept.arrays.values()) <= -(-count // 64)
    for block in (1, 7):
        order = [sample_at(1, 0, 0, 5000, i, block, 8) for i in range(0, 5000, 3)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aura.data.order, "WHOLE", 1 << 20)
            patch.setattr(aura.data.order, "ORDERS", Kept(1 << 20))
            assert order == [sample_at(1, 0, 0, 5000, i, block, 8) for i in range(0, 5000, 3)]


def test_an_order_of_a_billion_samples_is_pinned_and_needs_little_memory(monkeypatch):
    monkeypatch.setattr(aura.data.order, "ORDERS", kept := Kept(1 << 20))
    # As `permutation` of all 62,500,001 blocks gives them, which takes half a minute and 1.3 GB.
    found = [sample_at(3, 0, 1, BILLION, position, 16, 64) for position in POSITIONS]
    assert found == SAMPLES
    assert sum(array.nbytes for array in kept.arrays.values()) < 20_000_000
    tracemalloc.start()
    assert sample_at(3, 0, 1, BILLION, 600_000_000, 16, 64) < BILLION
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_kept_arrays_stay_within_the_bound():
    kept, made = Kept(100), []

    def get(key):
        return kept.get(key, lambda: made.append(key) or np.full(5, key))

    assert [get(key)[0] for key in (0, 1, 0, 2, 0, 1)] == [0, 1, 0, 2, 0, 1]  # 40 bytes each: two fit
    assert made == [0, 1, 2, 1]
    assert kept.get(3, lambda: np.zeros(50)).nbytes == 400  # larger than the bound: alone
    assert list(kept.arrays) == [3]
    assert kept.bytes == 400


def test_one_source_rows_follow_passes():
    order = Order(seed=3, sizes=(70,), weights=(1.0,), streams=64)
    rows = walk(order, 210)
    assert [row.number for row in rows] == [r // 70 for r in range(210)]
    for p in range(3):
        assert sorted(row.sample for row in rows[70 * p : 70 * (p + 1)]) == list(range(70))


def test_mixing_follows_weights_and_each_source_keeps_its_passes():
    order = Order(seed=5, sizes=(40, 300), weights=(1.0, 3.0), streams=16)
    rows = walk(order, 16 * 1000)
    share = np.mean([row.source == 0 for row in rows])
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(rows))
    for source, size in enumerate(order.sizes):
        # Streams drift apart (each draws its own sources), but no stream repeats a position of a pass.
        seen = Counter((row.number, row.sample) for row in rows if row.source == source)
        assert max(seen.values()) == 1
        whole = [p for p in range(5) if sum(1 for (number, _) in seen if number == p) == size]
        assert whole


def test_windows_of_a_visit_follow_each_other():
    order = Order(seed=1, sizes=(100,), weights=(1.0,), streams=4, windows=3)
    own = [row for row in walk(order, 4 * 30) if row.stream == 2]
    for visit_rows in (own[i : i + 3] for i in range(0, 30, 3)):
        assert len({row.sample for row in visit_rows}) == 1
        assert [row.window for row in visit_rows] == [0, 1, 2]
    assert order.after_bad(4) == 6
    assert order.after_bad(6) == 9


def test_refused_numbers_name_some_that_work():
    check_ranks(48, 64, 16)
    with pytest.raises(OrderError, match=r"3 ranks .*1, 2, 4, 8 or 16 ranks work; with 3 ranks, .*=48.*=66"):
        check_ranks(48, 64, 3)
    assert [fitting_workers(64, 2, w) for w in (0, 1, 3, 5, 8, 100)] == [0, 1, 2, 4, 8, 32]


def test_passes_and_subset():
    order = Order(seed=0, sizes=(100, 50), weights=(1.0, 1.0), streams=4, windows=2)
    assert passes(order, 400) == [1.0, 2.0]
    assert list(even_subset(10, 4)) == [0, 2, 5, 7]
    assert list(even_subset(3, None)) == list(even_subset(3, 5)) == [0, 1, 2]
