"""The verbs on a trained model: `encode`, `traverse`, `export` and `register`; and how a model and images are found."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import (
    DataOptions,
    ImagesToEncode,
    ModelReference,
    RunReference,
    Runs,
    parse_options,
)
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.data.base import ImageData
    from pbt_disent.models import LatentModel
    from pbt_disent.store.run_folder import RunFolder

__all__ = ["encode", "export", "find_trained", "load_images", "load_trained", "register", "traverse"]

DESCRIPTION = "model.json"
RANGE_IMAGES = 512
"""At most so many images, evenly spread, show in what range a latent varies."""
PIXELS = 64
"""Smaller pictures are enlarged to about this width."""


@verb("encode runs/demo-1 --out codes.parquet", "encode demo-1 --data my-pictures/ --log-sigma --out codes.parquet")
def encode(
    model: ModelReference,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table to write, such as codes.parquet.")],
    data: ImagesToEncode = None,
    options: DataOptions = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="The number of images at a time.")] = 256,
    log_sigma: Annotated[bool, typer.Option("--log-sigma", help="Also write log standard deviations.")] = False,
    runs: Runs = "runs",
) -> None:
    """Encode images to a parquet table.

    The table has a row per image and a column per latent. Any number of images fits: they are read in batches.
    """
    from pbt_disent.cli.progress import bar
    from pbt_disent.models.export import write_codes

    if batch < 1:
        raise UserError(f"--batch {batch}", "must be at least 1", "leave it out")
    trained, run = load_trained(model, runs)
    images = load_images(data, parse_options(options), model, run)
    with bar("encoding") as progress:
        write_codes(trained, images, out, batch=batch, log_sigma=log_sigma, progress=progress)
    print(f"{len(images):,} images, {len(trained.latents)} latents in {out}")


@verb(
    "traverse runs/demo-1 --out traversals/",
    "traverse demo-1 --latent 3 --latent rotation --image 17 --out traversals/",
)
def traverse(
    model: ModelReference,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder for the pictures.")],
    data: ImagesToEncode = None,
    options: DataOptions = None,
    latent: Annotated[
        list[str] | None,
        typer.Option("--latent", metavar="NAME|INDEX", help="A latent to show; may be repeated; by default all."),
    ] = None,
    image: Annotated[
        int | None,
        typer.Option("--image", metavar="N", help="The image to start from; by default the most ordinary one."),
    ] = None,
    frames: Annotated[int, typer.Option("--frames", metavar="N", help="The number of pictures in a strip.")] = 11,
    runs: Runs = "runs",
) -> None:
    """Show what each latent does to a picture.

    Each latent gives a strip, traversal-LATENT.png, and an animation, traversal-LATENT.gif, in which it goes from one
    end of its range to the other.
    """
    import numpy as np

    from pbt_disent.files import writing
    from pbt_disent.models.export import check_image_shape
    from pbt_disent.report.model_view import starting_point
    from pbt_disent.report.pictures import gif, png, strip

    if frames < 2:
        raise UserError(f"--frames {frames}", "must be at least 2", "leave it out")
    trained, run = load_trained(model, runs)
    indices = [trained.index(name) for name in latent or trained.latents]
    images = load_images(data, parse_options(options), model, run)
    check_image_shape(trained, images)
    if image is not None and not 0 <= image < len(images):
        raise UserError(f"--image {image}", f"must lie between 0 and {len(images) - 1}", "count from 0")
    spread = np.unique(np.linspace(0, len(images) - 1, RANGE_IMAGES).astype(np.int64))
    start, low, high = starting_point(trained.encode(images.images(spread)))
    if image is not None:
        start = trained.encode(images.images([image]))[0]
    scale = max(1, PIXELS // trained.image_shape[2])
    for index in dict.fromkeys(indices):
        pictures = trained.traverse(start, index, np.linspace(low[index], high[index], frames))
        for suffix, content in (("png", png(strip(pictures), scale)), ("gif", gif(pictures, scale))):
            name = f"traversal-{trained.latents[index]}.{suffix}"
            with writing(out / name, len(content)) as temporary:
                temporary.write_bytes(content)
            print(out / name)


@verb("export runs/demo-1 --out encoder.pt2")
def export(
    model: ModelReference,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The program to write, such as encoder.pt2.")],
    runs: Runs = "runs",
) -> None:
    """Export the encoder of a model as a torch program (.pt2).

    The program runs without this package. It is loaded again, and its codes are compared with those of the model.
    """
    from pbt_disent.files import writing
    from pbt_disent.models.export import export_encoder

    if out.suffix != ".pt2" or out.is_dir():
        raise UserError(f"--out {out}", "must be a file that ends in .pt2", f"write --out {out.with_suffix('.pt2')}")
    trained, _ = load_trained(model, runs)
    archive, difference = export_encoder(trained)
    with writing(out, len(archive)) as temporary:
        temporary.write_bytes(archive)
    print(f"{out}: loaded again, its codes differ from the model's by {difference:.1e} of the largest at most")


@verb("register runs/demo-1 --name rooms-encoder")
def register(
    run: RunReference,
    name: Annotated[
        str,
        typer.Option("--name", help="The name in the registry; each further model gets the next version of it."),
    ],
    runs: Runs = "runs",
) -> None:
    """Register the final model of a run in MLflow, ready to be served."""
    from pbt_disent.store.runs import find_run
    from pbt_disent.tracking.models import send_model

    if not re.fullmatch(r"\w[\w .-]*", name):
        raise UserError(f"--name {name}", "must be letters, digits, _, -, . and blanks", "give another name")
    folder = find_run(run, runs)
    find_trained(str(folder.path), runs)
    lease = folder.lease()
    try:
        destination = send_model(folder.path, registered_name=name)
    finally:
        lease.release()
    uri = destination.uri if destination.label == "embedded" else destination.label
    print(f"{destination.description}: has the model of {folder.name} as {name}")
    print(f"Next    MLFLOW_TRACKING_URI={uri} mlflow models serve --env-manager local -m 'models:/{name}/latest'")


def load_images(
    source: str | None, options: dict[str, Any], reference: str, run: RunFolder | None, *, held_out: bool = False
) -> ImageData:
    """Return the images that a verb is asked to encode.

    Args:
        source: A rendered world by name, or a data file or folder; None for the data of the run.
        options: The options of the source, which replace those that the run's config gives its own data.
        reference: What the user called the model.
        run: The run that the model belongs to, if known.
        held_out: Whether to return, of the run's images, only those that no model was trained on, where there are any.

    Raises:
        UserError: There are no images, or they cannot be read.
    """
    from pbt_disent.api import open_data
    from pbt_disent.cli.progress import bar
    from pbt_disent.data import Subset, load
    from pbt_disent.data.selection import split

    if source is not None:
        with bar("images") as progress:
            return load(source, progress, **options)
    if run is None:
        raise UserError(f"model {reference}", "needs images to encode", "name them with --data")
    config = run.config()
    with bar("images") as progress:
        images = open_data(config, progress, **options)
    if held_out and config.data.held_out and not options:
        return Subset(images, split(len(images), config.data.held_out)[1])
    return images


def load_trained(reference: str, runs: Path | str) -> tuple[LatentModel, RunFolder | None]:
    """Return a trained model, and the run that it belongs to where that is known.

    Args:
        reference: A folder with ``model.json``, or with an MLflow model that contains one; a run by path, or by name
            under `runs`; or ``runs:/<run id>/model`` or ``models:/<name>/<version>`` in MLflow.
        runs: The folder or URI of all runs.

    Raises:
        UserError: There is no such model.
    """
    from pbt_disent.models import LatentModel
    from pbt_disent.tracking.models import SCHEMES, download_model

    if reference.startswith(SCHEMES):
        with TemporaryDirectory() as folder:
            return LatentModel.load(_described(download_model(reference, Path(folder)), reference)), None
    model_folder, run = find_trained(reference, runs)
    return LatentModel.load(model_folder), run


def find_trained(reference: str, runs: Path | str) -> tuple[Path, RunFolder | None]:
    """Return the folder with ``model.json`` of a trained model on this machine, and the run that it belongs to.

    Args:
        reference: As for `load_trained`, without addresses in MLflow.
        runs: The folder or URI of all runs.

    Raises:
        UserError: There is no such model.
    """
    from pbt_disent.store.filesystem import is_uri
    from pbt_disent.store.runs import find_run

    if is_uri(reference) or (is_uri(runs) and not Path(reference).is_dir()):
        run = find_run(reference, runs)
        return _of_run(run), run
    runs = Path(runs)
    path = next((path for path in (Path(reference), runs / reference) if path.is_dir()), None)
    if path is None:
        names = sorted(entry.parent.name for entry in runs.glob("*/run.json"))
        raise UserError(
            f"model {reference!r}",
            f"is neither a folder nor a run in {runs}, nor an address in MLflow",
            f"known runs: {', '.join(names) or 'none'}",
        )
    if (path / "run.json").exists():
        run = find_run(path)
        return _of_run(run), run
    described = _described(path, reference)
    parent = described.resolve().parent
    return described, find_run(parent) if (parent / "run.json").exists() else None


def _of_run(run: RunFolder) -> Path:
    if not (run.model / DESCRIPTION).exists():
        raise UserError(f"run {run.location}", "has no model yet", f"finish it with: pbt-disent resume {run.location}")
    return run.model


def _described(folder: Path, reference: str) -> Path:
    """Return the folder that holds the model's description: the folder itself, or one inside an MLflow model."""
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
