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
        replicas: The replicas of one member, with the same settings and hyperparameters; they are left as they are.
    """

    def __init__(self, replicas: Sequence[Objective]) -> None:
        first = replicas[0]
        super().__init__(first.options, first.values, first.image_shape, first.dataset_size)
        self.template = deepcopy(first)
        states = [replica.state_dict() for replica in replicas]
        for name, tensor in self._state().items():
            tensor.data = torch.stack([state[name] for state in states])
        for module in self.template.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                vars(module)["forward"] = _without_cudnn(module.forward)

    def _state(self) -> dict[str, Tensor]:
        """Return the tensors with a replica axis; buffers that are no part of a checkpoint are constants without it."""
        return dict(self.template.state_dict(keep_vars=True))

    def is_capturable(self, step: int) -> bool:
        """Return what each of the replicas returns."""
        return self.template.is_capturable(step)

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return losses and terms (k,) of all replicas; optimisers that shared a loss still do.

        Args:
            batch: The batch of every replica.
            step: The step of the member's life.
            generator: The `pbt_disent.models.noise.Generators`, with one generator for each replica.
        """
        owners: dict[str, str] = {}

        def replica_losses(state: dict[str, Tensor]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
            losses: dict[str, LossTerms] = functional_call(self.template, state, (batch, step, generator))
            first: dict[int, str] = {}
            owners.update({name: first.setdefault(id(part.loss), name) for name, part in losses.items()})
            return {name: (part.loss, part.terms) for name, part in losses.items()}

        stacked = torch.vmap(replica_losses)(self._state())
        return {name: LossTerms(stacked[owners[name]][0], terms) for name, (_, terms) in stacked.items()}

    def optimizers(self) -> Optimizers:
        """Return the member's optimisers over the stacked parameters."""
        return self.template.optimizers()

    def gather(self, stacked: Optimizers, replicas: Sequence[Optimizers]) -> None:
        """Stack the state of the replicas' optimisers, such as a checkpoint brought.

        Args:
            stacked: The optimisers of this objective, whose state is overwritten.
            replicas: The optimisers of each replica.

        Raises:
            ValueError: The replicas have not taken the same number of steps.
        """
        for name, optimizer in stacked.items():
            replica_parameters = [_parameters(optimizers[name]) for optimizers in replicas]
            for index, parameter in enumerate(_parameters(optimizer)):
                states = [
                    optimizers[name].state[parameters[index]]
                    for optimizers, parameters in zip(replicas, replica_parameters, strict=True)
                ]
                if any(float(state["step"]) != float(states[0]["step"]) for state in states if state):
                    raise ValueError("replicas that have taken different numbers of steps cannot be stacked")
                for key, value in states[0].items():
                    values = value if key == "step" else torch.stack([state[key] for state in states])
                    optimizer.state[parameter][key] = values

    def scatter(self, stacked: Optimizers, replicas: Sequence[tuple[Objective, Optimizers]]) -> None:
        """Write parameters, buffers and the state of optimisers back into the replicas.

        Args:
            stacked: The optimisers of this objective.
            replicas: Each replica and its optimisers, which are changed in place.
        """
        state = self._state()
        for index, (objective, optimizers) in enumerate(replicas):
            objective.load_state_dict({name: tensor.detach()[index] for name, tensor in state.items()})
            for name, optimizer in stacked.items():
                pairs = zip(_parameters(optimizer), _parameters(optimizers[name]), strict=True)
                for source, target in pairs:
                    for key, value in optimizer.state[source].items():
                        optimizers[name].state[target][key] = value if key == "step" else value[index]


def _without_cudnn(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Keep a batch norm from cuDNN, before which torch asks for a memory layout that `torch.vmap` does not know."""

    def norm(features: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            return forward(features)

    return norm


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
