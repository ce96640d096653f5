import pytest
import torch
from pydantic import TypeAdapter

from aura.towers import TowerConfig, build_tower
from aura.towers.tuning import Last, Lora, Tuning
from tests.towers.tiny import TOWERS

NAMES = list(TOWERS)


def build(name, **settings):
    torch.manual_seed(0)
    config, given, stream = TOWERS[name]
    values = config.model_dump() | settings
    return build_tower(TypeAdapter(TowerConfig).validate_python(values), given, 5.0), stream()


def with_gradient(tower, stream):
    """Names of the parameters that a loss reaches."""
    out = tower(stream)
    if out.pooled.requires_grad:
        # Fixed random weights: a sum over the features of a LayerNorm would have no gradient.
        weights = torch.randn(out.pooled.shape, generator=torch.Generator().manual_seed(1))
        (out.pooled * weights).sum().backward()
    return {name for name, p in tower.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tuning", ["full", "frozen", {"kind": "last", "layers": 1}, {"kind": "lora", "rank": 2}])
def test_exactly_the_trained_parameters_get_gradients(name, tuning):
    if tuning == {"kind": "lora", "rank": 2} and name in ("mw2", "mocap_rnn"):
        pytest.skip("convolutions and a GRU have no linear layers to adapt")
    tower, stream = build(name, tuning=tuning)
    trained = {n for n, p in tower.named_parameters() if p.requires_grad}
    assert with_gradient(tower, stream) == trained
    assert bool(trained) == (tuning != "frozen")
    if tuning == "full":
        assert trained == {n for n, _ in tower.named_parameters()} - {"mask_patch.weight"}


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_tower_stays_in_evaluation_mode(name):
    tower, _ = build(name, tuning="frozen")
    wrapped = torch.nn.ModuleList([tower])
    wrapped.train()
    assert not any(module.training for module in tower.modules())
    assert wrapped.training


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_changes_no_gradient(name):
    plain, stream = build(name)
    saving, _ = build(name, checkpointing=True)
    assert with_gradient(plain, stream) == with_gradient(saving, stream)
    for a, b in zip(plain.parameters(), saving.parameters()):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.allclose(a.grad, b.grad, atol=1e-6)


@pytest.mark.parametrize("name", ["imu", "clip_video", "clip_text", "hf_text", "hf_video"])
def test_adapters_start_as_the_tower_and_then_change_it(name):
    plain, stream = build(name)
    adapted, _ = build(name, tuning={"kind": "lora", "rank": 2})
    plain.eval(), adapted.eval()
    assert torch.allclose(plain(stream).pooled, adapted(stream).pooled, atol=1e-6)
    with torch.no_grad():
        for n, p in adapted.named_parameters():
            if "lora_B" in n:
                p.normal_()
    assert not torch.allclose(plain(stream).pooled, adapted(stream).pooled, atol=1e-3)


def test_last_layers_are_counted_from_the_end():
    tower, _ = build("imu", tuning={"kind": "last", "layers": 2})
    layers = [{p.requires_grad for p in block.parameters()} for block in tower.blocks()]
    assert layers == [{False}, {True}, {True}]
    with pytest.raises(ValueError, match="4 asked for, the tower has 3"):
        build("imu", tuning={"kind": "last", "layers": 4})


def test_settings_that_would_train_nothing_are_refused():
    with pytest.raises(ValueError, match="`attn` instead"):
        build("clip_video", tuning={"kind": "lora", "targets": ["out_proj"]})
    with pytest.raises(ValueError, match=r"no such module.*c_fc"):
        build("clip_video", tuning={"kind": "lora", "targets": ["nothing"]})
    with pytest.raises(ValueError, match="tuning: frozen"):
        build("hf_text", tuning={"kind": "last", "layers": 0})


def test_a_name_stands_for_its_defaults():
    adapter = TypeAdapter(Tuning)
    assert adapter.validate_python("last") == Last()
    assert adapter.validate_python("lora") == Lora()


def test_a_tower_for_another_kind_of_stream_is_refused():
    config, _, _ = TOWERS["imu"]
    with pytest.raises(ValueError, match=r"'imu_transformer' reads imu, the stream is mocap; .* motion_transformer"):
        build_tower(config, TOWERS["mocap"][1], 5.0)


@pytest.mark.parametrize("name", NAMES)
def test_output_has_the_promised_shapes(name):
    tower, stream = build(name)
    out, rows = tower(stream), len(stream.present)
    assert out.pooled.shape == (rows, tower.width)
    assert out.tokens.shape[:1] + out.tokens.shape[3:] == (rows, tower.width)
    assert out.mask.shape == out.tokens.shape[:3]
    assert out.mask.dtype == torch.bool
    assert all(p.dim() > 0 for p in tower.parameters())  # DeepSpeed fails on scalars
