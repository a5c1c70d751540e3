from __future__ import annotations

import pytest

from pbt_disent.config import PopulationConfig
from pbt_disent.population.convergence import verdict

RULE = PopulationConfig(max_generations=20)


@pytest.mark.parametrize(
    ("best", "reason"),
    [
        ([], None),
        ([0.5] * 6, None),
        ([0.5] * 7, "converged"),
        ([0.5, 0.51, 0.51, 0.51, 0.51, 0.51, 0.51], None),
        ([0.1, 0.5, 0.504, 0.5, 0.504, 0.5, 0.504, 0.5], "converged"),
        ([0.05] * 7, "nothing_learned"),
        ([0.5, None, 0.5, 0.5, 0.5, 0.5, 0.5], None),
        ([0.1 * i for i in range(20)], "max_generations"),
        ([None] * 20, "nothing_learned"),
        ([0.09] * 3 + [0.02] * 17, "nothing_learned"),
    ],
)
def test_a_population_stops_when_it_should(best: list[float | None], reason: str | None) -> None:
    assert verdict(best, RULE) == reason
