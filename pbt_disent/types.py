"""Array types and the shape letters used in every docstring.

B batch, N points, Z latents, K factors, M models, C channels, H and W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "Hyperparameters", "IntArray", "Json", "UInt8Array"]

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
UInt8Array = npt.NDArray[np.uint8]
Hyperparameters = dict[str, float]
Json = dict[str, Any]
