"""What each objective claims, measured against its own ablation on a rendered world: `python -m studies objectives`.

A cell trains one model with the code that trains a run's members, then scores it on all images of its set.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from pbt_disent import data as data_module
from pbt_disent.config import ObjectiveConfig, SupervisionConfig
from pbt_disent.data.base import ImageData
from pbt_disent.data.selection import split
from pbt_disent.data.storage import materialise
from pbt_disent.metrics import MetricInputs, gaussian_total_correlation, reconstruction_error, score
from pbt_disent.models import LatentModel, resolve
from pbt_disent.models.encoding import to_unit
from pbt_disent.models.objectives.strkm import StRKM
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.given import given_to, labelled_factors, with_classes
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import TaskKey, TrainTask, WorkerContext
from pbt_disent.types import IntArray, Json, UInt8Array
from studies.ablations import Description, brief, table
from studies.cells import Cell
from studies.contract import STUDIES, Study

__all__ = ["run_cell", "study"]

HELD_OUT = 0.1
"""Share of the images that are not trained on; labels are predicted on them."""
ACTIVE_VARIANCE = 0.01
"""Of a latent's means, above which it enters the total correlations: passive latents are correlated at no cost."""


@STUDIES.register("objectives")
def study() -> Study:
    """Return the study that ships with the package."""
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    described = Description.model_validate(yaml.safe_load(text))
    return Study(
        tuple(described.arms),
        described.seeds,
        described.cells,
        run_cell,
        lambda results: table(described, results),
        brief=lambda results: brief(described, results),
    )


def run_cell(cell: Cell) -> Json:
    """Train one model and return its figures.

    Returns:
        `mig`, `mig_sup`, `dci` (disentanglement), `error` (mean squared error per pixel of values in 0 to 1),
        `tc_mean` and `tc_sample` (Gaussian total correlation of means and of samples over latents whose means vary,
        nats), `information` (nats over all latents), `active` (number of latents whose means vary), and what belongs
        to one objective alone.

    Raises:
        RuntimeError: the model diverged.
    """
    world = data_module.load(cell.description["data"]["name"], **cell.description["data"]["options"])
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        model, images = _train(cell, world, Path(temporary))
        factors = world.factors(np.arange(len(world)))
        assert factors is not None
        return {**_figures(model, images, factors), **_own_figures(cell, model, images, world, factors)}


def _train(cell: Cell, world: ImageData, folder: Path) -> tuple[LatentModel, UInt8Array]:
    description = cell.description
    supervision = SupervisionConfig.model_validate(description["supervision"])
    section = with_classes(ObjectiveConfig.model_validate(description["objective"]), supervision, world)
    resolved = resolve(section, world.shape)
    values = resolved.complete({name: mutable.default for name, mutable in resolved.space.items()})
    stored = materialise(world, folder / "images")
    blobs = BlobStore(folder / "blobs")
    training, _ = split(len(world), HELD_OUT)
    told = given_to([resolved.name], supervision, world, training, blobs)
    context = WorkerContext(
        store=blobs.root,
        images=str(stored.folder),
        objective=resolved.name,
        settings=resolved.settings,
        labels=told.get("labels"),
        partners=told.get("partners"),
    )
    task = TrainTask(
        key=TaskKey("study", 0, 0, (0,)),
        seed=cell.seed,
        origins=(None,),
        hyperparameters=values,
        images=description["images"],
        subset=blobs.put_array(training.astype(np.int64)),
        probe=blobs.put_array(np.arange(min(len(world), 256))),
    )
    outcome = Trainer(context).train(task)
    if outcome.status != "ok":
        raise RuntimeError(f"arm {cell.arm}, seed {cell.seed}: the model diverged")
    return LatentModel.from_checkpoint(blobs.get(outcome.checkpoints[0])), stored.array


def _figures(model: LatentModel, images: UInt8Array, factors: IntArray) -> Json:
    seen = model.posterior(images)
    varying = factors[:, np.ptp(factors, axis=0) > 0]
    found = score(MetricInputs(seen.codes, varying), ["mig", "mig_sup", "dci"], intervals=False)
    sigma = None if seen.log_sigma is None else np.exp(seen.log_sigma)
    correlation = gaussian_total_correlation(seen.codes, sigma, minimum_variance=ACTIVE_VARIANCE)
    restored = model.decode(seen.codes)
    return {
        "mig": found["mig"].values["score"],
        "mig_sup": found["mig_sup"].values["score"],
        "dci": found["dci"].values["disentanglement"],
        "error": reconstruction_error(images / np.float32(255), restored).score,
        "tc_mean": correlation.score,
        "tc_sample": correlation.sampled,
        "information": float(seen.information.sum()),
        "active": int((seen.codes.var(axis=0) > ACTIVE_VARIANCE).sum()),
    }


def _own_figures(cell: Cell, model: LatentModel, images: UInt8Array, world: ImageData, factors: IntArray) -> Json:
    if isinstance(model.objective, StRKM):
        return _frame_figures(model.objective, images, factors)
    if model.name == "annealed":
        capacity = model.objective.values["capacity"]
        return {"off_capacity": abs(float(model.posterior(images).information.sum()) - capacity)}
    if model.name == "ssdgm":
        supervision = SupervisionConfig.model_validate(cell.description["supervision"])
        columns = labelled_factors(supervision, world, enumerated=True)
        _, unseen = split(len(world), HELD_OUT)
        told = np.rint(model.encode(images[unseen])[:, : len(columns)])
        return {"accuracy": float((told == factors[unseen][:, columns]).mean())}
    return {}


def _frame_figures(objective: StRKM, images: UInt8Array, factors: IntArray) -> Json:
    """Score the codes on the frame as it was trained, before the eigen-rotation, and how orthonormal it is."""
    frame = objective.frame.columns.double()
    with torch.no_grad():
        parts = np.array_split(np.arange(len(images)), len(images) // 256 + 1)
        features = [objective.encoder(to_unit(images[part], "cpu")) for part in parts]
    unrotated = ((torch.cat(features) - objective.centre).double() @ frame).numpy()
    varying = factors[:, np.ptp(factors, axis=0) > 0]
    found = score(MetricInputs(unrotated, varying), ["mig", "mig_sup", "dci"], intervals=False)
    return {
        "unrotated_mig": found["mig"].values["score"],
        "unrotated_mig_sup": found["mig_sup"].values["score"],
        "unrotated_dci": found["dci"].values["disentanglement"],
        "unrotated_tc_mean": gaussian_total_correlation(unrotated).score,
        "not_orthonormal": float((frame.T @ frame - torch.eye(frame.shape[1], dtype=frame.dtype)).abs().max()),
    }
