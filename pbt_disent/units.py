"""Quantities in words, the same in the terminal, in the report and in tables."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["duration", "shape_text"]


def duration(seconds: float) -> str:
    """Return a duration in words, in the largest unit of which there is more than one and a half.

    Args:
        seconds: The duration in seconds.

    >>> [duration(seconds) for seconds in (45, 440, 11_520, 216_000)]
    ['45 s', '7.3 min', '3.2 h', '2.5 days']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape as text.

    >>> shape_text((3, 64, 64))
    '3x64x64'
    """
    return "x".join(map(str, shape))
