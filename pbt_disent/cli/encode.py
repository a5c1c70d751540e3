"""Encode images of any number to a parquet table: a row per image, a column per latent."""

from __future__ import annotations

import argparse
from pathlib import Path

from pbt_disent.cli.trained import add_images, add_model
from pbt_disent.errors import UserError

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    add_images(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, such as codes.parquet")
    parser.add_argument("--batch", type=int, default=256, metavar="N", help="images at a time (%(default)s)")
    parser.add_argument("--log-sigma", action="store_true", help="also write log standard deviations")


def call(options: argparse.Namespace) -> int:
    """Write the table and say where."""
    from pbt_disent.cli.progress import bar
    from pbt_disent.cli.trained import load_images, load_trained
    from pbt_disent.models.codes_table import write_codes

    if options.batch < 1:
        raise UserError(f"--batch {options.batch}", "must be at least 1", "leave it out")
    model, run = load_trained(options.model, options.runs)
    data = load_images(options, options.model, run)
    with bar("encoding") as progress:
        write_codes(model, data, options.out, batch=options.batch, log_sigma=options.log_sigma, progress=progress)
    print(f"{len(data):,} images, {len(model.latents)} latents in {options.out}")
    return 0
