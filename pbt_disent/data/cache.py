"""Where converted images and unpacked arrays are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(chosen: Path | str | None = None) -> Path:
    """Return the folder for converted files, which may not exist yet.

    Args:
        chosen: what the caller asked for; otherwise PBT_DISENT_CACHE, then the user's own cache folder.
    """
    if chosen is not None:
        return Path(chosen).expanduser()
    if named := os.environ.get("PBT_DISENT_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pbt-disent"
