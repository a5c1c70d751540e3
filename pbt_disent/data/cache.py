"""Where converted images and unpacked arrays are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from pbt_disent.errors import UserError

__all__ = ["cache_folder"]

LONGEST = 255
"""Bytes in the name of a file, on most systems."""


def cache_folder(chosen: Path | str | None = None) -> Path:
    """Return the folder for converted files, which may not exist yet.

    Args:
        chosen: what the caller asked for; otherwise PBT_DISENT_CACHE, then the user's own cache folder.

    Raises:
        UserError: something else than a path was asked for.
    """
    if chosen is not None:
        if not isinstance(chosen, str | Path):
            raise UserError(f"cache {chosen!r}", "must be a folder", "leave it out")
        if max(map(len, Path(chosen).parts), default=0) > LONGEST:
            raise UserError(f"cache {str(chosen)[:40]}...", "has too long a name", "leave it out")
        return Path(chosen).expanduser()
    if named := os.environ.get("PBT_DISENT_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pbt-disent"
