"""Worlds drawn by the package itself, one file each: nothing to download, every factor known.

A renderer registers a factory ``(**options) -> ImageData`` under its name.
"""

from __future__ import annotations

from collections.abc import Callable

from pbt_disent.data.base import ImageData
from pbt_disent.registry import Registry

__all__ = ["RENDERERS"]

RENDERERS: Registry[Callable[..., ImageData]] = Registry("renderer", __name__)
