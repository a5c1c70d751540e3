"""How well a finished model matches the true factors, where the data set knows them.

Nothing else asks for true factors, but for the methods and objectives that are supervised by them.
"""

from __future__ import annotations

import numpy as np

from pbt_disent.data.base import UNKNOWN, ImageData
from pbt_disent.metrics import MIG, MINIMUM_POINTS, interval_ends, interval_over_points, mig
from pbt_disent.models import LatentModel
from pbt_disent.models.export import encode_images
from pbt_disent.types import IntArray, Json

__all__ = ["compare_with_factors", "varying_factors"]

MAX_POINTS = 50_000


def compare_with_factors(model: LatentModel, data: ImageData, images: IntArray | None = None) -> Json | None:
    """Compute the MIG of each true factor (arXiv 1802.04942, eq. 6; 20 bins, posterior means).

    A label that no two images share, such as a number of each, is no factor.

    Args:
        model: The finished model.
        data: The set of images.
        images: The indices of the images to use; all by default. At most 50,000 are used, by a fixed permutation.

    Returns:
        ``mig``, its 95 % ``interval`` over the images, ``points``, and ``per_factor`` for each factor that varies: its
        name, its gap (I1 - I2) / H, its latent, and the share of its entropy that each latent knows. None where the
        factors are not known, or where there are fewer images than 20 or than latents.
    """
    indices = np.arange(len(data)) if images is None else images
    rows = indices[np.random.default_rng(0).permutation(len(indices))[:MAX_POINTS]]
    factors = data.factors(rows)
    if factors is None or len(rows) < max(MINIMUM_POINTS, len(model.latents)):
        return None
    columns = [column for column in varying_factors(factors) if len(np.unique(factors[:, column])) < len(rows)]
    if not columns:
        return None
    codes = encode_images(model, data, rows)
    true_factors = factors[:, columns]
    result = mig(codes, true_factors)
    interval = interval_over_points(
        result.score,
        lambda samples, _: mig(codes[samples[0]], true_factors[samples[0]]).score,
        [len(codes)],
        bounds=MIG.bounds,
    )
    shares = result.mutual_information / result.factor_entropy
    return {
        "mig": result.score,
        "interval": interval_ends(interval),
        "points": len(rows),
        "per_factor": [
            {
                "factor": data.factor_names[column],
                "gap": float(result.per_factor[place]),
                "latent": int(result.latent_of_factor[place]),
                "shares": [float(share) for share in shares[:, place]],
            }
            for place, column in enumerate(columns)
        ],
    }


def varying_factors(factors: IntArray) -> list[int]:
    """Return the columns of factors (N, K) that are known for every image and have more than one value."""
    return [
        column
        for column in range(factors.shape[1])
        if len(np.unique(factors[:, column])) > 1 and not np.any(factors[:, column] == UNKNOWN)
    ]
