"""The optimiser, and its state as whole tensors by parameter name: the same for one process, DDP and every ZeRO stage."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from aura.model import AuraModel
from aura.towers.tower import Tower
from aura.train.recipe import Optimizer
from aura.weights import stream_modules


def make_optimizer(model: AuraModel, config: Optimizer) -> torch.optim.Optimizer:
    """Adam or AdamW over the trained parameters; only matrices decay, never biases, norms or temperatures. Parameters that share
    learning rate and decay are a group, whose `share` is its rate's part of the recipe's: see `set_lr`."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    shares = rates(model, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            share, decay = shares.get(name, (1.0, config.weight_decay))
            groups.setdefault((share, decay if parameter.dim() >= 2 else 0.0), []).append(parameter)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(
        [
            {"params": parameters, "lr": config.lr * share, "weight_decay": decay, "share": share}
            for (share, decay), parameters in sorted(groups.items(), key=lambda item: item[0], reverse=True)
        ],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        amsgrad=config.amsgrad,
    )


def rates(model: AuraModel, config: Optimizer) -> dict[str, tuple[float, float]]:
    """Name of a parameter -> share of the learning rate, and weight decay, of the towers that the recipe names.

    The layers of a tower are `Tower.blocks`, from input to output; what is before them is one layer more, what is after them, the
    projection and the heads learn at the tower's own rate (layer-wise decay: Clark et al., ELECTRA, ICLR 2020).
    """
    found: dict[int, tuple[float, float]] = {}
    for stream, own in config.towers.items():
        share = 1.0 if own.lr is None else own.lr / config.lr
        decay = config.weight_decay if own.weight_decay is None else own.weight_decay
        tower = cast(Tower, model.towers[stream])
        depth = {id(p): i for i, block in enumerate(tower.blocks()) for p in block.parameters()}
        last = {
            id(p) for part in tower.head() for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())
        }
        layers = len(tower.blocks())
        for part in stream_modules(model, stream).values():
            for parameter in part.parameters():
                below = 0 if part is not tower or id(parameter) in last else layers - depth.get(id(parameter), -1)
                found[id(parameter)] = share * own.layer_decay**below, decay
    return {name: found[id(p)] for name, p in model.named_parameters() if id(p) in found}


def set_lr(optimizer: Any, config: Optimizer, factor: float) -> None:
    """Sets the learning rates of all groups to `factor` of the recipe's."""
    for group in optimizer.param_groups:
        group["lr"] = config.lr * group["share"] * factor


def zero_optimizer(optimizer: Any) -> Any | None:
    """DeepSpeed's sharding optimiser behind accelerate's wrapper (ZeRO 1 to 3), or None."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if hasattr(inner, "partition_count") or hasattr(inner, "fp32_partitioned_groups_flat") else None


def state_keys(optimizer: Any) -> list[str]:
    """Names of the state tensors that have a parameter's shape: exp_avg, exp_avg_sq, and max_exp_avg_sq with amsgrad."""
    defaults = getattr(optimizer, "optimizer", optimizer)
    base = getattr(defaults, "optimizer", defaults) if zero_optimizer(optimizer) is not None else defaults
    return ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if base.param_groups[0].get("amsgrad") else [])


def optimizer_state(module: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """`<key>/<parameter name>` -> whole tensor on the host. Every rank calls it: under ZeRO the parts are gathered."""
    keys = state_keys(optimizer)
    out: dict[str, Tensor] = {}
    zero = zero_optimizer(optimizer)
    if zero is not None:
        from deepspeed.utils import safe_get_full_optimizer_state

        _link_zero_state(zero)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                for key in keys:
                    whole: Any = safe_get_full_optimizer_state(parameter, key)
                    out[f"{key}/{name}"] = whole.detach().cpu().clone()
        return out
    state = getattr(optimizer, "optimizer", optimizer).state
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            for key in keys:
                out[f"{key}/{name}"] = state[parameter][key].detach().cpu().clone()
    return out


def load_optimizer_state(module: nn.Module, optimizer: Any, saved: dict[str, Tensor], updates: int) -> None:
    """Sets what `optimizer_state` gave, after `updates` updates. Raises ValueError for a parameter that is missing."""
    keys = state_keys(optimizer)
    wanted = {f"{key}/{n}" for n, p in module.named_parameters() if p.requires_grad for key in keys}
    if wanted != set(saved):
        odd = sorted(wanted ^ set(saved))[:5]
        raise ValueError(f"the optimiser of the checkpoint and of this recipe differ, for instance in {odd}")
    zero = zero_optimizer(optimizer)
    if zero is None:
        state = getattr(optimizer, "optimizer", optimizer).state
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                entry = {key: saved[f"{key}/{name}"].to(parameter.device).clone() for key in keys}
                state[parameter] = {"step": torch.tensor(float(updates)), **entry}
        return
    _create_zero_state(zero, keys, updates)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            for key in keys:
                _set_zero_state(parameter, saved[f"{key}/{name}"], key)


def _create_zero_state(zero: Any, keys: list[str], updates: int) -> None:
    """State tensors of zeros for the flat parts that this rank updates; DeepSpeed makes them only in its first step."""
    flat = zero.fp32_partitioned_groups_flat if hasattr(zero, "fp32_partitioned_groups_flat") else None
    parts = flat if flat is not None else [p for group in zero.optimizer.param_groups for p in group["params"]]
    for part in parts:
        zero.optimizer.state[part] = {
            "step": torch.tensor(float(updates)),
            **{key: torch.zeros_like(part.data) for key in keys},
        }
    _link_zero_state(zero)


def _link_zero_state(zero: Any) -> None:
    """ZeRO 1 and 2: lets every parameter find its state.

    DeepSpeed does so once, in its first update, after the first group of parameters, when the other groups have no state
    yet: theirs would never be found.
    """
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _set_zero_state(parameter: Any, value: Tensor, key: str) -> None:
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    value = value.to(parameter.device)
    if not hasattr(parameter, "ds_id"):
        safe_set_full_optimizer_state(parameter, value, key)
        return
    # ZeRO-3 pads a parameter to equal parts; DeepSpeed's own setter fails where the last part is short or empty.
    size, rank = parameter.ds_tensor.numel(), torch.distributed.get_rank()
    padded = value.new_zeros(size * torch.distributed.get_world_size())
    padded[: value.numel()] = value.flatten()
    safe_set_local_optimizer_state(parameter, padded[size * rank : size * (rank + 1)], key)
