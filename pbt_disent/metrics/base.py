"""What a metric is: the arrays that it reads, the frozen result that it returns, and the registry that names it.

To add a metric, write one file in this package with a pure function of arrays and a subclass of `MetricResult`, and
register it there. The command line, the reports and the contract tests find it by its name.

    @register_metric("mig", MIG)
    def _run_mig(inputs: MetricInputs, budget: str, seed: int) -> MIG:
        return mig(inputs.codes, inputs.require("factors"), budget=budget)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Literal

from numpy.typing import ArrayLike

import pbt_disent
from pbt_disent.errors import UserError, nearest
from pbt_disent.registry import Registry

__all__ = [
    "BUDGETS",
    "METRICS",
    "Metric",
    "MetricInputs",
    "MetricResult",
    "Provenance",
    "check_metric_budget",
    "register_metric",
]

BUDGETS: tuple[str, ...] = ("protocol", "fast")
"""How much a metric may compute: as published, or a cheaper variant with fewer samples."""

MetricKind = Literal["labelled", "unlabelled", "ranking", "decoded"]


def check_metric_budget(budget: str) -> None:
    """Refuse an unknown budget.

    Raises:
        UserError: The budget is neither ``protocol`` nor ``fast``.
    """
    if budget not in BUDGETS:
        raise UserError(f"budget {budget!r}", "is no known budget", nearest(budget, BUDGETS))


@dataclass(frozen=True)
class Provenance:
    """How a score was measured. Two scores compare only where this is equal.

    Args:
        budget: The budget, ``protocol`` (the published numbers) or ``fast``.
        samples: The numbers of points, votes or models that were used, by name.
        parameters: Every setting that changes the score, by name.
        seed: The seed of the random draws, or None where nothing is drawn.
        version: The version of this package.

    Raises:
        UserError: The budget is neither ``protocol`` nor ``fast``.
    """

    budget: str
    samples: Mapping[str, int]
    parameters: Mapping[str, float | int | str | bool | None] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None
    version: str = pbt_disent.__version__

    def __post_init__(self) -> None:
        check_metric_budget(self.budget)


@dataclass(frozen=True, eq=False, kw_only=True)
class MetricResult:
    """A score and how it was measured. Each metric adds parts of its own, such as scores per factor.

    The class attributes `higher_is_better` and `bounds` declare the direction and the range of the score.

    Args:
        score: The number that is reported under the metric's name.
        provenance: The budget, sample sizes, parameters, seed and version behind the score.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    score: float
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """The arrays to score, of one model or, for rankings, of several. Only the codes are always needed.

    Args:
        codes: The codes (posterior means) of one model, of shape (N, Z), or of several models, of shape (M, N, Z).
            Where there are test codes, these are the training codes.
        factors: The class labels of the factors, of shape (N, K).
        test_codes: The test codes, of shape (N', Z).
        test_factors: The class labels of the test codes, of shape (N', K).
        information: The information of each latent in nats, of shape (M, Z), for rankings.
        sigma: The posterior standard deviations, of shape (N, Z). The Gaussian metrics then measure samples too.
        images: Some images, of shape (D, ...).
        reconstructions: The reconstructions of these images, of the same shape and on the same scale.
        generated: Images that the decoder made from other codes, of shape (D', ...) and on the same scale.
        features: Features of images of the user's choice, of shape (F, ...), for the Fréchet distance.
        generated_features: The same features of generated images, of shape (F', ...).
    """

    codes: ArrayLike
    factors: ArrayLike | None = None
    test_codes: ArrayLike | None = None
    test_factors: ArrayLike | None = None
    information: ArrayLike | None = None
    sigma: ArrayLike | None = None
    images: ArrayLike | None = None
    reconstructions: ArrayLike | None = None
    generated: ArrayLike | None = None
    features: ArrayLike | None = None
    generated_features: ArrayLike | None = None

    def require(self, name: str) -> ArrayLike:
        """Return one of the arrays, which must not be None.

        Raises:
            UserError: The array is None.
        """
        values: ArrayLike | None = getattr(self, name)
        if values is None:
            raise UserError(f"codes without {name}", "cannot be scored by this metric", f"give {name}")
        return values

    @property
    def train_and_test(self) -> tuple[ArrayLike, ArrayLike, ArrayLike | None, ArrayLike | None]:
        """Codes and factors, then test codes and test factors, in the order of the metrics that fit a predictor.

        Raises:
            UserError: There are no factors.
        """
        return self.codes, self.require("factors"), self.test_codes, self.test_factors


RunMetric = Callable[[MetricInputs, str, int], MetricResult]


@dataclass(frozen=True)
class Metric:
    """An entry of the registry of metrics.

    Args:
        run: The function that computes the result from the inputs, a budget and a seed.
        result_type: The type of the result, which declares direction and bounds.
        kind: What the metric reads: ``labelled`` needs codes and factors, ``unlabelled`` needs codes alone,
            ``ranking`` compares the codes of several models, and ``decoded`` needs what a decoder has made.
        parts: The attributes of the result that are reported as numbers, the headline first. A part that is None is
            left out.
        costly: Whether a run takes so long that intervals are measured on few resamples and on the fast budget.
        row_groups: The inputs that a ``decoded`` metric reads, by name. Inputs in one group have matching rows.
    """

    run: RunMetric
    result_type: type[MetricResult]
    kind: MetricKind = "labelled"
    parts: tuple[str, ...] = ("score",)
    costly: bool = False
    row_groups: tuple[tuple[str, ...], ...] = ()


METRICS: Registry[Metric] = Registry("metric", "pbt_disent.metrics")


def register_metric(
    name: str,
    result_type: type[MetricResult],
    kind: MetricKind = "labelled",
    *,
    parts: tuple[str, ...] = ("score",),
    costly: bool = False,
    row_groups: tuple[tuple[str, ...], ...] = (),
) -> Callable[[RunMetric], RunMetric]:
    """Return a decorator that enters a function of inputs, budget and seed into `METRICS`; see `Metric`."""

    def decorate(run: RunMetric) -> RunMetric:
        METRICS.register(name)(Metric(run, result_type, kind, parts, costly, row_groups))
        return run

    return decorate
