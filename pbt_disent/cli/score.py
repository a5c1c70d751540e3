"""The verb `score`: score a trained model, or anyone's codes, with any of the metrics."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbt_disent import __version__
from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import DataOptions, ImagesToEncode, Runs, parse_options
from pbt_disent.cli.models import load_images, load_trained
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.data.base import ImageData
    from pbt_disent.metrics import MetricScore
    from pbt_disent.types import IntArray

__all__ = ["score"]

ARRAYS = (
    "codes", "factors", "information", "sigma", "test_codes", "test_factors",
    "images", "reconstructions", "generated", "features", "generated_features",
)  # fmt: skip
FEWEST_LABELLED = 60
"""The number of points that can be split into a training and a test part."""


@verb(
    "score runs/demo-1 --metrics mig,dci",
    "score codes.npz --budget fast --json",
    "score demo-1 --data my-pictures/ --pictures matrices/",
)
def score(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A run, a model folder, runs:/<run id>/model or models:/<name>/<version> in MLflow, or an npz file "
            f"with arrays called {', '.join(ARRAYS)}, of which codes are needed.",
        ),
    ],
    data: ImagesToEncode = None,
    options: DataOptions = None,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="NAMES", help="The names of metrics with commas between them, or all.")
    ] = "all",
    budget: Annotated[
        str, typer.Option("--budget", metavar="NAME", help="The sample sizes: protocol (published, minutes) or fast.")
    ] = "protocol",
    seed: Annotated[int, typer.Option("--seed", help="The seed of all draws.")] = 0,
    no_intervals: Annotated[bool, typer.Option("--no-intervals", help="Leave the intervals out.")] = False,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="FOLDER", help="Write the latent x factor matrices to this folder as PNG."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with null for what is infinite.")] = False,
    runs: Runs = "runs",
) -> None:
    """Score a trained model, or anyone's codes, with metrics."""
    from pbt_disent import metrics as metrics_module
    from pbt_disent.cli.progress import working

    path = Path(source)
    if path.suffix == ".npz":
        arrays = _read_arrays(path)
        factors = arrays.get("factors")
        columns = 0 if factors is None or factors.ndim != 2 else factors.shape[1]
        latent_names = [f"f{column}" for column in range((0, *arrays["codes"].shape)[-1])]
        factor_names = [f"v{column}" for column in range(columns)]
    else:
        arrays, latent_names, factor_names = _encode(source, data, parse_options(options), seed, runs)
    with working("reading") as begun:
        scores = metrics_module.score(
            metrics_module.MetricInputs(**arrays),
            "all" if metrics == "all" else [name.strip() for name in metrics.split(",")],
            budget=budget,
            seed=seed,
            intervals=not no_intervals,
            on_metric=begun,
        )
    if pictures:
        _write_matrices(pictures, scores, latent_names, factor_names)
    if as_json:
        print(json.dumps({name: _as_json(scored) for name, scored in scores.items()}, indent=1))
    else:
        _print_scores(scores, seed)


def _read_arrays(path: Path) -> dict[str, Any]:
    """Read the arrays of an npz file that have a meaning for metrics."""
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ARRAYS}
            names = ", ".join(archive.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"file {path}", f"must be an npz of plain arrays ({reason})", "check the path") from None
    if "codes" not in arrays:
        raise UserError(f"file {path}", f"has no array called codes (it has {names or 'none'})", "rename one")
    return arrays


def _encode(
    reference: str, source: str | None, options: dict[str, Any], seed: int, runs: str
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Encode images with a model, and return codes and known factors, the latents' names and the factors' names.

    At most as many images are used as the protocol asks for, drawn by the seed. Where labels are partial, the images
    that have all of them are used, if they are enough to be halved.

    Some images are decoded again, and as many are generated: each latent of a generated image is that of another
    image, which any kind of model can decode and only one with independent latents decodes well.
    """
    import numpy as np

    from pbt_disent.metrics import MAXIMUM_DECODED, MAXIMUM_POINTS
    from pbt_disent.rounds.evaluation import varying_factors
    from pbt_disent.seeds import Streams

    model, run = load_trained(reference, runs)
    data = load_images(source, options, reference, run, held_out=True)
    rows = _labelled_rows(data)
    count = min(len(rows), sum(MAXIMUM_POINTS["protocol"]))
    drawn = np.sort(Streams(seed).generator("score", "images").choice(rows, count, replace=False))
    images = data.images(drawn)
    posterior = model.posterior(images)
    rng = Streams(seed).generator("score", "decoded")
    decoded = np.sort(rng.permutation(count)[: MAXIMUM_DECODED["protocol"]])
    codes = posterior.codes[decoded]
    recombined = rng.permuted(codes, axis=0)
    arrays: dict[str, Any] = {
        "codes": posterior.codes,
        "images": images[decoded] / np.float32(255),
        "reconstructions": model.decode(codes),
        "generated": model.decode(recombined),
    }
    if posterior.log_sigma is not None:
        arrays["sigma"] = np.exp(posterior.log_sigma)
    factors = data.factors(drawn)
    columns = [] if factors is None else varying_factors(factors)
    if factors is not None and columns:
        arrays["factors"] = factors[:, columns]
    return arrays, model.latents, [data.factor_names[column] for column in columns]


def _labelled_rows(data: ImageData) -> IntArray:
    """Return the indices of the images whose factors are all known, or of all images where these are too few."""
    import numpy as np

    from pbt_disent.data.base import UNKNOWN

    rows = np.arange(len(data))
    factors = data.factors(rows)
    labelled = rows if factors is None else np.flatnonzero((factors != UNKNOWN).all(axis=1))
    return labelled if len(labelled) >= FEWEST_LABELLED else rows


def _as_json(scored: MetricScore) -> dict[str, Any]:
    provenance = scored.result.provenance
    return {
        "values": {part: _finite(value) for part, value in scored.values.items()},
        "intervals": {
            part: [
                {
                    "low": _finite(interval.low),
                    "high": _finite(interval.high),
                    "level": interval.level,
                    "over": interval.over,
                }
                for interval in intervals
            ]
            for part, intervals in scored.intervals.items()
        },
        "higher_is_better": scored.result.higher_is_better,
        "bounds": [_finite(bound) for bound in scored.result.bounds],
        "budget": provenance.budget,
        "samples": dict(provenance.samples),
        "parameters": dict(provenance.parameters),
        "seed": provenance.seed,
        "version": provenance.version,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_scores(scores: dict[str, MetricScore], seed: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "part", "value", "interval", "budget", "samples")
    for name, scored in scores.items():
        provenance = scored.result.provenance
        samples = ", ".join(f"{count:,} {what}" for what, count in provenance.samples.items())
        for number, (part, value) in enumerate(scored.values.items()):
            intervals = "; ".join(
                f"{interval.low:.3f} to {interval.high:.3f} ({interval.over})"
                for interval in scored.intervals.get(part, ())
            )
            first = number == 0
            table.add_row(
                name if first else "", part, f"{value:.4f}", intervals or "none", provenance.budget if first else "",
                samples if first else "",
            )  # fmt: skip
    console = Console()
    console = console if console.is_terminal else Console(width=140)
    console.print(table)
    notes = "Intervals are 95 %. " if any(scored.intervals for scored in scores.values()) else ""
    if any(not intervals for scored in scores.values() for intervals in scored.intervals.values()):
        notes += "None where half of the points are too few to be scored, or the score is infinite. "
    console.print(f"{notes}Seed {seed}, pbt-disent {__version__}.", highlight=False)


def _write_matrices(folder: Path, scores: dict[str, MetricScore], latents: list[str], factors: list[str]) -> None:
    from pbt_disent.report.export import write_matrices

    results = {name: scored.result for name, scored in scores.items()}
    for path in write_matrices(folder, results, latents, factors):
        print(path)
