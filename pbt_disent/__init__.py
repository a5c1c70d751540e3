"""pbt-disent: dependable disentangled representations by population-based training, with and without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pbt_disent.estimator import RPUVAE

__version__ = "0.1.0"
__all__ = ["RPUVAE", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the estimator when it is asked for: it brings torch along."""
    if name == "RPUVAE":
        from pbt_disent.estimator import RPUVAE

        return RPUVAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
