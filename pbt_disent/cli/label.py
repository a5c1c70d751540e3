"""The verb `label`: label images as the rounds of a run do, or name the latents of a model."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import DataOptions, ImagesToEncode, ModelReference, Runs, parse_options
from pbt_disent.cli.models import find_trained, load_images, load_trained
from pbt_disent.errors import PbtDisentError, UserError

if TYPE_CHECKING:
    from pbt_disent.models import LatentModel
    from pbt_disent.store.run_folder import RunFolder

__all__ = ["label"]


@verb(
    "label runs/demo-1 --out labels.parquet",
    "label demo-1 --data my-pictures/ --out labels.parquet",
    "label demo-1 --name 3=rotation --name 0=size",
)
def label(
    model: ModelReference,
    data: ImagesToEncode = None,
    options: DataOptions = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the labels that every round of the run gives the images to this table, such as labels.parquet.",
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="LATENT=NAME",
            help="Name a latent, given by its index or present name, such as 3=rotation; may be repeated.",
        ),
    ] = None,
    runs: Runs = "runs",
) -> None:
    """Label images as a run does, or name the latents of a model.

    Without --out, the latents are printed after the changes that --name asks for. The names then stand in tables,
    MLflow, the report and served models.
    """
    if out is not None:
        _write_labels(model, data, parse_options(options), out, runs)
        return
    if data is not None or options:
        raise UserError(
            "--data without --out", "labels nothing", "name the file for the labels with --out labels.parquet"
        )
    if names:
        _rename(model, names, runs)
    _print_latents(load_trained(model, runs)[0])


def _write_labels(reference: str, source: str | None, options: dict[str, Any], out: Path, runs: str) -> None:
    import numpy as np

    from pbt_disent.cli.progress import bar
    from pbt_disent.models import LatentModel
    from pbt_disent.models.export import check_image_shape, encode_images
    from pbt_disent.rounds.labels import TREE_NAME, RoundTree, label_images, write_labels
    from pbt_disent.store.blobs import BlobStore
    from pbt_disent.types import FloatArray, IntArray

    if out.is_dir():
        raise UserError(f"file {out}", "is a folder", "give the path of a file")
    model, run = load_trained(reference, runs)
    if run is None:
        raise UserError(f"model {reference}", "is no run, and its rounds are not known", "label with its run")
    tree, blobs = RoundTree.read(run.labels.with_name(TREE_NAME)), BlobStore(run.blobs)
    data = load_images(source, options, reference, run)
    check_image_shape(model, data)
    with bar("labelling") as progress:

        def encode(checkpoint: str, images: IntArray) -> FloatArray:
            return encode_images(LatentModel.from_checkpoint(blobs.get(checkpoint)), data, images, progress)

        leaves = label_images(tree, encode, np.arange(len(data)))
    write_labels(leaves, tree.factor_of, out)
    levels = sum(len(leaf.levels) for leaf in leaves)
    print(f"{len(data):,} images, {levels} rounds in {len(leaves)} leaf runs, {len(tree.factors)} factors: {out}")


def _rename(reference: str, pairs: list[str], runs: str) -> None:
    from pbt_disent.models import LatentModel
    from pbt_disent.models.latent_model import rename_latents
    from pbt_disent.tracking.models import SCHEMES

    if reference.startswith(SCHEMES):
        raise UserError(f"model {reference}", "cannot be changed in MLflow", "name the latents of its run")
    folder, run = find_trained(reference, runs)
    if (folder.parent.parent / "MLmodel").exists():
        raise UserError(f"model {reference}", "has a signature with its names", "name the latents of its run")
    names = _names_by_index(LatentModel.load(folder), pairs)
    if run is None:
        rename_latents(folder, names)
        return
    lease = run.lease()
    try:
        _update(run, rename_latents(folder, names))
        run.publish()
    finally:
        lease.release()


def _names_by_index(model: LatentModel, pairs: list[str]) -> dict[int, str]:
    """Return the new names in ``latent=name`` pairs by the index of the latent."""
    names: dict[int, str] = {}
    for pair in pairs:
        latent, separator, name = pair.partition("=")
        if not separator:
            raise UserError(f"--name {pair}", "must have the form latent=name", "for example --name 3=rotation")
        names[model.index(latent)] = name
    return names


def _update(run: RunFolder, names: list[str]) -> None:
    """Write the names to the scores, the report, the figures and MLflow; `sync` repeats it for a store that is down."""
    from pbt_disent.files import write_atomically
    from pbt_disent.report.export import write_figures
    from pbt_disent.report.page import write_report
    from pbt_disent.tracking.models import send_model, was_tracked

    if run.scores.exists():
        scores = json.loads(run.scores.read_text(encoding="utf-8"))
        scores["final"]["latents"] = names
        write_atomically(run.scores, (json.dumps(scores, indent=1, sort_keys=True) + "\n").encode())
    if run.report.exists():
        write_report(run.path)
    figures = run.path / "figures"
    if figures.exists():
        for picture in figures.glob("traversal-*.png"):
            picture.unlink()
        write_figures(run.path, figures)
    if was_tracked(run.path):
        artifacts = [("report.html", ""), ("scores.json", ""), ("figures", "figures")]
        try:
            send_model(run.path, [(name, target) for name, target in artifacts if (run.path / name).exists()])
        except PbtDisentError as error:
            print(f"pbt-disent: {error}; send the names later with: pbt-disent sync {run.path}", file=sys.stderr)


def _print_latents(model: LatentModel) -> None:
    width = max(len("latent"), *map(len, model.latents))
    print(f"index  {'latent':{width}}  information")
    for index, (name, information) in enumerate(zip(model.latents, model.information, strict=True)):
        text = "unknown" if math.isnan(information) else f"{information:.2f} nats"
        print(f"{index:5}  {name:{width}}  {text}")
