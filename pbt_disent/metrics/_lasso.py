"""Lasso regressions between the codes of all ordered pairs of models at once, by batched coordinate descent.

For models i and j and every latent b of j, minimise over w (Z)

    1 / (2 N) ||x_b^j - X^i w||^2 + alpha ||w||_1.

Everything that the descent needs is in the Gram matrix of all codes, one matrix product for all pairs, so that a sweep
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
"""The number of problems that a device solves side by side."""
CONVERGED = 1e-12
"""The tolerance where the optimum itself is asked for."""
SWEEPS_PER_SOLVE = 4
RIDGE = 1e-15
OPTIMALITY = 1e-10
"""The violation of the optimality conditions, relative to the penalty, that still counts as none."""


def lasso_coefficients(
    codes: FloatArray, alpha: float = 0.1, tolerance: float | None = 1e-4, device: str | None = None
) -> FloatArray:
    """Return the coefficients that predict the codes of one model from those of another, for all pairs of M models.

    Args:
        codes: The codes, of shape (M, N, Z), with columns of mean 0. A column of zeros takes no part.
        alpha: The weight of the penalty, in the objective above.
        tolerance: scikit-learn's `tol`, 1e-4 by default. None computes the optimum itself in fewer sweeps: every few
            sweeps the linear system of the present support and signs is solved, and its solution is kept where it
            meets the optimality conditions.
        device: The torch device to compute on (``cuda``), or None for numpy on the CPU. On the CPU one model at a time
            predicts all others, so that its problems stay in the cache; on a device many do, as each step is a launch.

    Returns:
        The coefficients, of shape (M, M, Z, Z). Entry [i, j, a, b] is the weight of latent a of model i in the
        prediction of latent b of model j; entries [i, i] are 0.
    """
    models, points, latents = codes.shape
    xp: ArrayModule = np
    stacked: Array = codes.astype(np.float64).transpose(0, 2, 1).reshape(models * latents, points)
    if device is not None:
        import torch

        xp, stacked = torch, torch.from_numpy(np.ascontiguousarray(stacked)).to(device)
    products = (stacked @ stacked.T).reshape(models, latents, models * latents)
    squares = xp.concatenate([xp.diagonal(products[i, :, i * latents : (i + 1) * latents]) for i in range(models)])
    targets = xp.argwhere(squares > 0)[:, 0]
    weights = xp.zeros_like(products)
    models_at_once = 1 if device is None else max(1, PROBLEMS_AT_ONCE // max(1, len(targets)))
    for start in range(0, models, models_at_once):
        sources = range(start, min(start + models_at_once, models))
        gram = xp.stack([products[i, :, i * latents : (i + 1) * latents] for i in sources])
        cross = _take_columns(products[sources.start : sources.stop], targets)
        weights[sources.start : sources.stop, :, targets] = _descend(
            xp, gram, cross, squares[targets], alpha * points, tolerance
        )
    coefficients = np.asarray(weights if device is None else weights.cpu())
    coefficients = coefficients.reshape(models, latents, models, latents).transpose(0, 2, 1, 3).copy()
    coefficients[np.arange(models), np.arange(models)] = 0.0
    return np.asarray(coefficients)


def _descend(
    xp: ArrayModule, gram: Array, cross: Array, squares: Array, penalty: float, tolerance: float | None
) -> Array:
    """Solve for S sources and T targets at once, and keep each problem's weights from the sweep after which it stops.

    Args:
        xp: The array module, numpy or torch.
        gram: X'X of each source, of shape (S, Z, Z).
        cross: X'y of each problem, of shape (S, Z, T).
        squares: y'y of each target, of shape (T,).
        penalty: The weight of the penalty times N.
        tolerance: scikit-learn's `tol`, or None for the optimum.

    Returns:
        The weights, of shape (S, Z, T).
    """
    exact, tolerance = tolerance is None, CONVERGED if tolerance is None else tolerance
    solutions, weights = xp.zeros_like(cross), xp.zeros_like(cross)
    columns = xp.arange(len(squares))
    norms = xp.stack([gram[:, a, a] for a in range(gram.shape[1])], 1)[..., None]
    off_diagonal = gram * (1.0 - xp.eye(gram.shape[1], dtype=gram.dtype, device=gram.device))
    gap, nonzero_allowed = _duality_gap(xp, cross, weights, cross, squares, norms, penalty)
    stopped = gap <= tolerance * squares
    inverse_norms = nonzero_allowed / xp.where(norms > 0, norms, xp.ones_like(norms))
    upper = xp.full_like(squares[:1], penalty)
    lower = -upper
    for sweep in range(MAX_SWEEPS):
        if len(cross) == 1 and bool(stopped.any()):
            running = xp.argwhere(~stopped[0])[:, 0]
            columns, squares, stopped = columns[running], squares[running], stopped[:, running]
            weights, inverse_norms, cross = (_take_columns(x, running) for x in (weights, inverse_norms, cross))
        if bool(stopped.all()):
            break
        if exact and sweep % SWEEPS_PER_SOLVE == SWEEPS_PER_SOLVE - 1:
            optimum, is_optimal = _solve_support(xp, gram, cross, weights, norms, penalty)
            newly_solved = (is_optimal & ~stopped)[:, None]
            solutions[:, :, columns] = xp.where(newly_solved, optimum, solutions[:, :, columns])
            stopped = stopped | is_optimal
            continue
        before = weights + 0.0
        for a in range(gram.shape[1]):
            pull = cross[:, a] - (off_diagonal[:, a : a + 1] @ weights)[:, 0]
            weights[:, a] = (pull - xp.minimum(xp.maximum(pull, lower), upper)) * inverse_norms[:, a]
        largest = xp.amax(xp.abs(weights), 1)
        settled = (largest == 0) | (xp.amax(xp.abs(weights - before), 1) <= tolerance * largest)
        is_last = sweep == MAX_SWEEPS - 1
        if is_last or bool(settled.any()):
            gap, nonzero_allowed = _duality_gap(xp, cross - gram @ weights, weights, cross, squares, norms, penalty)
            converged = ~stopped & ((settled & (gap <= tolerance * squares)) | is_last)
            solutions[:, :, columns] = xp.where(converged[:, None], weights, solutions[:, :, columns])
            stopped = stopped | converged
            screened = (settled & ~stopped)[:, None] & ~nonzero_allowed
            inverse_norms = xp.where(screened, xp.zeros_like(inverse_norms), inverse_norms)
            weights = xp.where(screened, xp.zeros_like(weights), weights)
    return solutions


def _duality_gap(
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
    agrees = (xp.sign(optimum) == signs) & (excess <= OPTIMALITY * penalty)
    return optimum, agrees.all(1)


def _take_columns(values: Array, numbers: Array) -> Array:
    """Return the numbered entries of the last axis, laid out row by row (which numpy's indexing does not do)."""
    return np.take(values, numbers, axis=-1) if isinstance(values, np.ndarray) else values[..., numbers]
