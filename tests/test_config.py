from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pbt_disent.config import Config, Hyperparameter, load_config, override, preset_names, validate, write_yaml
from pbt_disent.errors import UserError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_reads_back_what_it_wrote(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    path = tmp_path / "config.yaml"
    path.write_text(write_yaml(config))
    assert load_config(path) == config
    assert load_config(path).digest == config.digest


def test_overrides_reach_any_depth_and_change_the_digest() -> None:
    config = load_config("demo", ["population.size=9", "objective.beta=4.5", "rounds.segmentation.valley=0.3"])
    assert config.population.size == 9
    assert config.objective.fixed["beta"] == 4.5
    assert config.rounds.segmentation.valley == 0.3
    assert config.digest != load_config("demo").digest


def test_an_objective_can_be_named_alone() -> None:
    assert load_config(None, ["objective=betavae"]).objective.name == "betavae"
    assert load_config("demo", ["objective=betavae"]).objective.name == "betavae"


@pytest.mark.parametrize(
    ("source", "overrides", "words"),
    [
        ("dem", [], ["'dem'", "no known preset", "did you mean 'demo'"]),
        ("demo", ["populaton.size=4"], ["'populaton'", "did you mean 'population'"]),
        ("demo", ["population.siz=4"], ["'population.siz'", "did you mean 'size'"]),
        ("demo", ["population.size=1"], ["population.size=1", "greater than or equal to 2"]),
        ("demo", ["population.size=many"], ["population.size='many'", "valid integer"]),
        ("demo", ["population.replicas=1"], ["population.replicas", "at least 2"]),
        ("demo", ["population.size"], ["section.key=value"]),
        ("demo", ["method=pbt"], ["method='pbt'", "rpu-vae"]),
        ("demo", ["population.exploit.cutoff=0.7"], ["population.exploit.cutoff=0.7", "must be in 0 to 0.5"]),
    ],
)
def test_a_mistake_is_one_line_with_value_rule_and_remedy(source: str, overrides: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_config(source, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1,")
    with pytest.raises(UserError, match=r"broken\.yaml: must be valid YAML"):
        load_config(path)
    path.write_text("- a list")
    with pytest.raises(UserError, match="must be a mapping"):
        load_config(path)
    with pytest.raises(UserError, match="must be a readable YAML file"):
        load_config(tmp_path / "absent.yaml")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


def test_a_mutable_clips_rounds_and_scales() -> None:
    rate = Hyperparameter(default=1e-3, low=1e-4, high=1e-2, log=True)
    assert rate.from_unit(0.5) == pytest.approx(1e-3)
    assert (rate.from_unit(0.0), rate.from_unit(1.0)) == pytest.approx((1e-4, 1e-2))
    assert rate.clip(1.0) == 1e-2
    size = Hyperparameter(default=64, low=16, high=128, integer=True)
    assert size.clip(63.4) == 63.0
    with pytest.raises(ValueError, match="low <= default <= high"):
        Hyperparameter(default=0, low=1, high=2)
    with pytest.raises(ValueError, match="low > 0"):
        Hyperparameter(default=0, low=0, high=2, log=True)


def test_another_objective_keeps_what_every_objective_has() -> None:
    config = load_config("demo", ["objective=strkm", "objective.weight=2"])
    assert config.objective.name == "strkm"
    assert config.objective.latents == 6
    assert config.objective.fixed == {"batch_size": 64, "weight": 2}
    lr, before = config.objective.lr, load_config("demo").objective.lr
    assert (lr.low, lr.high) == (before.low, before.high) == (0.002, 0.008)


def test_several_objectives() -> None:
    config = load_config("demo", ["objective=[betatcvae, {name: provlae, levels: 2}]"])
    first, second = config.objectives
    assert (first.latents, first.batch_size.default, first.lr.high) == (6, 64, 0.008)
    assert (second.name, second.levels, second.latents) == ("provlae", 2, 9)
    assert load_config("demo").objectives == (load_config("demo").objective,)
    for wrong in ("[]", "[vae, vae, vae, vae, vae]"):
        with pytest.raises(UserError, match="must name 1 to 4 objectives"):
            load_config("demo", [f"objective={wrong}"])


def test_a_value_of_one_of_several_objectives_must_say_of_which() -> None:
    with pytest.raises(UserError, match=r"is for one of several in objective.*describe each in objective=\[") as caught:
        load_config("demo", ["objective=[betatcvae,provlae]", "objective.growth=plateau"])
    assert "\n" not in str(caught.value)


def test_numbers_with_an_exponent_are_numbers_without_a_point_too(tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text("objective: {name: betatcvae, lr: 1e-3, beta: {low: 1e0, high: 2.5e+1}}\n")
    objective = load_config(path).objective
    assert (objective.fixed, objective.beta.low, objective.beta.high) == ({"lr": 0.001}, 1.0, 25.0)
    assert load_config("demo", ["objective.lr=5E-4"]).objective.fixed["lr"] == 0.0005
    assert load_config("demo", ["data.name=1e3sprites"]).data.name == "1e3sprites"


@pytest.mark.parametrize(
    "name", ["2024", "yes", "pics #1", "a: b", "- x", "'q'", '"w"', "1e-3", "\u00fcber/\U0001f600"]
)
def test_a_text_stays_what_it_is_when_it_is_set(name: str) -> None:
    assert load_config("demo", [override("data.name", name)]).data.name == name


def test_a_mistake_within_an_alternative_is_named_as_the_user_wrote_it() -> None:
    with pytest.raises(UserError, match=r"^objective\.name=3: input should be a valid string"):
        load_config("demo", ["objective.name=3"])
    with pytest.raises(UserError, match=r"key 'replay\.sorce': is unknown; did you mean 'source'"):
        load_config("demo", ["replay={source: a, schedule: [{lr: 1}], sorce: b}"])


@pytest.mark.parametrize("name", ["1e3", "-2.5E-3", "2024", "0x1f", "yes", "a: b", "pictures"])
def test_a_config_that_is_written_is_read_as_the_same(tmp_path: Path, name: str) -> None:
    config = load_config(None, [override("data.name", name), "objective={name: betatcvae, lr: 1e-5}"])
    (tmp_path / "config.yaml").write_text(write_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config
    assert validate(yaml.safe_load(write_yaml(config))) == config, "by any reader of YAML"
