"""Label images as the rounds of a run would have, or name what the latents of a model stand for.

Names then stand in tables, MLflow, the report and served models.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.trained import add_images, add_model
from pbt_disent.errors import PbtDisentError, UserError

if TYPE_CHECKING:
    from pbt_disent.models import LatentModel
    from pbt_disent.store.run_folder import RunFolder

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model(parser)
    add_images(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write what every round of the run says of the images to this table, such as labels.parquet",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="LATENT=NAME",
        dest="names",
        help="name a latent, given by its index or its present name, such as 3=rotation; may be given again",
    )


def call(options: argparse.Namespace) -> int:
    """Write the labels of images, or change the names asked for, if any, and print the latents."""
    from pbt_disent.cli.trained import load_trained

    if options.out is not None:
        _write(options)
        return 0
    if options.data is not None or options.given:
        raise UserError("--data without --out", "labels nothing", "say where the labels go with --out labels.parquet")
    if options.names:
        _rename(options)
    _print(load_trained(options.model, options.runs)[0])
    return 0


def _write(options: argparse.Namespace) -> None:
    import numpy as np

    from pbt_disent.cli.progress import bar
    from pbt_disent.cli.trained import load_images, load_trained
    from pbt_disent.models import LatentModel
    from pbt_disent.models.codes_table import check_fit, codes_of
    from pbt_disent.rounds.labels import write_labels
    from pbt_disent.rounds.tree import TREE, Tree, label_images
    from pbt_disent.store.blobs import BlobStore
    from pbt_disent.types import FloatArray, IntArray

    if options.out.is_dir():
        raise UserError(f"file {options.out}", "is a folder", "give the path of a file")
    model, run = load_trained(options.model, options.runs)
    if run is None:
        raise UserError(f"model {options.model}", "is no run, and its rounds are not known", "label with its run")
    tree, blobs = Tree.read(run.labels.with_name(TREE)), BlobStore(run.blobs)
    data = load_images(options, options.model, run)
    check_fit(model, data)
    with bar("labelling") as progress:

        def encode(checkpoint: str, images: IntArray) -> FloatArray:
            return codes_of(LatentModel.from_checkpoint(blobs.get(checkpoint)), data, images, progress)

        leaves = label_images(tree, encode, np.arange(len(data)))
    write_labels(leaves, tree.factor_of, options.out)
    levels = sum(len(leaf.levels) for leaf in leaves)
    print(
        f"{len(data):,} images, {levels} rounds in {len(leaves)} leaf runs, {len(tree.factors)} factors: {options.out}"
    )


def _rename(options: argparse.Namespace) -> None:
    from pbt_disent.cli.trained import find_trained
    from pbt_disent.models import LatentModel
    from pbt_disent.models.latent_names import rename
    from pbt_disent.tracking.models import SCHEMES

    if options.model.startswith(SCHEMES):
        raise UserError(f"model {options.model}", "cannot be changed in MLflow", "name the latents of its run")
    folder, run = find_trained(options.model, options.runs)
    if (folder.parent.parent / "MLmodel").exists():
        raise UserError(f"model {options.model}", "has a signature with its names", "name the latents of its run")
    names = _wanted(LatentModel.load(folder), options.names)
    if run is None:
        rename(folder, names)
        return
    lease = run.lease()
    try:
        _update(run, rename(folder, names))
        run.publish()
    finally:
        lease.release()


def _wanted(model: LatentModel, pairs: list[str]) -> dict[int, str]:
    """Return the new name of each latent in ``latent=name`` pairs, by index."""
    names: dict[int, str] = {}
    for pair in pairs:
        latent, separator, name = pair.partition("=")
        if not separator:
            raise UserError(f"--name {pair}", "must have the form latent=name", "for example --name 3=rotation")
        names[model.index(latent)] = name
    return names


def _update(run: RunFolder, names: list[str]) -> None:
    """Bring the names into the scores, the report, the figures and MLflow; a store that is down gets them by `sync`."""
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
        changed = [("report.html", ""), ("scores.json", ""), ("figures", "figures")]
        try:
            send_model(run.path, [(name, target) for name, target in changed if (run.path / name).exists()])
        except PbtDisentError as error:
            print(f"pbt-disent: {error}; send the names later with: pbt-disent sync {run.path}", file=sys.stderr)


def _print(model: LatentModel) -> None:
    width = max(len("latent"), *map(len, model.latents))
    print(f"index  {'latent':{width}}  information")
    for index, (name, information) in enumerate(zip(model.latents, model.information, strict=True)):
        known = "unknown" if math.isnan(information) else f"{information:.2f} nats"
        print(f"{index:5}  {name:{width}}  {known}")
