"""k replicas of one member as one model, by `torch.func`: every parameter carries a leading replica axis.

The objective's own code runs once for all replicas under `torch.vmap`, on the same batch, each replica with its own
noise. Elementwise optimisers need not know of it; the others work on the last two axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pbt_disent.models.contract import Batch, LossTerms, Objective, Optimizers

__all__ = ["Stacked"]


class Stacked(Objective):
    """Replicas that train as one objective: parameters, persistent buffers and losses have a leading axis of k.

    Optimisers are those of one replica, over the stacked parameters.

    Args:
        replicas: of one member, so with the same settings and hyperparameters; left as they are.
    """

    def __init__(self, replicas: Sequence[Objective]) -> None:
        first = replicas[0]
        super().__init__(first.options, first.values, first.image_shape, first.dataset_size)
        self.one = deepcopy(first)
        states = [replica.state_dict() for replica in replicas]
        for name, tensor in self._state().items():
            tensor.data = torch.stack([state[name] for state in states])
        for part in self.one.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                vars(part)["forward"] = _without_cudnn(part.forward)

    def _state(self) -> dict[str, Tensor]:
        """The tensors with a replica axis. Buffers that are no part of a checkpoint are constants, and have none."""
        return dict(self.one.state_dict(keep_vars=True))

    def is_capturable(self, step: int) -> bool:
        """Return what each of them says."""
        return self.one.is_capturable(step)

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return losses and terms (k,) of all replicas; optimisers that shared a loss still do.

        Args:
            batch: seen by every replica.
            step: of the member's life.
            generator: `pbt_disent.models.noise.Generators`, one for each replica.
        """
        owner: dict[str, str] = {}

        def one(state: dict[str, Tensor]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
            parts: dict[str, LossTerms] = functional_call(self.one, state, (batch, step, generator))
            first: dict[int, str] = {}
            owner.update({name: first.setdefault(id(part.loss), name) for name, part in parts.items()})
            return {name: (part.loss, part.terms) for name, part in parts.items()}

        seen = torch.vmap(one)(self._state())
        return {name: LossTerms(seen[owner[name]][0], terms) for name, (_, terms) in seen.items()}

    def optimizers(self) -> Optimizers:
        """Return the member's optimisers over the stacked parameters."""
        return self.one.optimizers()

    def gather(self, own: Optimizers, replicas: Sequence[Optimizers]) -> None:
        """Stack the state of the replicas' optimisers, such as a checkpoint brought, into that of its own.

        Raises:
            ValueError: the replicas have not taken the same number of steps.
        """
        for kind, optimizer in own.items():
            each = [_parameters(replica[kind]) for replica in replicas]
            for place, parameter in enumerate(_parameters(optimizer)):
                states = [replicas[i][kind].state[parameters[place]] for i, parameters in enumerate(each)]
                if any(float(state["step"]) != float(states[0]["step"]) for state in states if state):
                    raise ValueError("replicas that have taken different numbers of steps cannot be stacked")
                for key, value in states[0].items():
                    stacked = value if key == "step" else torch.stack([state[key] for state in states])
                    optimizer.state[parameter][key] = stacked

    def scatter(self, own: Optimizers, replicas: Sequence[tuple[Objective, Optimizers]]) -> None:
        """Write parameters, buffers and the state of its optimisers back into the replicas."""
        state = self._state()
        for index, (objective, optimizers) in enumerate(replicas):
            objective.load_state_dict({name: tensor.detach()[index] for name, tensor in state.items()})
            for kind, optimizer in own.items():
                pairs = zip(_parameters(optimizer), _parameters(optimizers[kind]), strict=True)
                for stacked, parameter in pairs:
                    for key, value in optimizer.state[stacked].items():
                        optimizers[kind].state[parameter][key] = value if key == "step" else value[index]


def _without_cudnn(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Keep a batch norm from cuDNN, before which torch asks for a memory layout that `torch.vmap` does not know."""

    def norm(features: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            return forward(features)

    return norm


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
