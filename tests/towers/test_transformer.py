import pytest
import torch

from aura.towers.stem import Pool, Stem, pad_items, token_mask, token_stride
from aura.towers.transformer import Transformer, masked_mean, rotary_table, rotate


def test_rotary_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 8).unbind()
    table = rotary_table(50, 8, torch.device("cpu"))
    at = lambda x, i: rotate(x.expand(50, 8), table)[i]  # noqa: E731
    assert torch.allclose(at(q, 3) @ at(k, 10), at(q, 33) @ at(k, 40), atol=1e-5)
    assert not torch.allclose(at(q, 3) @ at(k, 10), at(q, 3) @ at(k, 20), atol=1e-3)


def test_what_a_masked_token_holds_changes_nothing():
    torch.manual_seed(0)
    model = Transformer(16, 2, 2)
    x, mask = torch.randn(3, 7, 16), torch.ones(3, 7, dtype=torch.bool)
    mask[0, 5:] = False
    other = torch.where(mask[..., None], x, 100.0)
    assert torch.equal(model(x, mask)[mask], model(other, mask)[mask])
    assert torch.allclose(model(x, mask)[0, :5], model(x[:1, :5])[0], atol=1e-6)


def test_a_row_without_any_token_gives_no_nan():
    model = Transformer(16, 1, 2)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1] = False
    y = model(torch.randn(2, 5, 16), mask)
    masked_mean(y, mask, 1).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert masked_mean(y, mask, 1)[1].eq(0).all()
    assert Pool(16, 2)(y, mask).isfinite().all()


def test_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    model, x = Transformer(16, 2, 2), torch.randn(2, 5, 16)

    def gradients():
        model.zero_grad()
        model(x).square().sum().backward()
        return [p.grad.clone() for p in model.parameters()]

    plain = gradients()
    model.checkpointing = True
    assert all(torch.equal(a, b) for a, b in zip(plain, gradients()))


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="whole, even number"):
        Transformer(20, 1, 3)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7, 8, 10, 20, 40])
@pytest.mark.parametrize("items", [40, 41, 79])
def test_the_stem_gives_one_token_for_each_started_stride(stride, items):
    tokens = -(-items // stride)
    assert Stem(3, 8, stride, 4)(torch.randn(2, 3, items)).shape == (2, tokens, 8)
    assert token_mask(torch.ones(2, items, dtype=torch.bool), stride).shape == (2, tokens)


def test_a_token_with_one_valid_item_is_valid():
    valid = torch.zeros(1, 9, dtype=torch.bool)
    valid[0, 8] = True
    assert token_mask(valid, 4).tolist() == [[False, False, True]]
    assert pad_items(torch.ones(1, 9), 4).tolist() == [[1.0] * 9 + [0.0] * 3]


def test_tokens_of_equal_seconds_are_equally_many_at_every_rate():
    assert {token_stride(0.2, rate, 5.0)[1] for rate in (5, 20, 50, 100, 200)} == {25}
    assert token_stride(0.1, 40, 2.4) == (4, 24)
    with pytest.raises(ValueError, match=r"token_s 0.2 at rate_hz 18.7 is 3.74 items.*0.213904"):
        token_stride(0.2, 18.7, 5.0)
    with pytest.raises(ValueError, match=r"token_s 0.2 at rate_hz 32 is 6.4 items.*such as 0.25 s"):
        token_stride(0.2, 32, 8.0)
    assert token_stride(0.25, 32, 8.0) == (8, 32)
    with pytest.raises(ValueError, match=r"5.1 s is 25.5 tokens"):
        token_stride(0.2, 50, 5.1)
