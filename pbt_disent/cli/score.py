"""Score a trained model, or anyone's codes, with any of the metrics."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.metrics.score import Scored

__all__ = ["add_arguments", "call"]

ARRAYS = ("codes", "factors", "information", "test_codes", "test_factors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "source",
        metavar="MODEL",
        help=f"a model or run folder (then --data), or an npz file with arrays called {', '.join(ARRAYS)}",
    )
    parser.add_argument("--data", metavar="DATA", help="images with known factors, to encode with the model")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="given", help="an option of the data"
    )
    parser.add_argument("--metrics", default="all", help="names with commas between them, or all (%(default)s)")
    parser.add_argument("--budget", default="protocol", help="protocol (published sizes) or fast (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (%(default)s)")
    parser.add_argument("--no-intervals", action="store_true", help="leave the error bars out")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write the latent x factor matrices as PNG")
    parser.add_argument("--json", action="store_true", help="print JSON")


def call(options: argparse.Namespace) -> int:
    """Gather the codes once, score them with every metric asked for, and print a table or JSON."""
    from pbt_disent.metrics import score

    arrays, factors = _gather(options)
    wanted = "all" if options.metrics == "all" else [name.strip() for name in options.metrics.split(",")]
    scored = score(
        arrays["codes"],
        arrays.get("factors"),
        information=arrays.get("information"),
        test_codes=arrays.get("test_codes"),
        test_factors=arrays.get("test_factors"),
        metrics=wanted,
        budget=options.budget,
        seed=options.seed,
        intervals=not options.no_intervals,
    )
    if options.pictures:
        _draw(options.pictures, scored, arrays["codes"].shape[-1], factors)
    if options.json:
        print(json.dumps({name: _as_json(one) for name, one in scored.items()}, indent=1))
    else:
        _print(scored)
    return 0


def _gather(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return the arrays to score, and the names of the factors."""
    path = Path(options.source)
    if path.suffix == ".npz":
        arrays = _read(path)
        columns = arrays["factors"].shape[1] if arrays.get("factors") is not None and arrays["factors"].ndim == 2 else 0
        return arrays, [f"v{column}" for column in range(columns)]
    return _encode(options, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ARRAYS}
            there = ", ".join(archive.files)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"file {path}", f"must be an npz of plain arrays ({reason})", "check the path") from None
    if "codes" not in arrays:
        raise UserError(f"file {path}", f"has no array called codes (it has {there or 'none'})", "rename one")
    return arrays


def _encode(options: argparse.Namespace, path: Path) -> tuple[dict[str, Any], list[str]]:
    from pbt_disent import data as data_module
    from pbt_disent.cli.data import parse_options
    from pbt_disent.metrics.score import POINTS
    from pbt_disent.models import LatentModel
    from pbt_disent.seeds import Streams

    folder = path / "model" if (path / "model" / "model.json").exists() else path
    model = LatentModel.load(folder)
    run = folder.parent / "config.yaml"
    if options.data is None and not run.exists():
        raise UserError(f"model {path}", "needs images to encode", "name them with --data")
    if options.data is None:
        section = yaml.safe_load(run.read_text(encoding="utf-8"))["data"]
        world = data_module.load(section["name"], **{**section["options"], **parse_options(options.given)})
    else:
        world = data_module.load(options.data, **parse_options(options.given))
    count = min(len(world), sum(POINTS["protocol"]))
    drawn = np.sort(Streams(options.seed).generator("score", "images").choice(len(world), count, replace=False))
    arrays: dict[str, Any] = {"codes": model.encode(world.images(drawn))}
    factors = world.factors(drawn)
    names: list[str] = []
    if factors is not None:
        varying = [k for k in range(factors.shape[1]) if len(np.unique(factors[:, k])) > 1]
        arrays["factors"], names = factors[:, varying], [world.factor_names[k] for k in varying]
    return arrays, names


def _as_json(scored: Scored) -> dict[str, Any]:
    record = scored.result.record
    return {
        "values": scored.values,
        "intervals": {
            part: [{"low": one.low, "high": one.high, "level": one.level, "over": one.over} for one in found]
            for part, found in scored.intervals.items()
        },
        "higher_is_better": scored.result.higher_is_better,
        "bounds": [bound if np.isfinite(bound) else None for bound in scored.result.bounds],
        "budget": record.budget,
        "samples": dict(record.samples),
        "parameters": dict(record.parameters),
        "seed": record.seed,
        "version": record.version,
    }


def _print(scored: dict[str, Scored]) -> None:
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
    if any(one.intervals for one in scored.values()):
        console.print("Intervals are 95 %.", highlight=False)


def _draw(folder: Path, scored: dict[str, Scored], latents: int, factors: list[str]) -> None:
    from pbt_disent.report.matrices import write_matrices

    results = {name: one.result for name, one in scored.items()}
    for path in write_matrices(folder, results, latents, factors):
        print(path)
