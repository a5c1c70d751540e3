"""A trained model as an argument: a model folder, a run by path or name, or an address in MLflow."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pbt_disent.cli.common import add_runs
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.data.base import ImageData
    from pbt_disent.models import LatentModel
    from pbt_disent.store.run_folder import RunFolder

__all__ = ["add_images", "add_model", "find_trained", "load_images", "load_trained"]

DESCRIPTION = "model.json"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and --runs."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run, a model folder, or runs:/<run id>/model or models:/<name>/<version> in MLflow",
    )
    add_runs(parser)


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add --data and --set."""
    parser.add_argument("--data", metavar="DATA", help="images to encode with the model (default: those of its run)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="given", help="an option of the data"
    )


def load_images(
    options: argparse.Namespace, reference: str, run: RunFolder | None, *, held_out: bool = False
) -> ImageData:
    """Return the images that --data and --set ask for; by default those of the run.

    Args:
        options: with what `add_images` adds.
        reference: what the model was called.
        run: that the model belongs to, if known.
        held_out: of the run's images only those that it was never trained on, where there are any.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    from pbt_disent import data
    from pbt_disent.cli.data import parse_options
    from pbt_disent.cli.progress import bar
    from pbt_disent.data.selection import split

    changes = parse_options(options.given)
    if options.data is not None:
        with bar("images") as progress:
            return data.load(options.data, progress, **changes)
    if run is None:
        raise UserError(f"model {reference}", "needs images to encode", "name them with --data")
    section = run.config().data
    with bar("images") as progress:
        world = data.load(section.name, progress, **{**section.options, **changes})
    if held_out and section.held_out and not changes:
        return data.Subset(world, split(len(world), section.held_out)[1])
    return world


def load_trained(reference: str, runs: Path | str) -> tuple[LatentModel, RunFolder | None]:
    """Return a trained model, and the run that it belongs to where that is known.

    Args:
        reference: a folder with ``model.json``, or with an MLflow model that contains one; a run by path, or by name
            under `runs`; ``runs:/<run id>/model`` or ``models:/<name>/<version>`` in MLflow.
        runs: folder of all runs.

    Raises:
        UserError: there is no model.
    """
    from pbt_disent.models import LatentModel
    from pbt_disent.tracking.models import SCHEMES, download_model

    if reference.startswith(SCHEMES):
        with TemporaryDirectory() as folder:
            return LatentModel.load(_described(download_model(reference, Path(folder)), reference)), None
    found, run = find_trained(reference, runs)
    return LatentModel.load(found), run


def find_trained(reference: str, runs: Path | str) -> tuple[Path, RunFolder | None]:
    """Return the folder with ``model.json`` of a trained model on this machine, and the run that it belongs to.

    Args:
        reference: as for `load_trained`, but for addresses in MLflow.
        runs: folder of all runs.

    Raises:
        UserError: there is no model.
    """
    from pbt_disent.store.filesystem import is_uri
    from pbt_disent.store.finding import find_run
    from pbt_disent.store.run_folder import RunFolder

    if is_uri(reference) or (is_uri(runs) and not Path(reference).is_dir()):
        run = find_run(reference, runs)
        return _of_run(run), run
    runs = Path(runs)
    path = next((path for path in (Path(reference), runs / reference) if path.is_dir()), None)
    if path is None:
        known = sorted(entry.parent.name for entry in runs.glob("*/run.json"))
        raise UserError(
            f"model {reference!r}",
            f"is neither a folder nor a run in {runs}, nor an address in MLflow",
            f"known runs: {', '.join(known) or 'none'}",
        )
    if (path / "run.json").exists():
        run = RunFolder(path)
        return _of_run(run), run
    described = _described(path, reference)
    around = described.resolve().parent
    return described, RunFolder(around) if (around / "run.json").exists() else None


def _of_run(run: RunFolder) -> Path:
    if not (run.model / DESCRIPTION).exists():
        raise UserError(f"run {run.location}", "has no model yet", f"finish it with: pbt-disent resume {run.location}")
    return run.model


def _described(folder: Path, reference: str) -> Path:
    """Return the folder that holds the model's description: the one given, or one inside an MLflow model."""
    if (folder / DESCRIPTION).exists():
        return folder
    inside = sorted(folder.rglob(DESCRIPTION)) if (folder / "MLmodel").exists() else []
    if len(inside) != 1:
        raise UserError(
            f"model {reference!r}",
            f"holds no {DESCRIPTION}, and is neither a run nor an MLflow model of this package",
            "give a model folder, a run, or an npz file of codes",
        )
    return inside[0].parent
