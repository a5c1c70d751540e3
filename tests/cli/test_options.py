"""The verb `options`: everything that it says comes from the components."""

from __future__ import annotations

import json

import pytest

from pbt_disent.cli import main
from pbt_disent.cli.options import describe_component, describe_options
from pbt_disent.registry import KINDS, components, options_class

NAMES = [(kind, name) for kind in KINDS for name in components(kind)]


def test_all_kinds_and_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(KINDS)
    assert main(["options", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {kind: list(components(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_components_of_a_kind_have_summaries(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", kind]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in rows] == list(components(kind))


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_option_is_described(kind: str, name: str) -> None:
    assert describe_component(components(kind)[name])[0]
    model = options_class(components(kind)[name])
    for option in [] if model is None else describe_options(model):
        assert option.type, option.name
        assert option.default, option.name
        assert option.description.endswith("."), option.name


def test_the_options_of_a_component(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "exploit", "truncation"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("exploit truncation: Replace ")
    (row,) = [line for line in shown.splitlines() if line.startswith("cutoff ")]
    assert row.split(maxsplit=3)[:3] == ["cutoff", "number", "0.2"]
    assert "at least 0, at most 0.5" in row
    assert main(["options", "exploit", "truncation", "--json"]) == 0
    (cutoff,) = json.loads(capsys.readouterr().out)["options"]
    assert (cutoff["name"], cutoff["default"], cutoff["bounds"]) == ("cutoff", "0.2", "at least 0, at most 0.5")


def test_hyperparameters_and_choices_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "objective", "betatcvae", "--json"]) == 0
    options = {option["name"]: option for option in json.loads(capsys.readouterr().out)["options"]}
    assert (options["beta"]["default"], options["beta"]["bounds"]) == (
        "6",
        "at least 1, at most 500, on a logarithmic scale",
    )
    assert options["network"]["type"] == "name of one network, or its name and options"
    assert options["estimator"]["type"] == "mws | mss"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exploits"], "kind 'exploits': is no kind of component; did you mean 'exploit'? known: "),
        (["exploit", "trunkation"], "exploit 'trunkation': is no known exploit; did you mean 'truncation'? known: "),
    ],
)
def test_the_nearest_name_is_offered(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"pbt-disent: {words}")
