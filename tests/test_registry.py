"""Components: chosen by name or with options, from this package or an installed one, and dumped as they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import Field

from pbt_disent import registry
from pbt_disent.config import load_config
from pbt_disent.config.tree import Config
from pbt_disent.errors import UserError
from pbt_disent.population.exploit import EXPLOITS, Exploit
from pbt_disent.population.exploit.t_test import TTest
from pbt_disent.population.exploit.truncation import Truncation
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.registry import ENTRY_POINTS, KINDS, Choice, Component, OptionError, Registry, components

CHOICE = Choice("exploit", "truncation")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("t_test", TTest()),
        ({"name": "t_test", "significance": 0.1}, TTest(significance=0.1)),
        ({"cutoff": 0.3}, Truncation(cutoff=0.3)),
        ({}, Truncation()),
        (TTest(cutoff=0.4), TTest(cutoff=0.4)),
    ],
)
def test_a_component_is_its_name_or_a_mapping_or_itself(value: object, expected: Component) -> None:
    assert CHOICE.validate(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("truncate", r"^exploit='truncate': is no known exploit; did you mean 'truncation'"),
        ({"name": "truncate"}, r"^exploit='truncate': is no known exploit"),
        ({"name": 3}, r"^exploit\.name=3: input should be a valid string; known: "),
        (3, r"^exploit=3: must be the name of one exploit, or a mapping; known: .*t_test"),
        (None, r"^exploit=None: must be the name of one exploit"),
        ({"cutoff": 0.7}, r"^exploit\.cutoff=0\.7: must be in 0 to 0\.5; the default is 0\.2$"),
        ({"cutoff": "half"}, r"^exploit\.cutoff='half': must be in 0 to 0\.5; the default is 0\.2$"),
        ({"cutof": 0.1}, r"^key 'exploit\.cutof': is unknown to truncation; did you mean 'cutoff'"),
        ({"name": "none", "cutoff": 0.1}, r"^key 'exploit\.cutoff': is unknown to none"),
        ({"name": "t_test", "significance": 0.5}, r"^exploit\.significance=0\.5: input should be less than 0\.5"),
    ],
)
def test_a_mistake_is_one_line_with_value_rule_and_remedy(value: object, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        CHOICE.validate(value)
    error = caught.value.within("exploit").to_user_error()
    with pytest.raises(UserError, match=message):
        raise error
    assert "\n" not in str(error)


def test_none_is_allowed_where_it_is_said() -> None:
    assert Choice("objective", "betatcvae", optional=True).validate(None) is None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_registry_is_found_and_knows_its_kind(kind: str) -> None:
    registry_of_kind = components(kind)
    assert registry_of_kind.kind == kind
    assert list(registry_of_kind) == sorted(registry_of_kind)
    assert list(registry_of_kind)
    for name in registry_of_kind:
        assert name in registry_of_kind
        options = registry.options_class(registry_of_kind[name])
        if options is not None:
            assert options.name == name
            assert all(field.description for field in options.model_fields.values()), name


def test_what_is_unknown_has_a_nearest() -> None:
    with pytest.raises(UserError, match=r"exploit 'tournamnt': is no known exploit; did you mean 'tournament'"):
        EXPLOITS["tournamnt"]
    with pytest.raises(UserError, match=r"kind 'exploits': is no kind of component; did you mean 'exploit'"):
        components("exploits")


def test_a_name_is_taken_once() -> None:
    registry_of_one: Registry[type[Exploit]] = Registry("exploit")
    registry_of_one.register("one")(type("One", (Exploit,), {}))
    with pytest.raises(KeyError, match="exploit 'one' is registered twice"):
        registry_of_one.register("one")(type("Two", (Exploit,), {}))


@pytest.mark.parametrize("kind", ["exploit", "explore", "fitness", "network", "likelihood", "schedule", "segmentation"])
def test_what_is_dumped_reads_back(kind: str) -> None:
    for name in components(kind):
        options = components(kind).options(name)
        document = options().dump()
        assert document["name"] == name
        assert Choice(kind, "none of these").validate(document) == options()
        assert set(document) == {"name", *options.model_fields}


def test_components_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Truncation().cutoff = 0.3  # type: ignore[misc]


def test_a_config_reads_back_what_it_dumps_with_all_options() -> None:
    config = load_config(None, ["population.exploit={name: t_test, significance: 0.1}", "population.fitness.alpha=0.2"])
    assert config.population.exploit == TTest(significance=0.1)
    assert config.population.fitness == UDRFitness(alpha=0.2)
    assert config.dump()["population"]["exploit"] == {"name": "t_test", "cutoff": 0.2, "significance": 0.1}
    again = Config.model_validate(config.dump())
    assert (again, again.digest) == (config, config.digest)


class Plugin:
    """An entry point of an installed distribution."""

    value = "somewhere.rules"

    def __init__(self, load: Callable[[], object]) -> None:
        self.load = load


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that installs a distribution with one module, before any exploit rule was looked up."""

    def installed(load: Callable[[], object]) -> None:
        groups = {ENTRY_POINTS: [Plugin(load)]}
        monkeypatch.setattr(registry, "entry_points", lambda *, group: groups.get(group, []))
        monkeypatch.setattr(EXPLOITS, "_entries", dict(EXPLOITS._entries))
        monkeypatch.setattr(EXPLOITS, "_filled", False)

    list(EXPLOITS)
    return installed


def test_a_component_of_an_installed_distribution_is_one_like_all_others(install: Any) -> None:
    loaded = []

    def load() -> None:
        loaded.append(True)

        @EXPLOITS.register("elsewhere")
        class Elsewhere(Truncation):
            """Replace nobody for a while."""

            patience: int = Field(3, ge=1, description="The number of generations to wait.")

    install(load)
    assert "elsewhere" in EXPLOITS
    assert list(EXPLOITS) == sorted([*EXPLOITS])
    assert loaded == [True], "it is loaded once"
    config = load_config(None, ["population.exploit={name: elsewhere, patience: 5}"])
    assert config.dump()["population"]["exploit"] == {"name": "elsewhere", "cutoff": 0.2, "patience": 5}
    assert Config.model_validate(config.dump()) == config
    with pytest.raises(UserError, match=r"population\.exploit\.patience=0: .*greater than or equal to 1"):
        load_config(None, ["population.exploit={name: elsewhere, patience: 0}"])
    with pytest.raises(
        UserError, match=r"population\.exploit='elsewhre': is no known exploit; did you mean 'elsewhere'"
    ):
        load_config(None, ["population.exploit=elsewhre"])


def test_a_distribution_that_cannot_be_imported_is_named(install: Any) -> None:
    def load() -> None:
        raise ImportError("No module named 'sums'")

    install(load)
    message = r"plug-in somewhere\.rules: cannot be imported \(ImportError: No module named 'sums'\); repair"
    with pytest.raises(UserError, match=message):
        EXPLOITS["truncation"]
