"""Parts of a set: by a rule over its factors, correlated, or held out from training.

`select` keeps the images for which an expression over the factors holds; `correlate` thins a set until two of its
factors are correlated as strongly as asked, after Träuble et al. 2021 (arXiv 2006.07886, section 3): the chance of an
image falls off like a Gaussian with the distance between the two factors' levels; `split` holds out images that are
never trained on.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pbt_disent.data.base import UNKNOWN, ImageData, Subset
from pbt_disent.errors import UserError, nearest
from pbt_disent.seeds import indexed_uniform
from pbt_disent.types import FloatArray, IntArray

__all__ = ["correlate", "select", "split"]

# Why the rules are evaluated here and not by a library: pandas.eval and DataFrame.query (3.1) allow attributes and
# calls of methods, so that the rule "x.tofile('/tmp/file')" writes a file; and pandas.eval has no "in". numexpr hands
# the text to Python's eval behind a list of forbidden patterns, and has neither "and", "or", "in" nor 2 <= x < 5.
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
LONGEST_RULE = 1000
BISECTIONS = 60
SPLIT_SEED = 0


def select(data: ImageData, where: str) -> Subset:
    """Return the images for which a rule holds.

    Args:
        data: The set of images, with factors.
        where: The rule: comparisons of factors with class ids, joined by ``and``, ``or``, ``not`` and parentheses. An
            image of which a factor in the rule is unknown is left out.

    Raises:
        UserError: The rule cannot be read, names no factor of the set, or keeps fewer than two images.

    Example:
        >>> from pbt_disent.data import load
        >>> len(select(load("sprites"), "shape == 1 and scale in [0, 5] and x < 16"))
        40960
    """
    ids = _factors(data)
    factors = {name: ids[:, k] for k, name in enumerate(data.factor_names)}
    if not isinstance(where, str) or len(where) > LONGEST_RULE:
        raise UserError(f"where {str(where)[:80]!r}", f"must be a text of at most {LONGEST_RULE} characters", EXAMPLE)
    try:
        tree = ast.parse(where, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"where {where!r}", "is no rule", EXAMPLE) from error
    mask = np.broadcast_to(np.asarray(_evaluate(tree, factors, where)), len(data))
    if mask.dtype != bool:
        raise UserError(f"where {where!r}", "compares nothing", EXAMPLE)
    for name in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
        mask = mask & (factors[name] != UNKNOWN)
    return _subset(data, np.flatnonzero(mask), f"where {where!r}")


def correlate(data: ImageData, first: str, second: str, strength: float, seed: int = 0) -> Subset:
    """Return a part of a set in which two factors are correlated.

    Every pair of levels keeps a share exp(-d^2 / (2 w^2)) of its images, d the distance between the two levels, each
    scaled to 0 to 1, and w such that the correlation of the two factors over the part is `strength`. Which images stay
    depends on the seed and on each image's index alone.

    Args:
        data: The set of images, in which the two factors are complete and independent.
        first: The name of a factor.
        second: The name of another factor.
        strength: The Pearson correlation of the class ids, between -1 and 1; negative pairs low levels with high ones.
        seed: The seed of the choice of images.

    Raises:
        UserError: The set has no such factors, or they cannot reach the strength.

    Example:
        >>> from pbt_disent.data import load
        >>> part = correlate(load("sprites", grid={"orientation": 1}), "x", "y", 0.8)
        >>> x, y = part.factors(range(len(part)))[:, 3:].T
        >>> round(float(np.corrcoef(x, y)[0, 1]), 1)
        0.8
    """
    for name in (first, second):
        if name not in data.factor_names:
            raise UserError(
                f"correlation of {name!r}", f"is no factor of {data.name}", nearest(name, data.factor_names)
            )
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed {seed!r} of correlation {first}, {second}", "must be a whole number", "leave it out")
    is_number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if first == second or not is_number or not -1 < strength < 1:
        raise UserError(
            f"correlation {first}, {second}, {strength}", "must be of two factors, in -1 to 1", "give for example 0.8"
        )
    columns = [data.factor_names.index(name) for name in (first, second)]
    ids = _factors(data)[:, columns]
    share = _kept_shares((data.factor_sizes[columns[0]], data.factor_sizes[columns[1]]), strength)
    random = indexed_uniform(np.arange(len(data)), f"correlate {first} {second}", seed)
    is_known = (ids != UNKNOWN).all(axis=1)
    mask = is_known & (random < share[ids[:, 0], ids[:, 1]])
    return _subset(data, np.flatnonzero(mask), f"correlation {first}, {second}, {strength}")


def split(length: int, held_out: float = 0.1) -> tuple[IntArray, IntArray]:
    """Return the indices to train on and those held out, both in rising order.

    An image stays on its side when others are added behind it, and no run's seed moves it.

    Args:
        length: The number of images N, at least 2.
        held_out: The share to hold out, above 0 and below 1. Each side has at least one image.

    Raises:
        UserError: The share or the number of images leaves a side empty.

    Example:
        >>> train, test = split(1000)
        >>> len(train), len(test), test[:3].tolist()
        (906, 94, [1, 26, 66])
    """
    if not 0 < held_out < 1 or length < 2:
        raise UserError(f"held out {held_out:g} of {length} images", "leaves a side empty", "hold out 0.1 of 2 or more")
    random = indexed_uniform(np.arange(length), "held out", SPLIT_SEED)
    is_held_out = random < held_out
    if not is_held_out.any():
        is_held_out[random.argmin()] = True
    if is_held_out.all():
        is_held_out[random.argmax()] = False
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _factors(data: ImageData) -> IntArray:
    ids = data.factors(np.arange(len(data)))
    if ids is None:
        raise UserError(f"data {data.name}", "has no factors to choose images by", "give labels")
    return ids


def _subset(data: ImageData, indices: IntArray, rule: str) -> Subset:
    if len(indices) < 2:
        raise UserError(rule, f"keeps {len(indices)} of {len(data)} images", "write a wider rule")
    return Subset(data, indices)


def _evaluate(node: ast.expr, factors: dict[str, IntArray], where: str) -> Any:
    """Return the value of a part of a rule: truth values or class ids (N,), a number, or a list of numbers."""
    if isinstance(node, ast.BoolOp):
        parts = [np.asarray(_evaluate(part, factors, where), dtype=bool) for part in node.values]
        return (np.logical_and if isinstance(node.op, ast.And) else np.logical_or).reduce(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~np.asarray(_evaluate(node.operand, factors, where), dtype=bool)
    if isinstance(node, ast.Compare):
        return _compare(node, factors, where)
    if isinstance(node, ast.Name):
        if node.id not in factors:
            raise UserError(f"{node.id!r} in where {where!r}", "is no factor of this set", nearest(node.id, factors))
        return factors[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        items = [_evaluate(item, factors, where) for item in node.elts]
        if not all(isinstance(item, int) for item in items):
            raise UserError(f"{ast.unparse(node)!r} in where {where!r}", "must be a list of whole numbers", EXAMPLE)
        return items
    raise UserError(f"{ast.unparse(node)!r} in where {where!r}", "is not allowed in a rule", EXAMPLE)


def _compare(node: ast.Compare, factors: dict[str, IntArray], where: str) -> npt.NDArray[np.bool_]:
    values = [_evaluate(operand, factors, where) for operand in (node.left, *node.comparators)]
    result = np.True_
    for sign, left, right in zip(node.ops, values, values[1:], strict=False):
        needs_list = isinstance(sign, ast.In | ast.NotIn)
        if type(sign) not in COMPARISONS or isinstance(left, list) or isinstance(right, list) != needs_list:
            raise UserError(f"where {where!r}", "compares in a way that is not allowed", EXAMPLE)
        result = np.logical_and(result, COMPARISONS[type(sign)](left, right))
    return np.asarray(result)


def _kept_shares(sizes: tuple[int, int], strength: float) -> FloatArray:
    """Return the share of images that each pair of levels keeps, by bisection of the width for the strength."""
    rows, columns = (np.linspace(0.0, 1.0, size) for size in sizes)
    distance = rows[:, None] - (columns if strength >= 0 else 1 - columns)
    low, high = 1e-3, 1e3
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        is_too_strong = abs(_correlation(np.exp(-(distance**2) / (2 * middle**2)))) > abs(strength)
        low, high = (middle, high) if is_too_strong else (low, middle)
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
