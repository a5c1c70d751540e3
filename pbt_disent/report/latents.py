"""What the final model of a run learned: names, information, true factors, and what each latent does to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.models import LatentModel
from pbt_disent.report.pictures import strip
from pbt_disent.report.run_reader import RunView
from pbt_disent.types import FloatArray, UInt8Array

__all__ = ["FRAMES", "LatentView", "ModelView", "starting_point", "view_model"]

FRAMES = 11
_SEEN = 512
_SHOWN = 10


@dataclass(frozen=True)
class LatentView:
    """One latent.

    Args:
        index: of the latent.
        name: of the latent.
        information: nats; not a number where unknown.
        low: first value of the traversal.
        high: last value of the traversal.
        sheet: the traversal, `FRAMES` pictures side by side.
        factors: true factors that it knows, with the share of the factor's entropy, best first; empty where unknown.
        best_for: the true factors that no latent knows better, with the gap to the second (0.05 or more).
    """

    index: int
    name: str
    information: float
    low: float
    high: float
    sheet: npt.NDArray[np.uint8]
    factors: list[tuple[str, float]]
    best_for: list[tuple[str, float]]


@dataclass(frozen=True)
class ModelView:
    """The final model; its latents by falling information; some images above what the model makes of them."""

    latents: list[LatentView]
    width: int
    height: int
    reconstructions: npt.NDArray[np.uint8] | None


def view_model(run: RunView) -> ModelView | None:
    """Look at the final model of a run; none if there is none yet."""
    if not (run.folder / "model" / "model.json").exists():
        return None
    model = LatentModel.load(run.folder / "model")
    images = _images(run)
    size = len(model.latents)
    middle: tuple[FloatArray, ...] = (np.zeros(size), np.full(size, -2.0), np.full(size, 2.0))
    start, low, high = middle if images is None else starting_point(model.encode(images))
    order = sorted(range(size), key=lambda index: (-np.nan_to_num(model.information[index], nan=-1.0), index))
    latents = [_latent(run, model, index, start, (float(low[index]), float(high[index]))) for index in order]
    _, height, width = model.image_shape
    return ModelView(latents, width, height, None if images is None else _reconstructions(model, images))


def _latent(run: RunView, model: LatentModel, index: int, start: FloatArray, span: tuple[float, float]) -> LatentView:
    per_factor = ((run.scores or {}).get("true_factors") or {}).get("per_factor", [])
    known = sorted(((row["factor"], float(row["shares"][index])) for row in per_factor), key=lambda pair: -pair[1])
    return LatentView(
        index=index,
        name=model.latents[index],
        information=float(model.information[index]),
        low=span[0],
        high=span[1],
        sheet=strip(model.traverse(start, index, np.linspace(*span, FRAMES))),
        factors=known,
        best_for=[
            (row["factor"], float(row["gap"])) for row in per_factor if row["latent"] == index and row["gap"] >= 0.05
        ],
    )


def _images(run: RunView) -> UInt8Array | None:
    """Return at most 512 images, evenly spread over the set, if it still lies beside the run."""
    fingerprint = str((run.info.get("data") or {}).get("fingerprint", ""))[:16]
    try:
        stored = StoredImages.open(run.folder.resolve().parent / ".images" / fingerprint)
    except UserError:
        return None
    return stored.images(np.unique(np.linspace(0, len(stored) - 1, _SEEN).astype(np.int64)))


def starting_point(codes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the code nearest to the middle of all codes (Z,), and the range of nearly all values of each latent."""
    spread = np.maximum(codes.std(axis=0), 1e-6)
    distance = (((codes - np.median(codes, axis=0)) / spread) ** 2).sum(axis=1)
    low, high = np.percentile(codes, [2, 98], axis=0)
    quiet = high - low < 0.5
    return codes[int(distance.argmin())], np.where(quiet, -2.0, low), np.where(quiet, 2.0, high)


def _reconstructions(model: LatentModel, images: UInt8Array) -> npt.NDArray[np.uint8]:
    chosen: Sequence[int] = np.unique(np.linspace(0, len(images) - 1, _SHOWN).astype(np.int64)).tolist()
    seen = images[chosen]
    return strip(np.concatenate([seen / 255.0, model.decode(model.encode(seen))]), rows=2)
