"""Incomplete and correlated parts of a set by a declared rule, since real data is like that.

`select` keeps the images for which an expression over the factors holds; `correlate` thins a set until two of its
factors are correlated as strongly as asked, after Traeuble et al. 2021 (arXiv 2006.07886, section 3): the chance of an
image falls off like a Gaussian with the distance between the two factors' levels.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pbt_disent.data.base import UNKNOWN, ImageData, Subset
from pbt_disent.data.scatter import uniform
from pbt_disent.errors import UserError, nearest
from pbt_disent.types import FloatArray, IntArray

__all__ = ["correlate", "select"]

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: np.isin,
    ast.NotIn: lambda values, allowed: ~np.isin(values, allowed),
}
EXAMPLE = "write a rule such as 'shape != 2 or (x < 16 and scale in [0, 5])'"
LONGEST = 1000
STEPS = 60


def select(data: ImageData, where: str) -> Subset:
    """Return the images for which a rule holds.

    Args:
        data: a set with factors.
        where: comparisons of factors with class ids, joined by ``and``, ``or``, ``not`` and parentheses; an image
            of which a factor in the rule is unknown is left out.

    Raises:
        UserError: the rule cannot be read, names no factor of the set, or keeps fewer than two images.
    """
    ids = _factors(data)
    known = {name: ids[:, place] for place, name in enumerate(data.factor_names)}
    if not isinstance(where, str) or len(where) > LONGEST:
        raise UserError(f"where {str(where)[:80]!r}", f"must be a text of at most {LONGEST} characters", EXAMPLE)
    try:
        tree = ast.parse(where, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"where {where!r}", "is no rule", EXAMPLE) from error
    kept = np.broadcast_to(np.asarray(_holds(tree, known, where)), len(data))
    if kept.dtype != bool:
        raise UserError(f"where {where!r}", "compares nothing", EXAMPLE)
    for name in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        kept = kept & (known[name] != UNKNOWN)
    return _subset(data, np.flatnonzero(kept), f"where {where!r}")


def correlate(data: ImageData, first: str, second: str, strength: float, seed: int = 0) -> Subset:
    """Return a part of a set in which two factors are correlated.

    Every pair of levels keeps a share exp(-d^2 / (2 w^2)) of its images, d the distance between the two levels, each
    scaled to 0 to 1, and w such that the correlation of the two factors over the part is `strength`. Which images stay
    depends on the seed and on each image's index alone.

    Args:
        data: a set with factors, in which the two are complete and independent.
        first: a factor.
        second: another one.
        strength: Pearson correlation of the class ids, between -1 and 1; negative pairs low levels with high ones.
        seed: of the choice.

    Raises:
        UserError: no such factors, or a strength that they cannot reach.
    """
    for name in (first, second):
        if name not in data.factor_names:
            raise UserError(
                f"correlation of {name!r}", f"is no factor of {data.name}", nearest(name, data.factor_names)
            )
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed {seed!r} of correlation {first}, {second}", "must be a whole number", "leave it out")
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if first == second or not number or not -1 < strength < 1:
        raise UserError(f"correlation {first}, {second}, {strength}", "must be of two factors, in -1 to 1", "say 0.8")
    places = [data.factor_names.index(name) for name in (first, second)]
    ids = _factors(data)[:, places]
    share = _shares((data.factor_sizes[places[0]], data.factor_sizes[places[1]]), strength)
    drawn = uniform(np.arange(len(data)), f"correlate {first} {second}", seed)
    known = (ids != UNKNOWN).all(axis=1)
    kept = known & (drawn < share[ids[:, 0], ids[:, 1]])
    return _subset(data, np.flatnonzero(kept), f"correlation {first}, {second}, {strength}")


def _factors(data: ImageData) -> IntArray:
    ids = data.factors(np.arange(len(data)))
    if ids is None:
        raise UserError(f"data {data.name}", "has no factors to choose images by", "give labels")
    return ids


def _subset(data: ImageData, indices: IntArray, rule: str) -> Subset:
    if len(indices) < 2:
        raise UserError(rule, f"keeps {len(indices)} of {len(data)} images", "write a wider rule")
    return Subset(data, indices)


def _holds(node: ast.expr, known: dict[str, IntArray], where: str) -> Any:
    if isinstance(node, ast.BoolOp):
        parts = [np.asarray(_holds(part, known, where), dtype=bool) for part in node.values]
        return (np.logical_and if isinstance(node.op, ast.And) else np.logical_or).reduce(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~np.asarray(_holds(node.operand, known, where), dtype=bool)
    if isinstance(node, ast.Compare):
        return _compared(node, known, where)
    if isinstance(node, ast.Name):
        if node.id not in known:
            raise UserError(f"{node.id!r} in where {where!r}", "is no factor of this set", nearest(node.id, known))
        return known[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        items = [_holds(item, known, where) for item in node.elts]
        if not all(isinstance(item, int) for item in items):
            raise UserError(f"{ast.unparse(node)!r} in where {where!r}", "must be a list of whole numbers", EXAMPLE)
        return items
    raise UserError(f"{ast.unparse(node)!r} in where {where!r}", "is not allowed in a rule", EXAMPLE)


def _compared(node: ast.Compare, known: dict[str, IntArray], where: str) -> npt.NDArray[np.bool_]:
    values = [_holds(part, known, where) for part in (node.left, *node.comparators)]
    result = np.True_
    for sign, left, right in zip(node.ops, values, values[1:], strict=False):
        among = isinstance(sign, ast.In | ast.NotIn)
        if type(sign) not in COMPARISONS or isinstance(left, list) or isinstance(right, list) != among:
            raise UserError(f"where {where!r}", "compares in a way that is not allowed", EXAMPLE)
        result = np.logical_and(result, COMPARISONS[type(sign)](left, right))
    return np.asarray(result)


def _shares(sizes: tuple[int, int], strength: float) -> FloatArray:
    """Return the share of images that each pair of levels keeps, by bisection of the width for the strength."""
    rows, columns = (np.linspace(0.0, 1.0, size) for size in sizes)
    distance = rows[:, None] - (columns if strength >= 0 else 1 - columns)
    wanted = abs(strength)
    low, high = 1e-3, 1e3
    for _ in range(STEPS):
        middle = np.sqrt(low * high)
        strong = abs(_correlation(np.exp(-(distance**2) / (2 * middle**2)))) > wanted
        low, high = (middle, high) if strong else (low, middle)
    shares = np.exp(-(distance**2) / (2 * high**2))
    if abs(_correlation(shares) - strength) > 1e-3:
        raise UserError(
            f"correlation {strength}", f"is out of reach for {sizes[0]} and {sizes[1]} levels", "ask for less"
        )
    return np.asarray(shares)


def _correlation(weights: FloatArray) -> float:
    """Return the correlation of row and column number under a table of weights."""
    total = weights.sum()
    if total == 0 or min(weights.shape) < 2:
        return 0.0
    rows, columns = np.arange(weights.shape[0]), np.arange(weights.shape[1])
    row_weights, column_weights = weights.sum(axis=1) / total, weights.sum(axis=0) / total
    row_mean, column_mean = row_weights @ rows, column_weights @ columns
    covariance = (rows - row_mean) @ weights @ (columns - column_mean) / total
    scale = (row_weights @ (rows - row_mean) ** 2) * (column_weights @ (columns - column_mean) ** 2)
    return float(covariance / np.sqrt(scale)) if scale > 0 else 0.0
