"""Choose what the preset `auto` leaves open, from the data and from the machine."""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent.config import Config, load_config, override
from pbt_disent.data import first_picture, load
from pbt_disent.data.base import ImageData, ProgressCallback
from pbt_disent.errors import UserError
from pbt_disent.machine import usable_cpus

__all__ = ["automatic_config"]

SIZES = (16, 28, 32, 64, 128)
"""The sizes of images that a convolutional network takes; listed here since their modules import torch."""
FEWEST_PASSES, MOST_PASSES = 8_000, 480_000


def automatic_config(source: str, overrides: Sequence[str], progress: ProgressCallback | None = None) -> Config:
    """Return a config that fits a set of images and the machine.

    Images of a size that no network takes are resized: to 32 pixels on up to 8 CPUs, to 64 on more. A generation is
    one pass over the images, within 8,000 and 480,000. More CPUs make the population larger, up to 16 members.

    Args:
        source: The name of a rendered world, or the path of a data file or folder.
        overrides: The values to set in place of automatic ones, each of the form ``a.b=c``.
        progress: A function that is called with the images done and the images in all.

    Raises:
        UserError: The data cannot be read, or an override is wrong.
    """
    source_override = override("data.name", source)
    config = load_config("auto", [source_override, *overrides])
    cpus = config.resources.cpus or usable_cpus()
    options = dict(config.data.options)
    data = _load_sized(source, options, 32 if cpus <= 8 else 64, progress)
    new_options = {key: value for key, value in options.items() if key not in config.data.options}
    image_passes = min(max(len(data), FEWEST_PASSES), MOST_PASSES)
    members = max(4, min(cpus // 2, 16))
    choices = [
        *(override(f"data.options.{key}", value) for key, value in new_options.items()),
        f"population.image_passes_per_generation={image_passes}",
        f"population.size={members}",
        f"final.size={members + 2}",
        f"final.image_passes_per_generation={image_passes}",
        f"final.fitness.points={min(max(len(data), 100), 10_000)}",
    ]
    return load_config("auto", [source_override, *choices, *overrides])


def _load_sized(source: str, options: dict[str, object], size: int, progress: ProgressCallback | None) -> ImageData:
    """Open the data, at a size that a network takes; note the size in the options if it had to be chosen.

    Pictures are not converted at a size of their own that no network takes: photographs would fill the disk.
    """
    if "size" in options:
        return load(source, progress, **options)
    try:
        header = first_picture(source, **options)
        if header is None or _is_supported(header.height, header.width):
            data = load(source, progress, **options)
            if _is_supported(*data.shape[1:]):
                return data
    except UserError:  # such as pictures of mixed sizes
        pass
    options["size"] = size
    return load(source, progress, **options)


def _is_supported(height: int, width: int) -> bool:
    return height == width and height in SIZES
