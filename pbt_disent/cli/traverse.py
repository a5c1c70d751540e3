"""Show what latents do to a picture: a strip and an animation of each, from one end of its range to the other."""

from __future__ import annotations

import argparse
from pathlib import Path

from pbt_disent.cli.trained import add_images, add_model
from pbt_disent.errors import UserError

__all__ = ["add_arguments", "call"]

SEEN = 512
"""At most so many images, evenly spread, say where a latent's range lies."""
PIXELS = 64
"""Smaller pictures are enlarged to about this width."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    add_images(parser)
    parser.add_argument(
        "--latent", action="append", metavar="NAME|INDEX", help="which one; may be given again (default: all)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the pictures")
    parser.add_argument("--image", type=int, metavar="N", help="start from this image (default: the most ordinary one)")
    parser.add_argument("--frames", type=int, default=11, metavar="N", help="pictures in a strip (%(default)s)")


def call(options: argparse.Namespace) -> int:
    """Write ``traversal-<latent>.png`` and ``.gif`` of each latent and say where."""
    import numpy as np

    from pbt_disent.cli.trained import load_images, load_trained
    from pbt_disent.files import writing
    from pbt_disent.models.codes_table import check_fit
    from pbt_disent.report.latents import starting_point
    from pbt_disent.report.pictures import gif, png, strip

    if options.frames < 2:
        raise UserError(f"--frames {options.frames}", "must be at least 2", "leave it out")
    model, run = load_trained(options.model, options.runs)
    chosen = [model.index(latent) for latent in options.latent or model.latents]
    data = load_images(options, options.model, run)
    check_fit(model, data)
    if options.image is not None and not 0 <= options.image < len(data):
        raise UserError(f"--image {options.image}", f"must lie between 0 and {len(data) - 1}", "count from 0")
    spread = np.unique(np.linspace(0, len(data) - 1, SEEN).astype(np.int64))
    start, low, high = starting_point(model.encode(data.images(spread)))
    if options.image is not None:
        start = model.encode(data.images([options.image]))[0]
    scale = max(1, PIXELS // model.image_shape[2])
    for index in dict.fromkeys(chosen):
        frames = model.traverse(start, index, np.linspace(low[index], high[index], options.frames))
        for suffix, content in (("png", png(strip(frames), scale)), ("gif", gif(frames, scale))):
            name = f"traversal-{model.latents[index]}.{suffix}"
            with writing(options.out / name, len(content)) as temporary:
                temporary.write_bytes(content)
            print(options.out / name)
    return 0
