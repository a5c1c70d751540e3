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

Kind = Literal["labelled", "unlabelled", "ranking", "decoded"]


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
        images: (D, ...) some images, on one scale with the next two, or None.
        reconstructions: (D, ...) what a decoder makes of them, or None.
        generated: (D', ...) what it makes of other codes, or None.
        features: (F, ...) features of images, of the user's choice, or None.
        generated_features: (F', ...) of generated ones, or None.
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

    def given(self, name: str) -> ArrayLike:
        """Return one of the arrays, insisted on.

        Raises:
            UserError: there is none.
        """
        values: ArrayLike | None = getattr(self, name)
        if values is None:
            raise UserError(f"codes without {name}", "cannot be scored by this metric", f"give {name}")
        return values

    @property
    def labels(self) -> ArrayLike:
        """The factors, insisted on.

        Raises:
            UserError: there are none.
        """
        return self.given("factors")

    @property
    def nats(self) -> ArrayLike:
        """The information, insisted on.

        Raises:
            UserError: there is none.
        """
        return self.given("information")


@dataclass(frozen=True)
class Metric:
    """One entry of the registry.

    Args:
        result: the type returned, which declares direction and bounds.
        run: computes it from the inputs, a budget and a seed.
        kind: ``labelled`` needs factors, ``unlabelled`` needs codes alone, ``ranking`` compares several models,
            ``decoded`` needs what a decoder has made.
        parts: the attributes of the result that are reported as numbers, the headline first; None is left out.
        costly: whether a resample takes so long that intervals are measured on few of them and on the fast variant.
        sets: what ``decoded`` takes, by name; those whose rows belong together in one set.
    """

    result: type[Result]
    run: Callable[[Inputs, str, int], Result]
    kind: Kind = "labelled"
    parts: tuple[str, ...] = ("score",)
    costly: bool = False
    sets: tuple[tuple[str, ...], ...] = ()


METRICS: Registry[Metric] = Registry("metric", "pbt_disent.metrics")
