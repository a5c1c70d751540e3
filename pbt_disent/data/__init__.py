"""Any set of images, by name or by path: rendered worlds, the field's published sets, and a user's own files.

``load("sprites", size=32).images([0, 1])`` gives (2, 1, 32, 32) uint8, ``load("3dshapes.h5").factors([7])`` the class
ids (1, 6) of one image.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from pbt_disent.data.base import UNKNOWN, ImageData, Subset
from pbt_disent.data.labels import with_labels
from pbt_disent.data.pictures import SUFFIXES
from pbt_disent.data.readers import READERS, Match
from pbt_disent.data.renderers import RENDERERS
from pbt_disent.data.resize import Resized
from pbt_disent.data.selection import correlate, select
from pbt_disent.data.storage import StoredImages, materialise
from pbt_disent.errors import UserError, nearest

__all__ = [
    "READERS",
    "RENDERERS",
    "UNKNOWN",
    "ImageData",
    "StoredImages",
    "Subset",
    "correlate",
    "load",
    "materialise",
    "reader_of",
    "select",
    "with_labels",
]

VIEWS = ("labels", "where", "correlation")


def load(name_or_path: str | Path, **options: Any) -> ImageData:
    """Return the images that a renderer's name or a path stands for.

    Args:
        name_or_path: a renderer (``sprites``), or a file or folder; a path that is called like a renderer is reached
            with ``./`` before it.
        options: what the renderer or reader takes (``size``, ``grid``, ``key`` and so on), and for all of them
            ``labels``, a parquet or CSV file (`with_labels`); ``where``, a rule (`select`); ``correlation``, a list of
            two factors and a strength (`correlate`). For a path also ``size``, and ``reader``, the name of the reader
            to use instead of the one that knows the file best.

    Raises:
        UserError: no such renderer or file, no reader for it, an unreadable file, an unknown option.
    """
    views = {name: options.pop(name) for name in VIEWS if name in options}
    data = _open(name_or_path, options)
    if "labels" in views:
        data = with_labels(data, views["labels"])
    if "where" in views:
        data = select(data, views["where"])
    if "correlation" in views:
        data = _correlated(data, views["correlation"])
    return data


def _open(name_or_path: str | Path, options: dict[str, Any]) -> ImageData:
    if str(name_or_path) in RENDERERS:
        return _call(RENDERERS[str(name_or_path)], f"renderer {name_or_path}", (), options)
    path = Path(name_or_path).expanduser()
    if not path.exists():
        raise UserError(f"data {str(name_or_path)!r}", "is neither a renderer nor a file", _suggest(name_or_path))
    wanted = options.pop("reader", None)
    if not isinstance(wanted, str | None):
        raise UserError(f"reader {wanted!r}", "must be a name", nearest("", READERS))
    name = wanted if wanted is not None else reader_of(path)
    size = None if "size" in signature(READERS[name].open).parameters else options.pop("size", None)
    data = _call(READERS[name].open, f"reader {name}", (path,), options)
    return data if size is None else Resized(data, size)


def reader_of(path: Path) -> str:
    """Return the name of the reader that knows `path` best.

    Raises:
        UserError: none knows it.
    """
    matches = {name: READERS[name].match(path) for name in READERS}
    best = max(matches, key=lambda name: matches[name])
    if matches[best] is Match.NO and path.suffix.lower() in SUFFIXES:
        raise UserError(f"data {path}", "is a single picture: at least two are needed", "give a folder of pictures")
    if matches[best] is Match.NO:
        known = "; ".join(f"{name}: {READERS[name].description}" for name in READERS)
        raise UserError(f"data {path}", "is in no known format", f"give one of these ({known})")
    return best


def _call(
    factory: Callable[..., ImageData], what: str, arguments: tuple[Path, ...], options: dict[str, Any]
) -> ImageData:
    """Call `factory`, refusing options that it does not have."""
    known = list(signature(factory).parameters)[len(arguments) :]
    for option in options:
        if option not in known:
            raise UserError(f"option {option!r}", f"is no option of {what}", nearest(option, known))
    return factory(*arguments, **options)


def _correlated(data: ImageData, option: object) -> ImageData:
    if not isinstance(option, list | tuple) or len(option) not in (3, 4):
        raise UserError(f"correlation {option!r}", "must be two factors and a strength", "say [x, y, 0.8]")
    return correlate(data, *option)


def _suggest(name: str | Path) -> str:
    return f"check the path, or {nearest(str(name), RENDERERS)}"
