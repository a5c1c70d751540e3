"""Fitting a scikit-learn model without its warning that the published number of iterations was not enough."""

from __future__ import annotations

import warnings
from typing import Any

from pbt_disent.types import FloatArray, IntArray

__all__ = ["quiet_fit"]

Estimator = Any


def quiet_fit(model: Estimator, inputs: FloatArray, targets: IntArray) -> Estimator:
    """Return the fitted model; that the protocol's iterations run out is part of the protocol, not news."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, targets)
