"""How far the models of a round's best member agree: the matrices behind its UDR, computed from what is kept.

The codes of members are deleted once they are scored; the checkpoints of a round's best member are kept. Its models are
compared on images of the set that the round trained on, up to 1,000, evenly spread. UDR: arXiv 1905.12614, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.models import LatentModel
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.report.run_view import RoundView, RunView, stored_images, winner
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import FloatArray, Json

__all__ = ["MAX_POINTS", "Agreement", "agreement", "agreement_context", "agreements_of"]

MAX_POINTS = 1000
MIN_POINTS = 20


@dataclass(frozen=True)
class Agreement:
    """The agreement between the M models of the best member of a round.

    Args:
        member: The index of the member.
        generation: The generation of its best score.
        num_points: The number of images that the models were compared on.
        best_model: The index of the model with the highest score.
        pairwise: How well each pair of models agrees, an array (M, M) in 0 to 1; the diagonal means nothing.
        correlations: The relation between each latent of the best model and each latent of every model, an array
            (M, Z, Z).
        active: Which latents carry information, an array (M, Z).
    """

    member: int
    generation: int
    num_points: int
    best_model: int
    pairwise: FloatArray
    correlations: FloatArray
    active: npt.NDArray[np.bool_]


def agreements_of(run: RunView) -> list[tuple[str, Agreement]]:
    """Return path and agreement of every round that ranks by UDR and whose best models and images are still there."""
    images = stored_images(run)
    blobs = BlobStore(RunFolder(run.folder).blobs)
    compared = [(view.path, agreement(view, blobs, images)) for view in run.rounds]
    return [(path, result) for path, result in compared if result is not None]


def agreement(view: RoundView, blobs: BlobStore, images: StoredImages | None) -> Agreement | None:
    """Compare the models of a round's best member.

    Args:
        view: The round.
        blobs: The blobs of the run.
        images: The images of the run.

    Returns:
        The agreement; None where the member has one model, or where models or images are gone.
    """
    best = winner(view.manifests)
    if best is None or images is None or not isinstance(view.fitness, UDRFitness):
        return None
    manifest = view.manifests[best.generation]
    record = manifest.members[best.member]
    if len(record.checkpoints) < 2:
        return None
    try:
        digest = None if manifest.data is None else manifest.data.subset
        subset = np.arange(len(images)) if digest is None else np.asarray(blobs.get_array(digest), dtype=np.int64)
        models = [LatentModel.from_checkpoint(blobs.get(digest)) for digest in record.checkpoints]
    except (PbtDisentError, OSError):
        return None
    rows = np.unique(np.linspace(0, len(subset) - 1, min(MAX_POINTS, len(subset))).astype(np.int64))
    if len(rows) < MIN_POINTS:
        return None
    shown = images.images(subset[rows])
    posteriors = [model.posterior(shown) for model in models]
    try:
        result = view.fitness.rank(
            np.stack([posterior.codes for posterior in posteriors]),
            np.stack([posterior.information for posterior in posteriors]),
        )
    except UserError:
        return None
    best_model = int(np.argmax(result.model_scores))
    return Agreement(
        member=record.member,
        generation=manifest.generation,
        num_points=len(rows),
        best_model=best_model,
        pairwise=(result.pairwise + result.pairwise.T) / 2,
        correlations=result.correlations[best_model],
        active=result.active,
    )


def agreement_context(path: str, agreement: Agreement) -> Json:
    """Return what the page's template shows of an agreement: models by models, and latents by latents."""
    num_models = len(agreement.pairwise)
    active = [[int(latent) for latent in np.flatnonzero(row)] for row in agreement.active]
    best = agreement.best_model
    return {
        "path": path,
        "member": agreement.member,
        "generation": agreement.generation + 1,
        "num_points": agreement.num_points,
        "best_model": best,
        "models": range(num_models),
        "pairwise": [
            [None if row == column else float(agreement.pairwise[row, column]) for column in range(num_models)]
            for row in range(num_models)
        ],
        "others": [
            {
                "model": other,
                "score": float(agreement.pairwise[best, other]),
                "columns": active[other],
                "rows": [
                    (row, [min(float(agreement.correlations[other, row, column]), 1.0) for column in active[other]])
                    for row in active[best]
                ],
            }
            for other in range(num_models)
            if other != best
        ],
    }
