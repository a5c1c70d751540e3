"""Export the encoder of a model as a torch program (.pt2) that runs without this package."""

from __future__ import annotations

import argparse
from pathlib import Path

from pbt_disent.cli.trained import add_model
from pbt_disent.errors import UserError

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the program, such as encoder.pt2")


def call(options: argparse.Namespace) -> int:
    """Write the program, check it against the model, and say where."""
    from pbt_disent.cli.trained import load_trained
    from pbt_disent.files import writing
    from pbt_disent.models.export import export_encoder

    out: Path = options.out
    if out.suffix != ".pt2" or out.is_dir():
        raise UserError(f"--out {out}", "must be a file that ends in .pt2", f"say --out {out.with_suffix('.pt2')}")
    model, _ = load_trained(options.model, options.runs)
    archive, difference = export_encoder(model)
    with writing(out, len(archive)) as temporary:
        temporary.write_bytes(archive)
    print(f"{out}: loaded again, its codes differ from the model's by {difference:.1e} of the largest at most")
    return 0
