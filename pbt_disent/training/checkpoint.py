"""Checkpoints: parameters, buffers, optimiser state and step counter of a member, as bytes.

Equal state gives equal bytes, so a clone that has not moved is one blob. The random streams are no part of it: they
are named by run, generation and member (`pbt_disent.seeds`), so that a clone does not repeat its parent's draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pbt_disent.errors import UserError
from pbt_disent.models.contract import Objective, Optimizers
from pbt_disent.models.latent_model import FORMAT, MODEL_PREFIX, model_header, pack, unpack

__all__ = ["Optimizers", "dump", "restore"]


def dump(objective: Objective, optimizers: Optimizers, step: int) -> bytes:
    """Return the checkpoint of a member.

    Args:
        objective: The member.
        optimizers: Its optimisers, by name.
        step: The number of steps taken in its life, its ancestors' included.
    """
    tensors = {MODEL_PREFIX + key: value for key, value in objective.state_dict().items()}
    scalars: dict[str, float | int] = {}
    names: dict[Tensor, str] = {parameter: key for key, parameter in objective.named_parameters()}
    for kind, optimizer in optimizers.items():
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                name = f"optimizer/{kind}/{key}/{names[parameter]}"
                if isinstance(value, Tensor):
                    tensors[name] = value
                else:
                    scalars[name] = value
    return pack(tensors, {**model_header(objective), "step": step, "scalars": scalars})


def restore(content: bytes, objective: Objective, optimizers: Optimizers) -> int:
    """Copy a checkpoint into a freshly built member, and return its step counter.

    Learning rates and all other options stay those of the given optimisers: they come from the member's own
    hyperparameters, not from its parent's.

    Args:
        content: The bytes of the checkpoint.
        objective: The freshly built member, which is changed in place.
        optimizers: Its optimisers, which are changed in place.

    Raises:
        UserError: The checkpoint is of another objective or format, or has other settings.
    """
    tensors, header = unpack(content, "the checkpoint")
    options = objective.options
    for key, expected in {"format": FORMAT, "objective": options.name, "settings": options.settings}.items():
        if header.get(key) != expected:
            raise UserError(
                f"checkpoint with {key} {header.get(key)}", f"must have {key} {expected}", "start a new run"
            )
    objective.load_state_dict(
        {k.removeprefix(MODEL_PREFIX): t for k, t in tensors.items() if k.startswith(MODEL_PREFIX)}
    )
    parameters = dict(objective.named_parameters())
    for name, value in {**tensors, **header["scalars"]}.items():
        if not name.startswith("optimizer/"):
            continue
        _, kind, key, owner = name.split("/", 3)
        state = optimizers[kind].state[parameters[owner]]
        state[key] = _like(value, parameters[owner]) if isinstance(value, Tensor) else value
    return int(header["step"])


def _like(state: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy of a state tensor, on the parameter's device, and in its memory layout where the shapes agree."""
    if state.shape != parameter.shape:
        return state.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=state.dtype).copy_(state)
