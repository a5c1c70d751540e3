"""What the page shows of the final model, as plain values for its template and its script."""

from __future__ import annotations

import base64
import math

from pbt_disent.report.latents import LatentView, ModelView
from pbt_disent.report.pictures import data_uri, png
from pbt_disent.types import Json

__all__ = ["explorer", "model_parts"]

_ACTIVE = 0.05
"""Nats; latents that carry less come last and folded."""
_WIDER = 0.25
"""Sliders reach beyond the range of nearly all images by this share of it, on each side."""


def model_parts(model: ModelView) -> Json:
    """Return what the page shows of a model; latents that carry next to nothing come last and folded."""
    return {
        "latents": [_card(latent) for latent in model.latents],
        "width": model.width,
        "height": model.height,
        "reconstructions": None if model.reconstructions is None else data_uri(png(model.reconstructions)),
        "samples": data_uri(png(model.samples)),
        "explorer": model.program is not None,
        "from_images": model.starts[0].image is not None,
        "starts": [None if start.image is None else data_uri(png(start.image)) for start in model.starts],
    }


def explorer(model: ModelView) -> Json | None:
    """Return all that the page's script needs to decode by itself; none if the page is not to."""
    program = model.program
    if program is None:
        return None
    return {
        "width": model.width,
        "height": model.height,
        "channels": model.channels,
        "latents": [
            {
                "index": latent.index,
                "low": _reach(latent)[0],
                "high": _reach(latent)[1],
            }
            for latent in model.latents
        ],
        "starts": [[round(float(value), 4) for value in start.code] for start in model.starts],
        "steps": program.steps,
        "half": program.half,
        "weights": base64.b64encode(program.weights).decode(),
    }


def _reach(latent: LatentView) -> tuple[float, float]:
    wider = _WIDER * (latent.high - latent.low)
    return round(latent.low - wider, 3), round(latent.high + wider, 3)


def _card(latent: LatentView) -> Json:
    low, high = _reach(latent)
    return {
        "low": low,
        "high": high,
        "view": latent,
        "information": "unknown" if math.isnan(latent.information) else f"{latent.information:.2f} nats",
        "active": not latent.information < _ACTIVE,
        "picture": data_uri(png(latent.sheet)),
        "animation": data_uri(latent.animation, "gif"),
        "factors": [pair for pair in latent.factors if pair[1] >= 0.05][:3],
    }
