"""How far the models of a round's best member agree: the matrices behind its UDR, computed anew from what is kept.

The codes of members live only until they are scored; the checkpoints of a round's best member are kept. Its models
are compared on images of the set that the round trained on, up to 1,000, evenly spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.models import LatentModel
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.report.lineage import winner
from pbt_disent.report.run_reader import RoundView, RunView, stored_images
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import FloatArray

__all__ = ["POINTS", "Agreement", "agreement", "agreements_of"]

POINTS = 1000
_FEWEST = 20


@dataclass(frozen=True)
class Agreement:
    """The models of the best member of a round.

    Args:
        member: which one.
        generation: of its best score.
        points: images that they were compared on.
        chosen: the model with the highest score, by its number.
        pairwise: (M, M) how well two models agree, 0 to 1; the diagonal means nothing.
        strengths: (M, Z, Z) relation between each latent of the chosen model and each of every model.
        active: (M, Z) which latents carry information.
    """

    member: int
    generation: int
    points: int
    chosen: int
    pairwise: FloatArray
    strengths: FloatArray
    active: npt.NDArray[np.bool_]


def agreements_of(run: RunView) -> list[tuple[str, Agreement]]:
    """Return path and agreement of every round that ranks by UDR, and whose best models and images are still there."""
    images = stored_images(run)
    blobs = BlobStore(RunFolder(run.folder).blobs)
    agreements = [(view.path, agreement(view, blobs, images)) for view in run.rounds]
    return [(path, compared) for path, compared in agreements if compared is not None]


def agreement(view: RoundView, blobs: BlobStore, images: StoredImages | None) -> Agreement | None:
    """Compare the models of a round's best member; none where it has one, or where models or images are gone.

    Args:
        view: the round.
        blobs: of the run.
        images: of the run.
    """
    best = winner(view.manifests)
    if best is None or images is None or not isinstance(view.fitness, UDRFitness):
        return None
    manifest = view.manifests[best.generation]
    record = manifest.members[best.member]
    if len(record.checkpoints) < 2:
        return None
    try:
        subset = None if manifest.data is None else manifest.data.subset
        known = np.arange(len(images)) if subset is None else np.asarray(blobs.get_array(subset), dtype=np.int64)
        models = [LatentModel.from_checkpoint(blobs.get(digest)) for digest in record.checkpoints]
    except (PbtDisentError, OSError):
        return None
    places = np.unique(np.linspace(0, len(known) - 1, min(POINTS, len(known))).astype(np.int64))
    if len(places) < _FEWEST:
        return None
    seen = images.images(known[places])
    encoded = [model.posterior(seen) for model in models]
    try:
        found = view.fitness.rank(
            np.stack([one.codes for one in encoded]), np.stack([one.information for one in encoded])
        )
    except UserError:
        return None
    chosen = int(np.argmax(found.model_scores))
    return Agreement(
        member=record.member,
        generation=manifest.generation,
        points=len(places),
        chosen=chosen,
        pairwise=(found.pairwise + found.pairwise.T) / 2,
        strengths=found.correlations[chosen],
        active=found.active,
    )
