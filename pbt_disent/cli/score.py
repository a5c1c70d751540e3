"""Score a trained model, or anyone's codes, with any of the metrics."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pbt_disent import __version__
from pbt_disent.cli.common import add_runs
from pbt_disent.cli.trained import add_images
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.data.base import ImageData
    from pbt_disent.metrics.score import Scored
    from pbt_disent.types import IntArray

__all__ = ["add_arguments", "call"]

ARRAYS = (
    "codes", "factors", "information", "sigma", "test_codes", "test_factors",
    "images", "reconstructions", "generated", "features", "generated_features",
)  # fmt: skip


ENOUGH = 60
"""Points that can be split into a training and a test part."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "source",
        metavar="MODEL",
        help="a run, a model folder, runs:/<run id>/model or models:/<name>/<version> in MLflow, or an npz file with "
        f"arrays called {', '.join(ARRAYS)}, of which codes are needed",
    )
    add_images(parser)
    parser.add_argument("--metrics", default="all", help="names with commas between them, or all (%(default)s)")
    parser.add_argument("--budget", default="protocol", help="protocol (published, minutes) or fast (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (%(default)s)")
    parser.add_argument("--no-intervals", action="store_true", help="leave the error bars out")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the latent x factor matrices as PNG")
    parser.add_argument("--json", action="store_true", help="print JSON; what is infinite is null")
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Gather the codes once, score them with every metric asked for, and print a table or JSON."""
    from pbt_disent.cli.progress import working
    from pbt_disent.metrics import score

    arrays, latents, factors = _gather(options)
    wanted = "all" if options.metrics == "all" else [name.strip() for name in options.metrics.split(",")]
    with working("reading") as begun:
        scored = score(
            **arrays,
            metrics=wanted,
            budget=options.budget,
            seed=options.seed,
            intervals=not options.no_intervals,
            begun=begun,
        )
    if options.pictures:
        _draw(options.pictures, scored, latents, factors)
    if options.json:
        print(json.dumps({name: _as_json(one) for name, one in scored.items()}, indent=1))
    else:
        _print(scored, options.seed)
    return 0


def _gather(options: argparse.Namespace) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return the arrays to score, the names of the latents, and those of the factors."""
    path = Path(options.source)
    if path.suffix == ".npz":
        arrays = _read(path)
        columns = arrays["factors"].shape[1] if arrays.get("factors") is not None and arrays["factors"].ndim == 2 else 0
        latents = [f"f{column}" for column in range((0, *arrays["codes"].shape)[-1])]
        return arrays, latents, [f"v{column}" for column in range(columns)]
    return _encode(options)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ARRAYS}
            there = ", ".join(archive.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"file {path}", f"must be an npz of plain arrays ({reason})", "check the path") from None
    if "codes" not in arrays:
        raise UserError(f"file {path}", f"has no array called codes (it has {there or 'none'})", "rename one")
    return arrays


def _encode(options: argparse.Namespace) -> tuple[dict[str, Any], list[str], list[str]]:
    """Encode at most as many images as the protocol uses, drawn by the seed, and return codes and known factors.

    Where labels are partial, the images that have all of them are used, if they are enough to be halved.

    Some of them are decoded again, and as many images generated: every latent of each is that of another image, which
    any kind of model can be asked for and only one with independent latents does well.
    """
    from pbt_disent.cli.trained import load_images, load_trained
    from pbt_disent.metrics.score import DECODED, POINTS
    from pbt_disent.report.true_factors import varying_factors
    from pbt_disent.seeds import Streams

    model, run = load_trained(options.source, options.runs)
    world = load_images(options, options.source, run, held_out=True)
    rows = _labelled(world)
    count = min(len(rows), sum(POINTS["protocol"]))
    drawn = np.sort(Streams(options.seed).generator("score", "images").choice(rows, count, replace=False))
    images = world.images(drawn)
    encoded = model.posterior(images)
    rng = Streams(options.seed).generator("score", "decoded")
    shown = np.sort(rng.permutation(count)[: DECODED["protocol"]])
    some = encoded.codes[shown]
    recombined = rng.permuted(some, axis=0)
    arrays: dict[str, Any] = {
        "codes": encoded.codes,
        "images": images[shown] / np.float32(255),
        "reconstructions": model.decode(some),
        "generated": model.decode(recombined),
    }
    if encoded.log_sigma is not None:
        arrays["sigma"] = np.exp(encoded.log_sigma)
    factors = world.factors(drawn)
    columns = [] if factors is None else varying_factors(factors)
    if factors is not None and columns:
        arrays["factors"] = factors[:, columns]
    return arrays, model.latents, [world.factor_names[column] for column in columns]


def _labelled(world: ImageData) -> IntArray:
    """Return the images of which every factor is known, or all where these are too few."""
    from pbt_disent.data.base import UNKNOWN

    everything = np.arange(len(world))
    factors = world.factors(everything)
    complete = everything if factors is None else np.flatnonzero((factors != UNKNOWN).all(axis=1))
    return complete if len(complete) >= ENOUGH else everything


def _as_json(scored: Scored) -> dict[str, Any]:
    record = scored.result.record
    return {
        "values": {part: _finite(value) for part, value in scored.values.items()},
        "intervals": {
            part: [
                {"low": _finite(one.low), "high": _finite(one.high), "level": one.level, "over": one.over}
                for one in found
            ]
            for part, found in scored.intervals.items()
        },
        "higher_is_better": scored.result.higher_is_better,
        "bounds": [_finite(bound) for bound in scored.result.bounds],
        "budget": record.budget,
        "samples": dict(record.samples),
        "parameters": dict(record.parameters),
        "seed": record.seed,
        "version": record.version,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _print(scored: dict[str, Scored], seed: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "part", "value", "interval", "budget", "samples")
    for name, one in scored.items():
        record = one.result.record
        samples = ", ".join(f"{count:,} {what}" for what, count in record.samples.items())
        for number, (part, value) in enumerate(one.values.items()):
            found = one.intervals.get(part, ())
            bars = "; ".join(f"{each.low:.3f} to {each.high:.3f} ({each.over})" for each in found)
            first = number == 0
            table.add_row(
                name if first else "", part, f"{value:.4f}", bars or "none", record.budget if first else "",
                samples if first else "",
            )  # fmt: skip
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    console.print(table)
    said = "Intervals are 95 %. " if any(one.intervals for one in scored.values()) else ""
    if any(part in one.intervals and not one.intervals[part] for one in scored.values() for part in one.values):
        said += "None where half of the points are too few to be scored, or the score is infinite. "
    console.print(f"{said}Seed {seed}, pbt-disent {__version__}.", highlight=False)


def _draw(folder: Path, scored: dict[str, Scored], latents: list[str], factors: list[str]) -> None:
    from pbt_disent.report.export import write_matrices

    results = {name: one.result for name, one in scored.items()}
    for path in write_matrices(folder, results, latents, factors):
        print(path)
