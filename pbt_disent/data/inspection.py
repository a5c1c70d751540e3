"""What a set of images is, and whether it is intact: what `data info` and `data verify` show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pbt_disent.data.base import UNKNOWN, ImageData, ProgressCallback
from pbt_disent.data.loading import load, reader_of
from pbt_disent.data.readers import READERS, PublishedFile, Reader
from pbt_disent.data.worlds import WORLDS
from pbt_disent.errors import UserError
from pbt_disent.types import Json

__all__ = ["Finding", "info", "published_files", "verify"]

BATCH = 512
LOW_CONTRAST = 16


@dataclass(frozen=True)
class Finding:
    """One observation of `verify`.

    Attributes:
        level: ``error``: do not use this set; ``warning``: it may not be what was meant; ``note``: it is as it should.
        text: The observation, in one line.
    """

    level: Literal["error", "warning", "note"]
    text: str


def info(name_or_path: str | Path, progress: ProgressCallback | None = None, /, **options: Any) -> Json:
    """Return what a world or a file is, ready for JSON.

    Args:
        name_or_path: See `pbt_disent.data.load`.
        progress: See `pbt_disent.data.load`.
        options: See `pbt_disent.data.load`.

    Raises:
        UserError: The set cannot be loaded.

    Example:
        >>> description = info("sprites", size=16, grid={"x": 4, "y": 4, "orientation": 1})
        >>> description["images"], description["factors"]
        (288, {'shape': 3, 'scale': 6, 'orientation': 1, 'x': 4, 'y': 4})
    """
    data = load(name_or_path, progress, **options)
    is_world = str(name_or_path) in WORLDS
    has_factors = data.factors([0]) is not None
    description: Json = {
        "name": data.name,
        "source": "rendered" if is_world else str(Path(name_or_path).expanduser().resolve()),
        "reader": None if is_world else options.get("reader") or reader_of(Path(name_or_path).expanduser()),
        "images": len(data),
        "channels": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "bytes": len(data) * math.prod(data.shape),
        "factors": dict(zip(data.factor_names, data.factor_sizes, strict=True)) if has_factors else {},
        "fingerprint": data.fingerprint,
    }
    for detail in ("layout", "stretch", "skipped"):
        if hasattr(data, detail):
            description[detail] = getattr(data, detail)
    return description


def verify(name_or_path: str | Path, progress: ProgressCallback | None = None, /, **options: Any) -> list[Finding]:
    """Check every file, label and image of a set.

    Args:
        name_or_path: See `pbt_disent.data.load`.
        progress: Called with the number of images checked and to check; before that as by `pbt_disent.data.load`.
        options: See `pbt_disent.data.load`.

    Returns:
        The findings. There is an error among them exactly if the set should not be used.

    Example:
        >>> for finding in verify("sprites", size=16, grid={"scale": 1, "orientation": 1, "x": 4, "y": 4})[:2]:
        ...     print(f"{finding.level}: {finding.text}")
        note: factor shape: 3 values, 16 images each
        note: factor scale: 1 values, 48 images each
    """
    path = Path(name_or_path).expanduser()
    is_world = str(name_or_path) in WORLDS
    findings = [] if is_world else list(_check_digests(path))
    try:
        data = load(name_or_path, progress, **options)
        reader = None if is_world else READERS[options.get("reader") or reader_of(path)]
        findings += _check_factors(data, is_balanced=reader is None or reader.is_balanced)
        if reader is not None:
            findings += _compare_file_factors(data, path, reader)
        findings += _check_images(data, progress)
    except UserError as error:
        findings.append(Finding("error", str(error)))
    return findings


def published_files() -> dict[str, PublishedFile]:
    """Return what all readers know of the files of published sets, by name."""
    return {name: file for reader in READERS for name, file in READERS[reader].published_files.items()}


def _check_digests(path: Path) -> Iterator[Finding]:
    known_files = published_files()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.name not in known_files or not file.is_file():
            continue
        published, length = known_files[file.name], file.stat().st_size
        if published.length not in (None, length):
            yield Finding("error", f"{file.name} has {length:,} bytes, the published file {published.length:,}")
        elif published.matches(file):
            yield Finding("note", f"{file.name} is the published file ({published})")
        elif published.has_variants:
            yield Finding("warning", f"{file.name} differs from the file known by the {published}")
        else:
            yield Finding("error", f"{file.name} is not the published file: it differs from the {published}")


def _check_factors(data: ImageData, is_balanced: bool) -> Iterator[Finding]:
    ids = data.factors(np.arange(len(data)))
    if ids is None:
        yield Finding("note", "no factors are known")
        return
    for name, size, column in zip(data.factor_names, data.factor_sizes, ids.T, strict=True):
        known = column[column != UNKNOWN]
        counts = np.bincount(known, minlength=size)
        num_missing = int((counts == 0).sum())
        share = "" if len(known) == len(data) else f", known for {len(known):,} of {len(data):,} images"
        if num_missing:
            yield Finding("warning", f"factor {name}: {num_missing} of its {size} values never occur{share}")
        elif counts.min() == counts.max():
            yield Finding("note", f"factor {name}: {size} values, {counts[0]:,} images each{share}")
        else:
            spread = f"{size} values, {counts.min():,} to {counts.max():,} images each{share}"
            yield Finding("warning" if is_balanced else "note", f"factor {name}: {spread}")


def _compare_file_factors(data: ImageData, path: Path, reader: type[Reader]) -> Iterator[Finding]:
    """Compare index arithmetic with the labels in the file."""
    in_file = reader.file_factors(path)
    if in_file is None:
        return
    used = data.factors(np.arange(len(data)))
    if used is None or in_file.shape != used.shape:
        yield Finding(
            "warning", f"the file's own labels are {in_file.shape[0]:,} for {len(data):,} images and are not used"
        )
        return
    for name, wrong in zip(data.factor_names, (in_file != used).sum(axis=0).tolist(), strict=True):
        if wrong:
            yield Finding(
                "warning", f"factor {name}: the file's own labels of {wrong:,} images are wrong and are not used"
            )


def _check_images(data: ImageData, progress: ProgressCallback | None) -> Iterator[Finding]:
    """Read every image once."""
    num_flat, low, high = 0, 255, 0
    for start in range(0, len(data), BATCH):
        images = data.images(np.arange(start, min(start + BATCH, len(data))))
        lows, highs = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
        num_flat += int((lows == highs).sum())
        low, high = min(low, int(lows.min())), max(high, int(highs.max()))
        if progress is not None:
            progress(start + len(images), len(data))
    channels, height, width = data.shape
    yield Finding("note", f"{len(data):,} images of {channels} x {height} x {width}, values {low} to {high}")
    if num_flat == len(data):
        yield Finding("error", "every image is of one colour throughout")
    elif num_flat:
        yield Finding("warning", f"{num_flat:,} images are of one colour throughout")
    elif high - low < LOW_CONTRAST:
        yield Finding("warning", f"values from {low} to {high} only: the images have hardly any contrast")
    skipped = getattr(data, "skipped", ())
    if skipped:
        yield Finding(
            "warning", f"{len(skipped)} pictures could not be read and were left out: {', '.join(skipped[:5])}"
        )
