"""What the final model of a run learned: names, information, what each latent follows and does to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.metrics.mig import mig
from pbt_disent.models import LatentModel
from pbt_disent.models.decoder_program import DecoderProgram, decoder_program
from pbt_disent.report.found import FoundLatent
from pbt_disent.report.pictures import gif, strip
from pbt_disent.report.run_reader import RunView, stored_images
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, UInt8Array

__all__ = ["FRAMES", "LatentView", "ModelView", "Start", "starting_point", "view_model"]

FRAMES = 11
_SEEN = 512
_SHOWN = 10
_SAMPLES = 20
_FOLLOWS = 0.2
"""A latent follows a label whose entropy it knows this share of."""
_FEWEST = 20


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
        animation: the same as a GIF.
        factors: true factors that it knows, with the share of the factor's entropy, best first; empty where unknown.
        best_for: the true factors that no latent knows better, with the gap to the second (0.05 or more).
        follows: latents of rounds whose segments it knows best of all, with the share of their entropy.
    """

    index: int
    name: str
    information: float
    low: float
    high: float
    sheet: npt.NDArray[np.uint8]
    animation: bytes
    factors: list[tuple[str, float]]
    best_for: list[tuple[str, float]]
    follows: list[tuple[FoundLatent, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """A picture to start from: an image of the set (none where there are none), and its code (Z,)."""

    image: npt.NDArray[np.uint8] | None
    code: FloatArray


@dataclass(frozen=True)
class ModelView:
    """The final model.

    Args:
        latents: by falling information.
        width: of a picture.
        height: of a picture.
        channels: of a picture.
        starts: what the sliders may start from, the most ordinary code first.
        reconstructions: some images above what the model makes of them.
        samples: pictures of codes that were drawn.
        program: the decoder for the page; none where it is not made for that.
    """

    latents: list[LatentView]
    width: int
    height: int
    channels: int
    starts: list[Start]
    reconstructions: npt.NDArray[np.uint8] | None
    samples: npt.NDArray[np.uint8]
    program: DecoderProgram | None


def view_model(run: RunView, found: Sequence[FoundLatent] = ()) -> ModelView | None:
    """Look at the final model of a run; none if there is none yet.

    Args:
        run: the run.
        found: what its rounds found.
    """
    if not (run.folder / "model" / "model.json").exists():
        return None
    model = LatentModel.load(run.folder / "model")
    stored = stored_images(run)
    images = None if stored is None else stored.images(_spread(len(stored), _SEEN))
    size = len(model.latents)
    codes = None if images is None else model.encode(images)
    middle: tuple[FloatArray, ...] = (np.zeros(size), np.full(size, -2.0), np.full(size, 2.0))
    start, low, high = middle if codes is None else starting_point(codes)
    follows = {} if stored is None else _follows(model, stored, found)
    order = sorted(range(size), key=lambda index: (-np.nan_to_num(model.information[index], nan=-1.0), index))
    latents = [
        _latent(run, model, index, start, (float(low[index]), float(high[index])), follows.get(index, []))
        for index in order
    ]
    channels, height, width = model.image_shape
    return ModelView(
        latents,
        width,
        height,
        channels,
        _starts(start, images, codes),
        None if images is None else _reconstructions(model, images),
        _samples(model, codes),
        decoder_program(model),
    )


def _latent(
    run: RunView,
    model: LatentModel,
    index: int,
    start: FloatArray,
    span: tuple[float, float],
    follows: list[tuple[FoundLatent, float]],
) -> LatentView:
    per_factor = ((run.scores or {}).get("true_factors") or {}).get("per_factor", [])
    known = sorted(((row["factor"], float(row["shares"][index])) for row in per_factor), key=lambda pair: -pair[1])
    frames = model.traverse(start, index, np.linspace(*span, FRAMES))
    return LatentView(
        index=index,
        name=model.latents[index],
        information=float(model.information[index]),
        low=span[0],
        high=span[1],
        sheet=strip(frames),
        animation=gif(frames),
        factors=known,
        best_for=[
            (row["factor"], float(row["gap"])) for row in per_factor if row["latent"] == index and row["gap"] >= 0.05
        ],
        follows=follows,
    )


def _follows(
    model: LatentModel, stored: StoredImages, found: Sequence[FoundLatent]
) -> dict[int, list[tuple[FoundLatent, float]]]:
    """Return, for each final latent, the found latents whose segments no other latent knows better."""
    follows: dict[int, list[tuple[FoundLatent, float]]] = {}
    for one in found:
        cut = np.flatnonzero(one.segments >= 0)
        if one.count < 2 or len(cut) < _FEWEST:
            continue
        chosen = cut[_spread(len(cut), _SEEN)]
        try:
            result = mig(model.encode(stored.images(one.images[chosen])), one.segments[chosen][:, None])
        except UserError:  # too few images in too few segments
            continue
        latent = int(result.latent_of_factor[0])
        share = float(result.mutual_information[latent, 0] / result.factor_entropy[0])
        if share >= _FOLLOWS:
            follows.setdefault(latent, []).append((one, share))
    return follows


def _spread(size: int, count: int) -> npt.NDArray[np.int64]:
    """Return at most `count` places among `size`, evenly spread."""
    return np.unique(np.linspace(0, size - 1, count).astype(np.int64))


def starting_point(codes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the code nearest to the middle of all codes (Z,), and the range of nearly all values of each latent."""
    spread = np.maximum(codes.std(axis=0), 1e-6)
    distance = (((codes - np.median(codes, axis=0)) / spread) ** 2).sum(axis=1)
    low, high = np.percentile(codes, [2, 98], axis=0)
    quiet = high - low < 0.5
    return codes[int(distance.argmin())], np.where(quiet, -2.0, low), np.where(quiet, 2.0, high)


def _starts(start: FloatArray, images: UInt8Array | None, codes: FloatArray | None) -> list[Start]:
    if images is None or codes is None:
        return [Start(None, start)]
    middle = int(np.abs(codes - start).sum(axis=1).argmin())
    chosen = [middle, *(int(place) for place in _spread(len(images), _SHOWN) if place != middle)][:_SHOWN]
    return [Start(images[place].transpose(1, 2, 0), codes[place]) for place in chosen]


def _reconstructions(model: LatentModel, images: UInt8Array) -> npt.NDArray[np.uint8]:
    seen = images[_spread(len(images), _SHOWN)]
    return strip(np.concatenate([seen / 255.0, model.decode(model.encode(seen))]), rows=2)


def _samples(model: LatentModel, codes: FloatArray | None) -> npt.NDArray[np.uint8]:
    """Decode codes whose latents were drawn apart: from the values that each takes on the images, else from N(0, 1)."""
    generator = Streams(0).generator("report", "samples")
    size = len(model.latents)
    if codes is None:
        drawn = generator.standard_normal((_SAMPLES, size))
    else:
        drawn = np.stack([generator.choice(column, _SAMPLES) for column in codes.T], axis=1)
    return strip(model.decode(drawn), rows=2)
