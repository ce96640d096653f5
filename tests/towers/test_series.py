"""The tower for signals over time."""

from dataclasses import replace

import torch

from aura.data.config import SeriesInput
from aura.towers import build_tower
from aura.towers.series import SeriesTransformerConfig
from tests.towers.streams import series_stream
from tests.towers.tiny import SMALL


def tower(mean=(80.0, 80.0), std=(20.0, 20.0)):
    torch.manual_seed(0)
    about = SeriesInput(rate_hz=4, channels=("a 1", "b 1"), mean=mean, std=std)
    return build_tower(SeriesTransformerConfig(**SMALL), about, 5.0)


def test_units_are_taken_out_by_mean_and_std():
    stream = series_stream()
    scaled = replace(stream, values=stream.values * torch.tensor([1.0, 3.0]) + torch.tensor([0.0, 7.0]))
    torch.testing.assert_close(
        tower()(stream).pooled, tower((80.0, 3 * 80.0 + 7), (20.0, 60.0))(scaled).pooled, atol=1e-4, rtol=1e-4
    )


def test_what_is_missing_is_not_read_and_differs_from_the_mean():
    made, stream = tower(), series_stream()
    stream.valid[:, 3, 0] = False
    stream.valid[:, 4:8] = False
    holes = replace(stream, values=torch.where(stream.valid, stream.values, torch.nan))
    out = made(holes)
    torch.testing.assert_close(out.pooled, made(stream).pooled)
    out.pooled.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())
    assert out.mask[0, 0].tolist() == [True, False, True, True, True]  # a token of 1 s without any value
    full = series_stream()
    full.values[:, 3, 0] = 80
    torch.testing.assert_close(
        made(replace(full, valid=torch.ones_like(full.valid))).mask, torch.ones(3, 1, 5, dtype=torch.bool)
    )
    full.valid[:, 3, 0] = False
    assert not torch.allclose(made(full).pooled, made(replace(full, valid=torch.ones_like(full.valid))).pooled)


def test_mean_and_std_are_of_the_recipe_and_not_of_checkpoints():
    assert not {"mean", "std"} & tower().state_dict().keys()
