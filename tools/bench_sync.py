"""The case of `tools/bench.py` about finding the shift of two long recordings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench_data import Work


def sync_tokens(settings: dict) -> tuple[Any, Any]:
    """Tokens (1, N, 256) of two recordings, which share what is 37 tokens later in the first: 10 minutes of 0.2 s."""
    import torch

    torch.manual_seed(0)
    x, y = torch.nn.functional.normalize(torch.randn(2, 1, settings["tokens"], 256), dim=-1)
    y[:, :-37] = x[:, 37:]
    return x, y


def sync_fft(settings: dict, centre: bool) -> Work:
    """The scores of all lags."""
    import torch

    from aura.tasks.sync import lag_curve

    x, y = sync_tokens(settings)
    seen = torch.ones(x.shape[:-1], dtype=torch.bool)
    lag_curve(
        x[:, :64], y[:, :64], seen[:, :64], seen[:, :64], 0.2, centre
    )  # the first FFT of a process loads its library

    def work() -> float:
        curve = lag_curve(x, y, seen, seen, 0.2, centre)
        overlapping = curve.overlap_s > curve.overlap_s.max() / 2
        assert abs(float(curve.lag_s[torch.where(overlapping, curve.score, -1.0).argmax()]) - 37 * 0.2) < 1e-6
        return 1

    return work


def sync_matrix(settings: dict) -> Work:
    """The whole matrix of similarities, summed over its diagonals."""
    import torch

    x, y = sync_tokens(settings)
    n = settings["tokens"]
    _ = x[0, :64] @ y[0, :64].T

    def work() -> float:
        lag = torch.arange(n)[:, None] - torch.arange(n) + n - 1
        sums = torch.zeros(2 * n - 1).index_add_(0, lag.flatten(), (x[0] @ y[0].T).flatten())
        assert int(sums.argmax()) == n - 1 + 37
        return 1

    return work


VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    "sync": {
        "FFT": lambda s: sync_fft(s, False),
        "FFT, per overlap": lambda s: sync_fft(s, True),
        "matrix": sync_matrix,
    },
}
