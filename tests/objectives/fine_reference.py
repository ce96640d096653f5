"""The formulas of MoBind's losses, one anchor after another, in plain float64 NumPy. Absent entries are left out by index."""

import numpy as np


def unit(x):
    return x / max(float(np.sqrt((x * x).sum())), 1e-12)


def lse(values):
    top = max(values)
    return top + float(np.log(sum(np.exp(v - top) for v in values)))


def similarity(x, y, kappa):
    return kappa * float(unit(x) @ unit(y))


def both_ways(anchors, kappa):
    """anchors: of each direction a list of (anchor, its partner, candidates); mean over anchors, mean of the two."""
    means = []
    for direction in anchors:
        terms = [
            lse([similarity(x, c, kappa) for c in candidates]) - similarity(x, partner, kappa)
            for x, partner, candidates in direction
        ]
        means.append(sum(terms) / len(terms) if terms else 0.0)
    return sum(means) / 2


def token(i, p, v, kappa):
    """(9.1): i, p (B, S, T, D), v (B, S, T) bool. Candidates: the valid times of the same window and sensor."""
    found = ([], [])
    for b, s, t in np.argwhere(v):
        times = np.flatnonzero(v[b, s])
        found[0].append((i[b, s, t], p[b, s, t], [p[b, s, u] for u in times]))
        found[1].append((p[b, s, t], i[b, s, t], [i[b, s, u] for u in times]))
    return both_ways(found, kappa)


def token_moved(i, p, v, kappa, starts_i, starts_p, reach):
    """(9.1) of windows that begin at starts (B,), drawn from 0 .. reach (B,): a candidate's similarity grows by the logarithm
    of the number of draws that would make it the partner. Rows of reach 0 are left out."""
    means = []
    for x, y, vx, vy, sx, sy in ((i, p, v[0], v[1], starts_i, starts_p), (p, i, v[1], v[0], starts_p, starts_i)):
        terms = []
        for b, s, t in np.argwhere(vx):
            own = t + sx[b] - sy[b]
            if reach[b] == 0 or not 0 <= own < vy.shape[2] or not vy[b, s, own]:
                continue
            draws = [(j, k) for j in range(reach[b] + 1) for k in range(reach[b] + 1)]
            found = {}
            for u in np.flatnonzero(vy[b, s]):
                ways = sum(j - k == u - t for j, k in draws)
                if ways:
                    found[u] = similarity(x[b, s, t], y[b, s, u], kappa) + float(np.log(ways))
            terms.append(lse(list(found.values())) - found[own])
        means.append(sum(terms) / len(terms) if terms else 0.0)
    return sum(means) / 2


def token_batch(i, p, v, kappa):
    """(9.2): candidates of the same sensor over the whole batch."""
    found = ([], [])
    for b, s, t in np.argwhere(v):
        places = np.argwhere(v[:, s])
        found[0].append((i[b, s, t], p[b, s, t], [p[c, s, u] for c, u in places]))
        found[1].append((p[b, s, t], i[b, s, t], [i[c, s, u] for c, u in places]))
    return both_ways(found, kappa)


def locals_of(x, v):
    """Mean of the valid tokens (B, S, D), NaN where there is none; presence (B, S)."""
    out = np.full(x.shape[:2] + x.shape[3:], np.nan)
    for b, s in np.argwhere(v.any(2)):
        out[b, s] = x[b, s, v[b, s]].mean(0)
    return out, v.any(2)


def local(i, p, v, kappa, same_part):
    """(9.3) for `same_part`, sensors with a single window left out; (9.4) else."""
    (x, m), (y, _) = locals_of(i, v), locals_of(p, v)
    found = ([], [])
    for b, s in np.argwhere(m):
        others = [(c, s) for c in np.flatnonzero(m[:, s])] if same_part else [tuple(at) for at in np.argwhere(m)]
        if len(others) < 2:
            continue
        found[0].append((x[b, s], y[b, s], [y[at] for at in others]))
        found[1].append((y[b, s], x[b, s], [x[at] for at in others]))
    return both_ways(found, kappa)


def multi_positive(h, m, body, kappa):
    """(9.7): h (B, S, D), m (B, S) bool, body (B, D)."""
    every = [tuple(at) for at in np.argwhere(m)]
    have = np.flatnonzero(m.any(1))
    forth = [
        lse([similarity(body[b], h[at], kappa) for at in every])
        - lse([similarity(body[b], h[b, s], kappa) for s in np.flatnonzero(m[b])])
        + np.log(m[b].sum())
        for b in have
    ]
    back = [
        lse([similarity(body[c], h[b, s], kappa) for c in have]) - similarity(body[b], h[b, s], kappa) for b, s in every
    ]
    return (sum(forth) / len(forth) + sum(back) / len(back)) / 2


def late(i, p, v, kappa):
    """Windows by the mean cosine of their tokens at the sensors and times that both windows have."""
    count = len(i)
    matrix = np.full((count, count), np.nan)
    for b in range(count):
        for c in range(count):
            shared = np.argwhere(v[b] & v[c])
            if len(shared):
                matrix[b, c] = np.mean([kappa * float(unit(i[b, s, t]) @ unit(p[c, s, t])) for s, t in shared])
    rows = [b for b in range(count) if v[b].any()]
    total = 0.0
    for way in (matrix, matrix.T):
        total += np.mean([lse([way[b, c] for c in rows if not np.isnan(way[b, c])]) - way[b, b] for b in rows])
    return total / 2


def masked(guess, target, hidden):
    """(9.8): mean over the hidden tokens and over D."""
    return float(np.mean([(guess[at] - target[at]) ** 2 for at in map(tuple, np.argwhere(hidden))]))
