"""Orthonormal frames, and an Adam that stays on them (Li et al. 2020, Cayley-Adam; papers.md 2.2 and 2.3).

Here the Cayley transform is exact, in float64, and a Newton-Schulz step follows it, so that a float32 frame stays
orthonormal to 1e-6 after every step at any learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CayleyAdam", "Frame", "cayley", "fix_signs"]


def fix_signs(columns: Tensor) -> Tensor:
    """Flip each column of a matrix so that its entry of largest size is positive."""
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))
    return columns * torch.where(largest < 0, -1.0, 1.0)


class Frame(nn.Module):
    """A point on the Stiefel manifold: `columns`, a parameter (rows, m) with orthonormal columns.

    Args:
        rows: dimension of the space.
        m: number of columns, at most `rows`.
    """

    def __init__(self, rows: int, m: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.eye(rows, m))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw a uniformly distributed frame."""
        drawn = torch.randn(self.columns.shape, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        with torch.no_grad():
            self.columns.copy_(q * torch.where(r.diagonal() < 0, -1.0, 1.0))


def cayley(frame: Tensor, direction: Tensor, scale: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Move a frame along the tangent of a direction, by the Cayley transform of W = (P X' - X P') / scale.

    With P = M - X X' M / 2 the matrix W has rank 2m, so the transform costs one 2m x 2m system (Woodbury).

    Args:
        frame: X, (..., l, m) float64 with orthonormal columns.
        direction: M, (..., l, m), uphill.
        scale: positive, (..., 1, 1).
        rate: learning rate; the step is cut to 1 / |W|_1.

    Returns:
        The new frame (..., l, m), and W X (..., l, m).
    """
    part = (direction - 0.5 * frame @ (frame.mT @ direction)) / scale
    left, right = torch.cat([part, -frame], -1), torch.cat([frame, part], -1)
    norm = (left @ right.mT).abs().sum(-2).amax(-1)[..., None, None]
    half = 0.5 * torch.minimum(rate, 1 / (norm + 1e-8))
    projected = right.mT @ frame
    eye = torch.eye(left.shape[-1], dtype=frame.dtype, device=frame.device)
    moved = frame - 2 * half * left @ torch.linalg.solve(eye + half * right.mT @ left, projected)
    return 1.5 * moved - 0.5 * moved @ (moved.mT @ moved), left @ projected


class CayleyAdam(torch.optim.Optimizer):
    """Adam on frames: momentum in the tangent space, one second moment for the whole matrix.

    Args:
        frames: parameters (..., l, m) with orthonormal columns.
        lr: largest step.
        betas: decay of the first and second moment.
        eps: added to the second moment.
    """

    def __init__(
        self, frames: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8
    ) -> None:
        super().__init__(frames, {"lr": lr, "betas": betas, "eps": eps})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; the override drops the overloads of torch's own signature.

        Args:
            closure: as in torch; called first.
        """
        value = None if closure is None else closure()
        for group in self.param_groups:
            for frame in group["params"]:
                if frame.grad is not None:
                    self._move(frame, group)
        return value

    @torch.no_grad()
    def _move(self, frame: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = frame.grad, self.state[frame]
        if gradient is None:
            return
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(frame, dtype=torch.float64)
            state["exp_avg_sq"] = torch.zeros(frame.shape[:-2], dtype=torch.float64, device=frame.device)
        first, second = group["betas"]
        gradient = gradient.double()
        state["step"] += 1
        momentum = state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].lerp_(gradient.square().sum((-2, -1)), 1 - second)
        correction = 1 - first ** state["step"]
        size = (state["exp_avg_sq"] / (1 - second ** state["step"]) + group["eps"]).sqrt()[..., None, None]
        rate = torch.as_tensor(group["lr"], dtype=torch.float64, device=frame.device)
        moved, tangent = cayley(frame.double(), momentum / correction, size, rate)
        frame.copy_(moved)
        state["exp_avg"].copy_(size * correction * tangent)
