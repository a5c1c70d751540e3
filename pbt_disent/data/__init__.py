"""Any set of images, by name or by path: rendered worlds, the field's published sets, and a user's own files.

``load("sprites", size=32).images([0, 1])`` gives (2, 1, 32, 32) uint8, ``load("3dshapes.h5").factors([7])`` the class
ids (1, 6) of one image.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

from pbt_disent.data.base import UNKNOWN, ImageData, Subset
from pbt_disent.data.labels import with_labels
from pbt_disent.data.pictures import SUFFIXES, Header
from pbt_disent.data.readers import READERS, Match
from pbt_disent.data.renderers import RENDERERS
from pbt_disent.data.resize import Resized
from pbt_disent.data.selection import correlate, select
from pbt_disent.data.storage import Progress, StoredImages, materialise
from pbt_disent.errors import UserError, nearest

__all__ = [
    "READERS",
    "RENDERERS",
    "UNKNOWN",
    "ImageData",
    "StoredImages",
    "Subset",
    "correlate",
    "first_picture",
    "load",
    "materialise",
    "reader_of",
    "select",
    "with_labels",
]

VIEWS = ("labels", "where", "correlation")


def load(name_or_path: str | Path, progress: Progress | None = None, /, **options: Any) -> ImageData:
    """Return the images that a renderer's name or a path stands for.

    Args:
        name_or_path: a renderer (``sprites``), or a file or folder; a path that is called like a renderer is reached
            with ``./`` before it.
        progress: called with pictures done and to do while encoded pictures are converted, which is done once.
        options: what the renderer or reader takes (``size``, ``grid``, ``key`` and so on), and for all of them
            ``labels``, a parquet or CSV file (`with_labels`); ``where``, a rule (`select`); ``correlation``, a list of
            two factors and a strength (`correlate`). For a path also ``size``, and ``reader``, the name of the reader
            to use instead of the one that knows the file best.

    Raises:
        UserError: no such renderer or file, no reader for it, an unreadable file, an unknown option.
    """
    views = {name: options.pop(name) for name in VIEWS if name in options}
    data = _open(name_or_path, options, progress)
    if "labels" in views:
        data = with_labels(data, views["labels"])
    if "where" in views:
        data = select(data, views["where"])
    if "correlation" in views:
        data = _correlated(data, views["correlation"])
    return data


def first_picture(name_or_path: str | Path, **options: Any) -> Header | None:
    """Return the header of the first picture of a set that `load` would convert; none of any other.

    Args:
        name_or_path: as for `load`.
        options: likewise.

    Raises:
        UserError: as for `load`, or it is no picture.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path) in RENDERERS or not path.exists():
        return None
    first = READERS[options.get("reader") or reader_of(path)].first
    if first is None:
        return None
    return first(path, **{key: value for key, value in options.items() if key in signature(first).parameters})


def _open(name_or_path: str | Path, options: dict[str, Any], progress: Progress | None) -> ImageData:
    if str(name_or_path) in RENDERERS:
        renderer = RENDERERS[str(name_or_path)]
        _refuse_unknown(options, f"renderer {name_or_path}", list(signature(renderer).parameters))
        return renderer(**options)
    path = Path(name_or_path).expanduser()
    if not path.exists():
        raise UserError(f"data {str(name_or_path)!r}", "is neither a renderer nor a file", _suggest(name_or_path))
    wanted = options.pop("reader", None)
    if not isinstance(wanted, str | None):
        raise UserError(f"reader {wanted!r}", "must be a name", nearest("", READERS))
    name = wanted if wanted is not None else reader_of(path)
    reader = READERS[name].open
    takes = signature(reader).parameters
    size = None if "size" in takes else options.pop("size", None)
    _refuse_unknown(options, f"reader {name}", [key for key in takes if key not in ("path", "progress")])
    data = reader(path, **options, **({"progress": progress} if "progress" in takes else {}))
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


def _refuse_unknown(options: dict[str, Any], what: str, known: list[str]) -> None:
    for option in options:
        if option not in known:
            raise UserError(f"option {option!r}", f"is no option of {what}", nearest(option, known))


def _correlated(data: ImageData, option: object) -> ImageData:
    if not isinstance(option, list | tuple) or len(option) not in (3, 4):
        raise UserError(f"correlation {option!r}", "must be two factors and a strength", "say [x, y, 0.8]")
    return correlate(data, *option)


def _suggest(name: str | Path) -> str:
    return f"check the path, or {nearest(str(name), RENDERERS)}"
