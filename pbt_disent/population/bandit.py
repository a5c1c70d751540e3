"""The Gaussian process behind population-based bandits: what was seen of members, and what may be worth trying next.

Parker-Holder, Nguyen, Roberts, "Provably efficient online hyperparameter optimization with population-based bandits"
(NeurIPS 2020, arXiv 2002.02518). The process is that of Bogunovic et al. (2016, TV-GP-UCB): a squared exponential in
the values, times a factor that forgets: (1 - epsilon) to the half of the generations between. It is fitted to the
change of the score in each member's generation; a copy gets the values with the highest upper confidence bound.

N observations, D searched values; a row of X holds the generation, the score before, and the D places in (0, 1).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel, WhiteKernel

from pbt_disent.config import Mutable
from pbt_disent.population.explore import Child, Observation
from pbt_disent.types import FloatArray, Hyperparameters

__all__ = ["MOST", "Bandit", "TimeVarying"]

MOST = 200
"""Observations that count: the last ones."""

SCATTERED, NEAR, WIDTH = 2000, 500, 0.05
"""Candidates for a copy, of the unit cube: all over it, then around the best of those, so far apart."""

SURE, DOUBT = 0.2, 0.4
"""The bound lies sqrt(0.2 + max(0, ln(0.4 N))) deviations above the mean, as in the authors' code."""


class TimeVarying(Kernel):  # type: ignore[misc]  # scikit-learn has no annotations
    """Squared exponential in all columns but the first, times (1 - epsilon) ** (|difference in the first| / 2).

    Args:
        variance: of the process.
        length: of the squared exponential.
        epsilon: how much is forgotten from one generation to the next.
    """

    def __init__(self, variance: float = 1.0, length: float = 0.3, epsilon: float = 0.1) -> None:
        self.variance, self.length, self.epsilon = variance, length, epsilon

    @property
    def hyperparameter_variance(self) -> Hyperparameter:
        """What scikit-learn fits: the bounds of the variance."""
        return Hyperparameter("variance", "numeric", (1e-3, 1e3))

    @property
    def hyperparameter_length(self) -> Hyperparameter:
        """What scikit-learn fits: the bounds of the length, in places."""
        return Hyperparameter("length", "numeric", (0.05, 10.0))

    @property
    def hyperparameter_epsilon(self) -> Hyperparameter:
        """What scikit-learn fits: the bounds of the forgetting."""
        return Hyperparameter("epsilon", "numeric", (1e-4, 0.5))

    def __call__(self, X: FloatArray, Y: FloatArray | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Return the covariances (N, M), with their gradient by the logarithms of the three parameters if asked."""
        others = X if Y is None else Y
        apart = np.abs(X[:, None, 0] - others[None, :, 0])
        distance = ((X[:, None, 1:] - others[None, :, 1:]) ** 2).sum(axis=-1)
        covariance = self.variance * np.exp(-distance / (2 * self.length**2)) * (1 - self.epsilon) ** (apart / 2)
        if not eval_gradient:
            return covariance
        # scikit-learn orders parameters by name: epsilon, length, variance.
        by_epsilon = -covariance * apart / 2 * self.epsilon / (1 - self.epsilon)
        return covariance, np.dstack([by_epsilon, covariance * distance / self.length**2, covariance])

    def diag(self, X: FloatArray) -> FloatArray:  # noqa: N803
        """Return the variances (N,)."""
        return np.full(len(X), self.variance)

    def is_stationary(self) -> bool:
        """Return whether only differences matter."""
        return True


class Bandit:
    """The process, fitted to what was seen.

    Args:
        space: the searched hyperparameters.
        seen: all observations, oldest first.
    """

    def __init__(self, space: Mapping[str, Mutable], seen: Sequence[Observation]) -> None:
        self._space = space
        seen = seen[-MOST:]
        before = np.array([one.before for one in seen])
        self._low, self._range = float(before.min()), float(np.ptp(before)) or 1.0
        self._middle = float(np.median(before))
        self._rows = np.array([self.row(one.generation, one.before, one.hyperparameters) for one in seen])
        change = np.array([one.after - one.before for one in seen])
        target = np.clip((change - change.mean()) / (change.std() or 1.0), -2, 2)
        fitted = "fmin_l_bfgs_b" if change.std() else None  # a process cannot be fitted to what never changes
        process = GaussianProcessRegressor(TimeVarying() + WhiteKernel(0.1, (1e-3, 1.0)), optimizer=fitted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is an answer too
            self._process = process.fit(self._rows, target)
        self._bound = float(np.sqrt(SURE + max(0.0, np.log(DOUBT * len(seen)))))

    def row(self, generation: int, score: float | None, values: Hyperparameters) -> FloatArray:
        """Return a member as a row of X; without a score it has the middle one of those seen."""
        places = np.array([self._space[name].place(values[name]) for name in sorted(self._space)])
        return self.place(generation, self._middle if score is None else score, places)

    def place(self, generation: int, score: float, places: FloatArray) -> FloatArray:
        """Return places with what cannot be chosen in front of them."""
        relative = (min(max(score, self._low), self._low + self._range) - self._low) / self._range
        return np.concatenate([[float(generation), relative], places])

    def best(self, generation: int, child: Child, taken: Sequence[FloatArray]) -> FloatArray:
        """Return the places (D,) with the highest bound, once those taken are as good as seen."""
        sure = GaussianProcessRegressor(self._process.kernel_, optimizer=None)
        rows = np.vstack([self._rows, *taken])
        sure.fit(rows, np.zeros(len(rows)))
        given = self.place(generation, child.score, np.empty(0))

        def choose(places: FloatArray) -> FloatArray:
            candidates = np.hstack([np.tile(given, (len(places), 1)), places])
            mean = self._process.predict(candidates)
            _, deviation = sure.predict(candidates, return_std=True)
            best: FloatArray = places[int(np.argmax(mean + self._bound * deviation))]
            return best

        size = len(self._space)
        best = choose(child.generator.random((SCATTERED, size)))
        near = np.clip(best + WIDTH * child.generator.standard_normal((NEAR, size)), 0.0, 1.0)
        return choose(np.vstack([best, near]))
