"""A round's identity: every option of every component counts, known here or not, and no stop condition does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, get_args

import pytest
from pydantic import Field, ValidationError

from pbt_disent.config import Hyperparameter, PopulationConfig
from pbt_disent.config.sections import STOP_CONDITION
from pbt_disent.models.objectives.betatcvae import BetaTCVAE
from pbt_disent.population.executor import LabelLevel
from pbt_disent.population.exploit.truncation import Truncation
from pbt_disent.population.spec import RoundSpec
from pbt_disent.registry import Component, components
from pbt_disent.training.tasks import SupervisionDigests
from tests.population.fakes import spec

KINDS = ("exploit", "explore", "fitness", "objective", "network", "likelihood", "schedule")
"""The kinds of components that a round is made of."""


def with_component(kind: str, component: Component) -> RoundSpec:
    """Return a round that differs from others in one component alone."""
    plain = replace(spec(), supervision=SupervisionDigests("1" * 64, "2" * 64))
    options = BetaTCVAE.Options
    if kind in {"exploit", "explore"}:
        return replace(plain, population=plain.population.model_copy(update={kind: component}))
    if kind == "fitness":
        return replace(plain, fitness=component)
    field = {"network": "network", "likelihood": "likelihood", "schedule": "lr_schedule"}.get(kind)
    objective: Any = component if field is None else options().model_copy(update={field: component})
    return replace(plain, objectives={"one": objective})


def candidates(option: str, component: type[Component]) -> Iterator[Any]:
    """Yield values that an option might have instead of its default."""
    field = component.model_fields[option]
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Hyperparameter):
        yield {"high": default.high, "low": default.low, "default": default.high}
        yield default.high
    elif isinstance(default, bool):
        yield not default
    elif isinstance(default, int | float):
        yield from (default + 1, default - 1, default * 2, default / 2, default * 1.01, default + 0.01)
    elif isinstance(default, tuple):
        yield from ([3], [1.5])
    elif default is None:
        yield 4
    elif get_args(field.annotation):
        yield from get_args(field.annotation)
    else:  # a component within this one
        yield from ("mlp", "cosine", "laplace")


def changes() -> Iterator[tuple[str, str, str]]:
    for kind in KINDS:
        for name in components(kind):
            yield from ((kind, name, option) for option in components(kind).options(name).model_fields)


@pytest.mark.parametrize(("kind", "name", "option"), list(changes()))
def test_every_option_of_every_component_counts(kind: str, name: str, option: str) -> None:
    component = components(kind).options(name)
    default = component()
    for value in candidates(option, component):
        try:
            changed = component.model_validate({option: value})
        except ValidationError:
            continue
        if changed != default:
            break
    else:
        pytest.fail(f"no other value of {option} was found")
    assert changed.dump() != default.dump()
    before, after = (with_component(kind, each).identity for each in (default, changed))
    assert before != after
    assert with_component(kind, component.model_validate(changed.dump())).identity == after


@pytest.mark.parametrize("kind", KINDS)
def test_which_component_it_is_counts(kind: str) -> None:
    names = list(components(kind))
    identities = {with_component(kind, components(kind).options(name)()).identity for name in names}
    assert len(identities) == len(names) > 1


def test_options_of_a_component_from_elsewhere_count_too() -> None:
    class Elsewhere(Truncation):
        name: ClassVar[str] = "elsewhere"

        patience: int = Field(3, description="What only this rule knows.")

    rules = (Truncation(), Elsewhere(), Elsewhere(patience=4))
    assert len({with_component("exploit", rule).identity for rule in rules}) == 3


STOPS = {"max_generations": 7, "converged_change": 0.3, "converged_generations": 2, "give_up_below": 0.9}
OTHERS = {"size": 9, "oversize": 2, "replicas": 3, "image_passes_per_generation": 77, "mode": "asynchronous"}


def test_stop_conditions_do_not_count_and_all_else_of_a_population_does() -> None:
    fields = PopulationConfig.model_fields
    assert {name for name, field in fields.items() if STOP_CONDITION in field.metadata} == STOPS.keys()
    assert fields.keys() == {*STOPS, *OTHERS, "fitness", "exploit", "explore"}
    plain = spec()
    for changed, counts in ((STOPS, False), (OTHERS, True)):
        for name, value in changed.items():
            other = replace(plain, population=plain.population.model_copy(update={name: value}))
            assert other.population != plain.population
            assert (other.identity != plain.identity) == counts, name


def test_a_round_goes_by_its_own_fitness() -> None:
    """The config's is that of the first rounds: the final one is ranked by another."""
    plain = spec()
    other = plain.population.model_copy(update={"fitness": components("fitness")["none"]()})
    assert replace(plain, population=other).identity == plain.identity


def test_everything_else_that_a_round_depends_on_counts() -> None:
    plain = spec()
    level = LabelLevel("1" * 64, "2" * 64)
    changed = [
        replace(plain, path="0/leaf1/1"),
        replace(plain, seed=4),
        replace(plain, subset="3" * 64),
        replace(plain, set_size=99),
        replace(plain, probe="4" * 64),
        replace(plain, data=plain.data.model_copy(update={"fingerprint": "e" * 64})),
        replace(plain, labels=((level,),)),
        replace(plain, labels=((level, level),)),
        replace(plain, labels=((level,), (level,))),
        replace(plain, supervision=SupervisionDigests(labels="5" * 64)),
        replace(plain, supervision=SupervisionDigests(partners="5" * 64)),
        replace(plain, schedule=({"x": 1.0, "batch_size": 8.0},)),
        replace(plain, objectives={"other": plain.objectives["fake"]}),
    ]
    identities = {plain.identity, *(each.identity for each in changed)}
    assert len(identities) == len(changed) + 1


def test_how_tasks_are_grouped_and_what_data_are_called_does_not_count() -> None:
    plain = spec()
    assert replace(plain, together=True).identity == plain.identity
    renamed = plain.data.model_copy(update={"name": "another"})
    assert replace(plain, data=renamed).identity == plain.identity
