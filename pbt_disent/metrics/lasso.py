"""Lasso regressions between the codes of all ordered pairs of models at once, by batched coordinate descent.

For models i and j and every latent b of j, minimise over w (Z)

    1 / (2 N) ||x_b^j - X^i w||^2 + alpha ||w||_1.

Everything the descent needs is in the Gram matrix of all codes, one matrix product for all pairs, so that a sweep
costs nothing per point. Coordinates are visited in scikit-learn's cyclic order, with its stopping rule (largest
relative change, then the duality gap) and its gap-safe screening (arXiv 1802.07481, eq. 11): with the same
tolerance a problem stops after the same sweep, and the coefficients agree to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pbt_disent.types import FloatArray

__all__ = ["lasso_coefficients"]

Array = Any
ArrayModule = Any

MAX_SWEEPS = 1000
PROBLEMS_AT_ONCE = 1_000_000
CONVERGED = 1e-12
SWEEPS_PER_SOLVE = 4
RIDGE = 1e-15
OPTIMAL = 1e-10


def lasso_coefficients(
    codes: FloatArray, alpha: float = 0.1, tolerance: float | None = 1e-4, device: str | None = None
) -> FloatArray:
    """Return the coefficients (M, M, Z, Z) that predict codes of one model from those of another.

    Entry [i, j, a, b] is the weight of latent a of model i in the prediction of latent b of model j; entries [i, i]
    are 0.

    Args:
        codes: (M, N, Z) with columns of mean 0; a column of zeros takes no part.
        alpha: weight of the penalty, in the objective above.
        tolerance: scikit-learn's `tol`, 1e-4 by default; None for the optimum itself, in fewer sweeps: every few sweeps
            the linear system of the present support and signs is solved and kept where it meets the optimality
            conditions.
        device: torch device to compute on (``cuda``); numpy on the CPU where None. On the CPU one model at a time
            predicts all others, so that its problems stay in the cache; on a device many do, as each step is a launch.
    """
    models, points, latents = codes.shape
    xp: ArrayModule = np
    stacked: Array = codes.astype(np.float64).transpose(0, 2, 1).reshape(models * latents, points)
    if device is not None:
        import torch

        xp, stacked = torch, torch.from_numpy(np.ascontiguousarray(stacked)).to(device)
    inner = (stacked @ stacked.T).reshape(models, latents, models * latents)
    squares = xp.concatenate([xp.diagonal(inner[i, :, i * latents : (i + 1) * latents]) for i in range(models)])
    used = xp.argwhere(squares > 0)[:, 0]
    weights = xp.zeros_like(inner)
    together = 1 if device is None else max(1, PROBLEMS_AT_ONCE // max(1, len(used)))
    for start in range(0, models, together):
        sources = range(start, min(start + together, models))
        gram = xp.stack([inner[i, :, i * latents : (i + 1) * latents] for i in sources])
        cross = _columns(inner[sources.start : sources.stop], used)
        weights[sources.start : sources.stop, :, used] = _descend(
            xp, gram, cross, squares[used], alpha * points, tolerance
        )
    found = np.asarray(weights if device is None else weights.cpu())
    result = found.reshape(models, latents, models, latents).transpose(0, 2, 1, 3).copy()
    result[np.arange(models), np.arange(models)] = 0.0
    return np.asarray(result)


def _descend(
    xp: ArrayModule, gram: Array, cross: Array, squares: Array, penalty: float, tolerance: float | None
) -> Array:
    """Solve for S sources and T targets at once; each problem's weights are kept from the sweep after which it stops.

    Args:
        xp: numpy or torch.
        gram: (S, Z, Z) X'X of each source.
        cross: (S, Z, T) X'y.
        squares: (T,) y'y.
        penalty: alpha times N.
        tolerance: scikit-learn's `tol`, or None for the optimum.

    Returns:
        Weights (S, Z, T).
    """
    exact, tolerance = tolerance is None, CONVERGED if tolerance is None else tolerance
    result, weights = xp.zeros_like(cross), xp.zeros_like(cross)
    place = xp.arange(len(squares))
    norms = xp.stack([gram[:, a, a] for a in range(gram.shape[1])], 1)[..., None]
    others = gram * (1.0 - xp.eye(gram.shape[1], dtype=gram.dtype, device=gram.device))
    gap, kept = _certificate(xp, cross, weights, cross, squares, norms, penalty)
    stopped = gap <= tolerance * squares
    inverse = kept / xp.where(norms > 0, norms, xp.ones_like(norms))
    high = xp.full_like(squares[:1], penalty)
    low = -high
    for sweep in range(MAX_SWEEPS):
        if len(cross) == 1 and bool(stopped.any()):
            going = xp.argwhere(~stopped[0])[:, 0]
            place, squares, stopped = place[going], squares[going], stopped[:, going]
            weights, inverse, cross = (_columns(x, going) for x in (weights, inverse, cross))
        if bool(stopped.all()):
            break
        if exact and sweep % SWEEPS_PER_SOLVE == SWEEPS_PER_SOLVE - 1:
            optimum, found = _solve_support(xp, gram, cross, weights, norms, penalty)
            result[:, :, place] = xp.where((found & ~stopped)[:, None], optimum, result[:, :, place])
            stopped = stopped | found
            continue
        before = weights + 0.0
        for a in range(gram.shape[1]):
            pull = cross[:, a] - (others[:, a : a + 1] @ weights)[:, 0]
            weights[:, a] = (pull - xp.minimum(xp.maximum(pull, low), high)) * inverse[:, a]
        largest = xp.amax(xp.abs(weights), 1)
        settled = (largest == 0) | (xp.amax(xp.abs(weights - before), 1) <= tolerance * largest)
        last = sweep == MAX_SWEEPS - 1
        if last or bool(settled.any()):
            gap, kept = _certificate(xp, cross - gram @ weights, weights, cross, squares, norms, penalty)
            ended = ~stopped & ((settled & (gap <= tolerance * squares)) | last)
            result[:, :, place] = xp.where(ended[:, None], weights, result[:, :, place])
            stopped = stopped | ended
            dropped = (settled & ~stopped)[:, None] & ~kept
            inverse = xp.where(dropped, xp.zeros_like(inverse), inverse)
            weights = xp.where(dropped, xp.zeros_like(weights), weights)
    return result


def _certificate(
    xp: ArrayModule, gradient: Array, weights: Array, cross: Array, squares: Array, norms: Array, penalty: float
) -> tuple[Array, Array]:
    """Return the duality gap (S, T), and which weights (S, Z, T) it allows to be other than 0 at the optimum."""
    fitted = (weights * cross).sum(1)
    residual = squares - fitted - (weights * gradient).sum(1)
    size = xp.abs(gradient)
    scale = 1.0 / xp.clip(xp.amax(size, 1) / penalty, 1.0, None)
    primal = 0.5 * residual + penalty * xp.abs(weights).sum(1)
    gap = primal - scale * (squares - fitted) + 0.5 * scale**2 * residual
    radius = xp.sqrt(2.0 * xp.clip(gap, 0.0, None))[:, None] * xp.sqrt(norms)
    return gap, penalty - scale[:, None] * size <= radius


def _solve_support(
    xp: ArrayModule, gram: Array, cross: Array, weights: Array, norms: Array, penalty: float
) -> tuple[Array, Array]:
    """Return the weights (S, Z, T) that the present signs imply, and for which problems (S, T) they are optimal."""
    signs = xp.sign(weights)
    support = xp.moveaxis(xp.abs(signs), 1, 2)
    diagonal = xp.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    ridge = RIDGE * xp.where(norms > 0, norms, xp.ones_like(norms))[:, None, :, 0] + (1.0 - support)
    system = gram[:, None] * support[..., None] * support[..., None, :] + diagonal * ridge[..., None]
    right = xp.moveaxis((cross - penalty * signs) * xp.abs(signs), 1, 2)[..., None]
    optimum = xp.moveaxis(xp.linalg.solve(system, right)[..., 0], 2, 1)
    excess = xp.abs(cross - gram @ optimum - penalty * signs) - penalty * (1.0 - xp.abs(signs))
    agrees = (xp.sign(optimum) == signs) & (excess <= OPTIMAL * penalty)
    return optimum, agrees.all(1)


def _columns(values: Array, numbers: Array) -> Array:
    """Return the numbered entries of the last axis, laid out row by row (which numpy's indexing does not do)."""
    return np.take(values, numbers, axis=-1) if isinstance(values, np.ndarray) else values[..., numbers]
