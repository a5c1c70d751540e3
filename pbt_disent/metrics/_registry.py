"""The metrics by name: what each needs, what it returns and how it is called, for the command line and the reports.

A metric enters itself from its own file; nothing else has to be touched to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from pbt_disent.errors import UserError
from pbt_disent.metrics._result import Result
from pbt_disent.registry import Registry

__all__ = ["METRICS", "Inputs", "Metric"]

Kind = Literal["labelled", "unlabelled", "ranking"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What there is to score.

    Args:
        codes: (N, Z) of one model, or (M, N, Z) of several for rankings; the training half where there is a test half.
        factors: (N, K), or None without labels.
        test_codes: (N', Z) of the test half, or None.
        test_factors: (N', K), or None.
        information: (M, Z) nats per latent, for rankings.
        sigma: (N, Z) posterior standard deviations, for what is compared with samples, or None.
    """

    codes: ArrayLike
    factors: ArrayLike | None = None
    test_codes: ArrayLike | None = None
    test_factors: ArrayLike | None = None
    information: ArrayLike | None = None
    sigma: ArrayLike | None = None

    @property
    def labels(self) -> ArrayLike:
        """The factors, insisted on.

        Raises:
            UserError: there are none.
        """
        if self.factors is None:
            raise UserError("codes without factors", "cannot be scored by this metric", "give factors (N, K)")
        return self.factors

    @property
    def nats(self) -> ArrayLike:
        """The information, insisted on.

        Raises:
            UserError: there is none.
        """
        if self.information is None:
            raise UserError("codes without information", "cannot be ranked", "give information (M, Z) in nats")
        return self.information


@dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Args:
        result: the type returned, which declares direction and bounds.
        run: computes it from the inputs, a budget and a seed.
        kind: ``labelled`` needs factors, ``unlabelled`` needs codes alone, ``ranking`` compares several models.
        parts: the attributes of the result that are reported as numbers, the headline first; None is left out.
        costly: whether a resample refits many classifiers, so that intervals are measured on the fast variant.
    """

    result: type[Result]
    run: Callable[[Inputs, str, int], Result]
    kind: Kind = "labelled"
    parts: tuple[str, ...] = ("score",)
    costly: bool = False


METRICS: Registry[Metric] = Registry("metric", "pbt_disent.metrics")
