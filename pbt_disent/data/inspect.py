"""What a set of images is, and whether it is sound: what `data info` and `data verify` show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pbt_disent.data import load, reader_of
from pbt_disent.data.base import UNKNOWN, ImageData
from pbt_disent.data.checksums import PUBLISHED
from pbt_disent.data.readers import READERS
from pbt_disent.data.renderers import RENDERERS
from pbt_disent.data.storage import Progress
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray, Json

__all__ = ["Finding", "info", "verify"]

BATCH = 512
LOW_CONTRAST = 16


@dataclass(frozen=True)
class Finding:
    """One thing that `verify` saw.

    Attributes:
        level: ``error``: do not use this set; ``warning``: it may not be what was meant; ``note``: it is sound.
        text: what was seen, in one line.
    """

    level: Literal["error", "warning", "note"]
    text: str


def info(name_or_path: str | Path, progress: Progress | None = None, /, **options: Any) -> Json:
    """Return what a renderer or a file is, ready for JSON.

    Args:
        name_or_path: as for `pbt_disent.data.load`.
        progress: likewise.
        options: likewise.

    Raises:
        UserError: it cannot be loaded.
    """
    data = load(name_or_path, progress, **options)
    drawn = str(name_or_path) in RENDERERS
    known = data.factors([0]) is not None
    found: Json = {
        "name": data.name,
        "source": "rendered" if drawn else str(Path(name_or_path).expanduser().resolve()),
        "reader": None if drawn else options.get("reader") or reader_of(Path(name_or_path).expanduser()),
        "images": len(data),
        "channels": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "bytes": len(data) * math.prod(data.shape),
        "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)) if known else {},
        "fingerprint": data.fingerprint,
    }
    for detail in ("layout", "stretch", "skipped"):
        if hasattr(data, detail):
            found[detail] = getattr(data, detail)
    return found


def verify(name_or_path: str | Path, progress: Progress | None = None, /, **options: Any) -> list[Finding]:
    """Look at every file, label and image of a set.

    Args:
        name_or_path: as for `pbt_disent.data.load`.
        progress: called with the number of images looked at and to look at; before that as for `load`.
        options: as for `load`.

    Returns:
        The findings; there is an error among them exactly if the set should not be used.
    """
    path = Path(name_or_path).expanduser()
    drawn = str(name_or_path) in RENDERERS
    findings = [] if drawn else list(_checksums(path))
    try:
        data = load(name_or_path, progress, **options)
        reader = None if drawn else options.get("reader") or reader_of(path)
        findings += _factors(data, complete=reader not in ("arrays", "folder", "parquet"))
        if reader is not None:
            findings += _own_factors(data, path, reader)
        findings += _images(data, progress)
    except UserError as error:
        findings.append(Finding("error", str(error)))
    return findings


def _checksums(path: Path) -> Iterator[Finding]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        if file.name not in PUBLISHED or not file.is_file():
            continue
        known, length = PUBLISHED[file.name], file.stat().st_size
        if known.length not in (None, length):
            yield Finding("error", f"{file.name} has {length:,} bytes, the published file {known.length:,}")
        elif known.matches(file):
            yield Finding("note", f"{file.name} is the published file ({known})")
        elif known.mirrored:
            yield Finding("warning", f"{file.name} differs from the file known by the {known}")
        else:
            yield Finding("error", f"{file.name} is not the published file: it differs from the {known}")


def _factors(data: ImageData, complete: bool) -> Iterator[Finding]:
    ids = data.factors(np.arange(len(data)))
    if ids is None:
        yield Finding("note", "no factors are known")
        return
    for place, (name, size) in enumerate(zip(data.factor_names, data.factor_sizes, strict=True)):
        known = ids[ids[:, place] != UNKNOWN, place]
        counts = np.bincount(known, minlength=size)
        missing = int((counts == 0).sum())
        labelled = "" if len(known) == len(data) else f", known for {len(known):,} of {len(data):,} images"
        if missing:
            yield Finding("warning", f"factor {name}: {missing} of its {size} values never occur{labelled}")
        elif counts.min() == counts.max():
            yield Finding("note", f"factor {name}: {size} values, {counts[0]:,} images each{labelled}")
        else:
            spread = f"{size} values, {counts.min():,} to {counts.max():,} images each{labelled}"
            yield Finding("warning" if complete else "note", f"factor {name}: {spread}")


def _own_factors(data: ImageData, path: Path, reader: str) -> Iterator[Finding]:
    """Compare index arithmetic with the labels in the file."""
    read = READERS[reader].own_factors
    if read is None:
        return
    own: IntArray = read(path)
    used = data.factors(np.arange(len(data)))
    if used is None or own.shape != used.shape:
        yield Finding(
            "warning", f"the file's own labels are {own.shape[0]:,} for {len(data):,} images and are not used"
        )
        return
    for place, name in enumerate(data.factor_names):
        wrong = int((own[:, place] != used[:, place]).sum())
        if wrong:
            yield Finding(
                "warning", f"factor {name}: the file's own labels of {wrong:,} images are wrong and are not used"
            )


def _images(data: ImageData, progress: Progress | None) -> Iterator[Finding]:
    """Read every image once."""
    flat, low, high = 0, 255, 0
    for start in range(0, len(data), BATCH):
        images = data.images(np.arange(start, min(start + BATCH, len(data))))
        lows, highs = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
        flat += int((lows == highs).sum())
        low, high = min(low, int(lows.min())), max(high, int(highs.max()))
        if progress is not None:
            progress(start + len(images), len(data))
    channels, height, width = data.shape
    yield Finding("note", f"{len(data):,} images of {channels} x {height} x {width}, values {low} to {high}")
    if flat == len(data):
        yield Finding("error", "every image is of one colour throughout")
    elif flat:
        yield Finding("warning", f"{flat:,} images are of one colour throughout")
    elif high - low < LOW_CONTRAST:
        yield Finding("warning", f"values from {low} to {high} only: the images have hardly any contrast")
    skipped = getattr(data, "skipped", ())
    if skipped:
        yield Finding(
            "warning", f"{len(skipped)} pictures could not be read and were left out: {', '.join(skipped[:5])}"
        )
