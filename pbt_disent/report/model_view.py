"""What the final model of a run learned: the information of its latents, what each shows and follows, samples."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.metrics.mig import mig
from pbt_disent.models import LatentModel
from pbt_disent.models.decoder_program import DecoderProgram, decoder_program
from pbt_disent.report.pictures import data_uri, gif, png, strip
from pbt_disent.report.run_view import LearnedLatent, RunView, stored_images
from pbt_disent.seeds import Streams
from pbt_disent.types import FloatArray, Json, UInt8Array

__all__ = [
    "FRAMES",
    "LatentView",
    "ModelView",
    "StartingImage",
    "explorer_program",
    "model_context",
    "starting_point",
    "view_model",
]

FRAMES = 11
NUM_ENCODED = 512
"""Images that are encoded to see the range of the codes."""
NUM_SHOWN = 10
NUM_SAMPLES = 20
MIN_POINTS = 20
FOLLOWS = 0.2
"""A latent follows labels if its mutual information with them is at least this share of their entropy."""
MIN_SHARE = 0.05
"""The smallest share of the information on a factor, and the smallest gap, that is printed."""
ACTIVE = 0.05
"""Nats; latents that carry less come last in the page and folded."""
MARGIN = 0.25
"""Sliders reach beyond the range of nearly all images by this share of it, on each side."""


@dataclass(frozen=True)
class LatentView:
    """One latent of the final model.

    Args:
        index: The index of the latent.
        name: The name of the latent.
        information: The information of the latent in nats; NaN where it is unknown.
        low: The first value of the traversal.
        high: The last value of the traversal.
        traversal: The traversal, `FRAMES` pictures side by side.
        animation: The same as a GIF.
        factors: The true factors with the share of their entropy that the latent knows, best first; empty where there
            are none.
        best_for: The true factors that no latent knows better, with the gap to the second latent (0.05 or more).
        follows: The latents of rounds whose segments it knows best of all, with the share of their entropy.
    """

    index: int
    name: str
    information: float
    low: float
    high: float
    traversal: npt.NDArray[np.uint8]
    animation: bytes
    factors: list[tuple[str, float]]
    best_for: list[tuple[str, float]]
    follows: list[tuple[LearnedLatent, float]] = field(default_factory=list)

    @property
    def slider_range(self) -> tuple[float, float]:
        """The ends of the slider of the latent."""
        margin = MARGIN * (self.high - self.low)
        return round(self.low - margin, 3), round(self.high + margin, 3)


@dataclass(frozen=True)
class StartingImage:
    """An image that the sliders may start from.

    Args:
        pixels: The image, an array (H, W, C); None where the run's images are gone.
        code: The code of the image, an array (Z,).
    """

    pixels: npt.NDArray[np.uint8] | None
    code: FloatArray


@dataclass(frozen=True)
class ModelView:
    """The final model.

    Args:
        latents: The latents by falling information.
        image_shape: Channels, height and width of a picture.
        starting_images: What the sliders may start from, the most ordinary code first.
        reconstructions: Some images above what the model makes of them; None where the run's images are gone.
        samples: Pictures of codes that were drawn at random.
        program: The decoder for the page; None where the model has a decoder that the page cannot run.
    """

    latents: list[LatentView]
    image_shape: tuple[int, int, int]
    starting_images: list[StartingImage]
    reconstructions: npt.NDArray[np.uint8] | None
    samples: npt.NDArray[np.uint8]
    program: DecoderProgram | None


def view_model(run: RunView, learned: Sequence[LearnedLatent] = ()) -> ModelView | None:
    """Look at the final model of a run.

    Args:
        run: The run.
        learned: The latents that its rounds learned.

    Returns:
        The view; None if there is no final model yet.
    """
    if not (run.folder / "model" / "model.json").exists():
        return None
    model = LatentModel.load(run.folder / "model")
    stored = stored_images(run)
    images = None if stored is None else stored.images(_evenly_spread(len(stored), NUM_ENCODED))
    num_latents = len(model.latents)
    codes = None if images is None else model.encode(images)
    default: tuple[FloatArray, ...] = (np.zeros(num_latents), np.full(num_latents, -2.0), np.full(num_latents, 2.0))
    start, low, high = default if codes is None else starting_point(codes)
    follows = {} if stored is None else _labels_followed(model, stored, learned)
    order = sorted(range(num_latents), key=lambda index: (-np.nan_to_num(model.information[index], nan=-1.0), index))
    return ModelView(
        latents=[
            _view_latent(run, model, index, start, (float(low[index]), float(high[index])), follows.get(index, []))
            for index in order
        ],
        image_shape=model.image_shape,
        starting_images=_starting_images(start, images, codes),
        reconstructions=None if images is None else _reconstructions(model, images),
        samples=_samples(model, codes),
        program=decoder_program(model),
    )


def starting_point(codes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the most ordinary code, and where the traversal of each latent begins and ends.

    Args:
        codes: The codes of some images, an array (N, Z).

    Returns:
        The code nearest to the median of all (Z,), and the 2nd and 98th percentile of each latent (Z,), or -2 and 2
        where these lie less than 0.5 apart.
    """
    scale = np.maximum(codes.std(axis=0), 1e-6)
    distance = (((codes - np.median(codes, axis=0)) / scale) ** 2).sum(axis=1)
    low, high = np.percentile(codes, [2, 98], axis=0)
    narrow = high - low < 0.5
    return codes[int(distance.argmin())], np.where(narrow, -2.0, low), np.where(narrow, 2.0, high)


def model_context(model: ModelView) -> Json:
    """Return what the page's template shows of a model."""
    _, height, width = model.image_shape
    return {
        "latents": [_latent_context(latent) for latent in model.latents],
        "width": width,
        "height": height,
        "reconstructions": None if model.reconstructions is None else data_uri(png(model.reconstructions)),
        "samples": data_uri(png(model.samples)),
        "explorer": model.program is not None,
        "from_images": model.starting_images[0].pixels is not None,
        "starts": [None if start.pixels is None else data_uri(png(start.pixels)) for start in model.starting_images],
    }


def explorer_program(model: ModelView) -> Json | None:
    """Return all that the page's script needs to decode by itself; None if it cannot decode this model."""
    program = model.program
    if program is None:
        return None
    channels, height, width = model.image_shape
    ranges = [(latent.index, *latent.slider_range) for latent in model.latents]
    return {
        "width": width,
        "height": height,
        "channels": channels,
        "latents": [{"index": index, "low": low, "high": high} for index, low, high in ranges],
        "starts": [[round(float(value), 4) for value in start.code] for start in model.starting_images],
        "steps": program.steps,
        "half": program.half,
        "weights": base64.b64encode(program.weights).decode(),
    }


def _latent_context(latent: LatentView) -> Json:
    low, high = latent.slider_range
    return {
        "low": low,
        "high": high,
        "view": latent,
        "information": "unknown" if math.isnan(latent.information) else f"{latent.information:.2f} nats",
        "active": not latent.information < ACTIVE,
        "picture": data_uri(png(latent.traversal)),
        "animation": data_uri(latent.animation, "gif"),
        "factors": [pair for pair in latent.factors if pair[1] >= MIN_SHARE][:3],
    }


def _view_latent(
    run: RunView,
    model: LatentModel,
    index: int,
    start: FloatArray,
    value_range: tuple[float, float],
    follows: list[tuple[LearnedLatent, float]],
) -> LatentView:
    per_factor = ((run.scores or {}).get("true_factors") or {}).get("per_factor", [])
    shares = [(row["factor"], float(row["shares"][index])) for row in per_factor]
    best_for = [(row["factor"], float(row["gap"])) for row in per_factor if row["latent"] == index]
    frames = model.traverse(start, index, np.linspace(*value_range, FRAMES))
    return LatentView(
        index=index,
        name=model.latents[index],
        information=float(model.information[index]),
        low=value_range[0],
        high=value_range[1],
        traversal=strip(frames),
        animation=gif(frames),
        factors=sorted(shares, key=lambda pair: -pair[1]),
        best_for=[(factor, gap) for factor, gap in best_for if gap >= MIN_SHARE],
        follows=follows,
    )


def _labels_followed(
    model: LatentModel, stored: StoredImages, learned: Sequence[LearnedLatent]
) -> dict[int, list[tuple[LearnedLatent, float]]]:
    """Return, for each latent of the model, the learned latents whose segments no other latent knows better."""
    follows: dict[int, list[tuple[LearnedLatent, float]]] = {}
    for labels in learned:
        labelled = np.flatnonzero(labels.segments >= 0)
        if labels.num_segments < 2 or len(labelled) < MIN_POINTS:
            continue
        rows = labelled[_evenly_spread(len(labelled), NUM_ENCODED)]
        try:
            result = mig(model.encode(stored.images(labels.images[rows])), labels.segments[rows][:, None])
        except UserError:  # too few images in too few segments
            continue
        latent = int(result.latent_of_factor[0])
        share = float(result.mutual_information[latent, 0] / result.factor_entropy[0])
        if share >= FOLLOWS:
            follows.setdefault(latent, []).append((labels, share))
    return follows


def _evenly_spread(size: int, count: int) -> npt.NDArray[np.int64]:
    """Return at most `count` indices below `size`, evenly spread."""
    return np.unique(np.linspace(0, size - 1, count).astype(np.int64))


def _starting_images(start: FloatArray, images: UInt8Array | None, codes: FloatArray | None) -> list[StartingImage]:
    if images is None or codes is None:
        return [StartingImage(None, start)]
    nearest = int(np.abs(codes - start).sum(axis=1).argmin())
    spread = [int(index) for index in _evenly_spread(len(images), NUM_SHOWN) if index != nearest]
    return [StartingImage(images[index].transpose(1, 2, 0), codes[index]) for index in [nearest, *spread][:NUM_SHOWN]]


def _reconstructions(model: LatentModel, images: UInt8Array) -> npt.NDArray[np.uint8]:
    shown = images[_evenly_spread(len(images), NUM_SHOWN)]
    return strip(np.concatenate([shown / 255.0, model.decode(model.encode(shown))]), rows=2)


def _samples(model: LatentModel, codes: FloatArray | None) -> npt.NDArray[np.uint8]:
    """Decode codes whose latents were drawn independently: from the codes of images, or else from N(0, 1)."""
    generator = Streams(0).generator("report", "samples")
    if codes is None:
        samples = generator.standard_normal((NUM_SAMPLES, len(model.latents)))
    else:
        samples = np.stack([generator.choice(column, NUM_SAMPLES) for column in codes.T], axis=1)
    return strip(model.decode(samples), rows=2)
