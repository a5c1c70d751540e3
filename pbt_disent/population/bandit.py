"""The Gaussian process behind population-based bandits: what was observed of members, and what to try next.

Parker-Holder, Nguyen, Roberts, "Provably efficient online hyperparameter optimization with population-based bandits"
(NeurIPS 2020, arXiv 2002.02518). The process is that of Bogunovic et al. (2016, TV-GP-UCB): a squared exponential in
the values, times a factor that forgets: (1 - epsilon) to the half of the generations between. It is fitted to the
change of the score in each member's generation; a copy gets the values with the highest upper confidence bound.

N observations, D searched values; a row of X holds the generation, the score before,
and a point of the unit cube with one coordinate for each searched value.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.gaussian_process.kernels import Kernel, WhiteKernel

from pbt_disent.config import Hyperparameter
from pbt_disent.population.explore import Observation, Offspring
from pbt_disent.types import FloatArray, Hyperparameters

__all__ = ["MAX_OBSERVATIONS", "Bandit", "TimeVarying"]

MAX_OBSERVATIONS = 200
"""The number of observations that count, the last ones."""

RANDOM_CANDIDATES, LOCAL_CANDIDATES, LOCAL_WIDTH = 2000, 500, 0.05
"""The number of candidates for a copy all over the unit cube, then around the best of those, and how far from it."""

BOUND_OFFSET, BOUND_GROWTH = 0.2, 0.4
"""The bound lies sqrt(0.2 + max(0, ln(0.4 N))) deviations above the mean, as in the authors' code."""


class TimeVarying(Kernel):  # type: ignore[misc]  # scikit-learn has no annotations
    """Squared exponential in all columns but the first, times (1 - epsilon) ** (|difference in the first| / 2).

    Args:
        variance: The variance of the process.
        length: The length scale of the squared exponential.
        epsilon: The share that is forgotten from one generation to the next.
    """

    def __init__(self, variance: float = 1.0, length: float = 0.3, epsilon: float = 0.1) -> None:
        self.variance, self.length, self.epsilon = variance, length, epsilon

    @property
    def hyperparameter_variance(self) -> kernels.Hyperparameter:
        """What scikit-learn fits: the bounds of the variance."""
        return kernels.Hyperparameter("variance", "numeric", (1e-3, 1e3))

    @property
    def hyperparameter_length(self) -> kernels.Hyperparameter:
        """What scikit-learn fits: the bounds of the length scale."""
        return kernels.Hyperparameter("length", "numeric", (0.05, 10.0))

    @property
    def hyperparameter_epsilon(self) -> kernels.Hyperparameter:
        """What scikit-learn fits: the bounds of the forgetting."""
        return kernels.Hyperparameter("epsilon", "numeric", (1e-4, 0.5))

    def __call__(self, X: FloatArray, Y: FloatArray | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Return the covariances (N, M), with their gradient by the logarithms of the three parameters if asked."""
        second = X if Y is None else Y
        apart = np.abs(X[:, None, 0] - second[None, :, 0])
        distance = ((X[:, None, 1:] - second[None, :, 1:]) ** 2).sum(axis=-1)
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
    """The process, fitted to the observations.

    Args:
        space: The searched hyperparameters.
        observations: All observations, oldest first.
    """

    def __init__(self, space: Mapping[str, Hyperparameter], observations: Sequence[Observation]) -> None:
        self._space = space
        observations = observations[-MAX_OBSERVATIONS:]
        before = np.array([observation.before for observation in observations])
        self._low, self._range = float(before.min()), float(np.ptp(before)) or 1.0
        self._median = float(np.median(before))
        self._rows = np.array([self.row(o.generation, o.before, o.hyperparameters) for o in observations])
        change = np.array([observation.after - observation.before for observation in observations])
        target = np.clip((change - change.mean()) / (change.std() or 1.0), -2, 2)
        optimizer = "fmin_l_bfgs_b" if change.std() else None  # a process cannot be fitted to what never changes
        process = GaussianProcessRegressor(TimeVarying() + WhiteKernel(0.1, (1e-3, 1.0)), optimizer=optimizer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is an answer too
            self._process = process.fit(self._rows, target)
        self._bound = float(np.sqrt(BOUND_OFFSET + max(0.0, np.log(BOUND_GROWTH * len(observations)))))

    def row(self, generation: int, score: float | None, values: Hyperparameters) -> FloatArray:
        """Return a member as a row of X.

        Args:
            generation: The generation in which it trains.
            score: The score that it starts from; None stands for the median of the observed ones.
            values: Its hyperparameters.
        """
        point = np.array([self._space[name].to_unit(values[name]) for name in sorted(self._space)])
        return self.join(generation, self._median if score is None else score, point)

    def join(self, generation: int, score: float, point: FloatArray) -> FloatArray:
        """Return a point of the unit cube with what cannot be chosen in front of it: generation and score.

        Args:
            generation: The generation in which a member with these values trains.
            score: The score that it starts from.
            point: The searched values, on the unit scale, (D,).
        """
        relative = (min(max(score, self._low), self._low + self._range) - self._low) / self._range
        return np.concatenate([[float(generation), relative], point])

    def best(self, generation: int, child: Offspring, pending: Sequence[FloatArray]) -> FloatArray:
        """Return the point, (D,), with the highest upper confidence bound.

        Args:
            generation: The generation in which the copy trains.
            child: The copy.
            pending: The rows of members that train in the same generation, which count as observed.
        """
        certain = GaussianProcessRegressor(self._process.kernel_, optimizer=None)
        rows = np.vstack([self._rows, *pending])
        certain.fit(rows, np.zeros(len(rows)))
        context = self.join(generation, child.score, np.empty(0))

        def choose(points: FloatArray) -> FloatArray:
            candidates = np.hstack([np.tile(context, (len(points), 1)), points])
            mean = self._process.predict(candidates)
            _, deviation = certain.predict(candidates, return_std=True)
            best: FloatArray = points[int(np.argmax(mean + self._bound * deviation))]
            return best

        size = len(self._space)
        best = choose(child.generator.random((RANDOM_CANDIDATES, size)))
        near = np.clip(best + LOCAL_WIDTH * child.generator.standard_normal((LOCAL_CANDIDATES, size)), 0.0, 1.0)
        return choose(np.vstack([best, near]))
