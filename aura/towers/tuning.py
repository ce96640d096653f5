"""How much of a tower is trained: all of it, nothing, its last layers, or low-rank adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field
from torch import nn

from aura.data.config import Config

if TYPE_CHECKING:
    from aura.towers.tower import Tower


class Full(Config):
    """Every parameter is trained."""

    kind: Literal["full"] = "full"


class Frozen(Config):
    """Nothing is trained; the tower stays in evaluation mode."""

    kind: Literal["frozen"] = "frozen"


class Last(Config):
    """The last layers, and what follows them (final norm, projection)."""

    kind: Literal["last"] = "last"
    layers: int = Field(default=1, ge=0, description="0: only what follows the last layer")


class Lora(Config):
    """Low-rank adapters on the linear layers (Hu et al. 2022), through peft."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, gt=0)
    alpha: int = Field(default=16, gt=0)
    targets: tuple[str, ...] = Field(default=(), description="ends of module names; empty: what suits the tower")


def _from_name(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


# A recipe may write `tuning: frozen` for `tuning: {kind: frozen}`.
Tuning = Annotated[
    Annotated[Full | Frozen | Last | Lora, Field(discriminator="kind")],
    BeforeValidator(_from_name),
]


def apply_tuning(tower: Tower, tuning: Full | Frozen | Last | Lora) -> None:
    """Sets in place which parameters of the tower are trained.

    ValueError where the tower has fewer layers than asked for, or no module that the adapters' targets name.
    """
    tower.requires_grad_(isinstance(tuning, Full))
    tower.frozen = isinstance(tuning, Frozen)
    tower.train(tower.training)
    if isinstance(tuning, Last):
        blocks = tower.blocks()
        if tuning.layers > len(blocks):
            raise ValueError(f"tuning.layers: {tuning.layers} asked for, the tower has {len(blocks)}")
        for part in [*blocks[len(blocks) - tuning.layers :], *tower.head()]:
            part.requires_grad_(True)
        if not any(p.requires_grad for p in tower.parameters()):
            raise ValueError("tuning.layers 0: nothing follows this tower's last layer; write `tuning: frozen`")
    elif isinstance(tuning, Lora):
        _add_adapters(tower, tuning)


def _add_adapters(tower: Tower, tuning: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds: imported by the runs that need it

    targets = list(tuning.targets or tower.lora_targets)
    known = sorted({name.rpartition(".")[2] for name, m in tower.named_modules() if isinstance(m, nn.Linear)})
    if "out_proj" in targets and any(isinstance(m, nn.MultiheadAttention) for m in tower.modules()):
        # nn.MultiheadAttention reads this layer's weight without calling it: an adapter there never gets a gradient.
        raise ValueError("tuning.targets: `out_proj` of a MultiheadAttention cannot be adapted; name `attn` instead")
    config = LoraConfig(r=tuning.rank, lora_alpha=tuning.alpha, target_modules=targets, lora_dropout=0.0)
    try:
        inject_adapter_in_model(config, tower)
    except ValueError as error:
        raise ValueError(f"tuning.targets {targets}: no such module; the tower's linear layers: {known}") from error
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_("lora_" in name)
