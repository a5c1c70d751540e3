"""Open any set of images, by the name of a world or by a path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, SkipValidation, ValidationError

from pbt_disent.data.base import ImageData, ProgressCallback
from pbt_disent.data.labels import with_labels
from pbt_disent.data.pictures import SUFFIXES, PictureHeader
from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.selection import correlate, select
from pbt_disent.data.worlds import WORLDS, World
from pbt_disent.errors import UserError, nearest
from pbt_disent.registry import Component, Registry, first_mistake

__all__ = ["ViewOptions", "first_picture", "load", "reader_of"]

C = TypeVar("C", bound=Component)


class ViewOptions(BaseModel):
    """The options of all worlds and readers: views on the images, applied in this order and checked as they are."""

    labels: Annotated[Path | str | None, SkipValidation] = Field(
        None,
        description=(
            "A parquet or CSV file of labels to use as factors, one row per image or with a column `index` or `file`."
        ),
    )
    where: Annotated[str | None, SkipValidation] = Field(
        None,
        description=(
            "A rule over the factors that keeps a part of the images, such as `shape != 2 or (x < 16 and scale in [0, "
            "5])`."
        ),
    )
    correlation: Annotated[list[Any] | None, SkipValidation] = Field(
        None,
        description=(
            "Two factors and the strength of the correlation between them that a part of the images has, such as `[x, "
            "y, 0.8]`; a fourth item is the seed of the choice."
        ),
    )


VIEW_OPTIONS = tuple(ViewOptions.model_fields)


def load(name_or_path: str | Path, progress: ProgressCallback | None = None, /, **options: Any) -> ImageData:
    """Return the images that a world's name or a path stands for.

    Args:
        name_or_path: The name of a world (``sprites``), or the path of a file or folder. A path that is called like a
            world is reached with ``./`` before it.
        progress: Called with pictures done and to do while encoded pictures are converted, which is done once.
        options: The options of the world or reader (``size``, ``grid``, ``key`` and so on), and for all of them
            ``labels``, a parquet or CSV file (`with_labels`); ``where``, a rule (`select`); ``correlation``, a list of
            two factors and a strength (`correlate`). For a path also ``reader``, the name of the reader to use instead
            of the one that knows the file best.

    Raises:
        UserError: There is no such world or file, no reader for it, an unreadable file, or an unknown option.

    Example:
        >>> sprites = load("sprites", size=32, grid={"x": 8, "y": 8}, where="shape != 2")
        >>> sprites.factor_names, sprites.shape
        (('shape', 'scale', 'orientation', 'x', 'y'), (1, 32, 32))
        >>> sprites.images([0, 1]).dtype.name, sprites.factors([1]).tolist()
        ('uint8', [[0, 0, 0, 0, 1]])

        An array in a file:

        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> np.savez(path, images=np.zeros((10, 64, 64, 3), dtype=np.uint8), kind=np.arange(10) % 2)
        >>> mine = load(path, factor_key="kind")
        >>> len(mine), mine.shape, mine.factor_sizes
        (10, (3, 64, 64), (2,))
    """
    views = {name: options.pop(name) for name in VIEW_OPTIONS if name in options}
    if str(name_or_path) in WORLDS:
        data: ImageData = _world(str(name_or_path), options)
    else:
        path = _existing_path(name_or_path)
        data = _reader(path, options).open(path, progress)
    if "labels" in views:
        data = with_labels(data, views["labels"])
    if "where" in views:
        data = select(data, views["where"])
    if "correlation" in views:
        correlation = views["correlation"]
        if not isinstance(correlation, list | tuple) or len(correlation) not in (3, 4):
            raise UserError(
                f"correlation {correlation!r}", "must be two factors and a strength", "write for example [x, y, 0.8]"
            )
        data = correlate(data, *correlation)
    return data


def first_picture(name_or_path: str | Path, **options: Any) -> PictureHeader | None:
    """Return the header of the first picture of a set that `load` would convert, or None of any other.

    Args:
        name_or_path: See `load`.
        options: See `load`.

    Raises:
        UserError: The set cannot be opened, or its first file is no picture.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path) in WORLDS or not path.exists():
        return None
    own_options = {name: option for name, option in options.items() if name not in VIEW_OPTIONS}
    return _reader(path, own_options).first_picture(path)


def reader_of(path: Path) -> str:
    """Return the name of the reader that knows `path` best.

    Raises:
        UserError: No reader knows the path.
    """
    matches = {name: READERS[name].match(path) for name in READERS}
    best = max(matches, key=lambda name: matches[name])
    if matches[best] is Match.NO and path.suffix.lower() in SUFFIXES:
        raise UserError(f"data {path}", "is a single picture: at least two are needed", "give a folder of pictures")
    if matches[best] is Match.NO:
        known = "; ".join(f"{name}: {READERS[name].formats}" for name in READERS)
        raise UserError(f"data {path}", "is in no known format", f"give one of these ({known})")
    return best


def _world(name: str, options: dict[str, Any]) -> World:
    return _configure(WORLDS, name, options, VIEW_OPTIONS)


def _reader(path: Path, options: dict[str, Any]) -> Reader:
    name = options.pop("reader", None)
    if not isinstance(name, str | None):
        raise UserError(f"reader {name!r}", "must be a name", nearest("", READERS))
    return _configure(READERS, reader_of(path) if name is None else name, options, ("reader", *VIEW_OPTIONS))


def _existing_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path).expanduser()
    if not path.exists():
        name = str(name_or_path)
        raise UserError(
            f"data {name!r}", "is neither a world nor a file", f"check the path, or {nearest(name, WORLDS)}"
        )
    return path


def _configure(registry: Registry[type[C]], name: str, options: dict[str, Any], common: tuple[str, ...]) -> C:
    """Return a component with these options.

    Args:
        registry: The registry of the component.
        name: The name of the component.
        options: The options of the component.
        common: The names of the options that all components of this kind share.

    Raises:
        UserError: There is no such component, no such option, or a value is not allowed.
    """
    component = registry[name]
    known = (*component.model_fields, *common)
    for option in options:
        if option not in known:
            raise UserError(f"option {option!r}", f"is no option of {registry.kind} {name}", nearest(option, known))
    try:
        return component(**options)
    except ValidationError as error:
        raised = error.errors(include_url=False)[0].get("ctx", {}).get("error")
        if isinstance(raised, UserError):
            raise raised from None
        raise first_mistake(error, component).to_user_error() from None
