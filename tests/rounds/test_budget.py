"""A budget of image passes: it is never overdrawn, it is spent where asked for, and too small a one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.config import Config, PopulationConfig, load_config
from pbt_disent.errors import UserError
from pbt_disent.models import OBJECTIVES, ObjectiveOptions
from pbt_disent.rounds.budget import PassCost, check_budget, pass_cost, run_cost
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask
from tests.population.fakes import Crash, Watch, manifests
from tests.rounds.test_method import FACTORS, Oracle, run


def sized(size: int, generations: int, image_passes: int, **more: int) -> PopulationConfig:
    sizes = {"size": size, "max_generations": generations, "image_passes_per_generation": image_passes}
    return PopulationConfig.model_validate({**sizes, **more})


def test_a_cost_is_exact_for_one_batch_size_and_a_bound_for_several() -> None:
    assert [PassCost(64, False).passes(images) for images in (64, 65, 128)] == [64, 128, 128]
    assert PassCost(64, False, per_image=2).passes(100) == 256
    searched = PassCost(64, True)
    assert all(-(-images // batch) * batch <= searched.passes(images) for images in (1, 64, 999) for batch in (16, 64))


@pytest.mark.parametrize("allowance", [0, 191, 192, 600, 2000])
@pytest.mark.parametrize("searched", [False, True])
def test_within_an_allowance(allowance: int, searched: bool) -> None:
    cost, population = PassCost(32, searched), sized(2, 5, 64, replicas=1, oversize=2)
    allowed = cost.limit(population, allowance)
    if allowed is None:
        assert cost.cost(population, 1) > allowance
    else:
        assert cost.cost(allowed, allowed.max_generations) <= allowance
        more = allowed.max_generations + 1
        assert more > 5 or cost.cost(allowed, more) > allowance
    assert cost.limit(population, None) == population


@pytest.mark.parametrize("allowance", [5_000, 7_777, 100_000])
@pytest.mark.parametrize("per_image", [1, 2])
def test_spending_leaves_less_than_a_step_of_every_model(allowance: int, per_image: int) -> None:
    cost, population = PassCost(32, False, per_image), sized(3, 2, 256, replicas=2)
    spent = cost.stretch(population, allowance)
    assert spent is not None
    paid = cost.cost(spent, spent.max_generations)
    models = 6 * spent.max_generations
    assert allowance - models * 32 * per_image < paid <= allowance
    assert spent.image_passes_per_generation >= 256
    assert cost.stretch(population, cost.cost(population, 1) - 1) is None


def options(name: str, **values: object) -> ObjectiveOptions:
    return OBJECTIVES.options(name).model_validate(values)


def test_sections_say_the_largest_batch_and_whether_images_come_in_pairs() -> None:
    sections = [options("betatcvae", batch_size=size) for size in (64, {"low": 16, "high": 128})]
    assert pass_cost(sections[:1]) == PassCost(64, False)
    assert pass_cost(sections[1:]) == PassCost(128, True)
    assert pass_cost(sections) == PassCost(128, True)
    assert pass_cost(sections[:1], 40) == PassCost(40, False)
    assert pass_cost([options("adagvae", batch_size=64)]).per_image == 2


UNIT = 16
"""The smallest batch."""


def limited(passes: int, *overrides: str) -> list[str]:
    """Return a budget in units of 16 images, where a generation of the first round costs 8 of these, a final one 4."""
    lengths = [f"{key}image_passes_per_generation" for key in ("population.", "rounds.leaf_", "final.")]
    sizes = [f"{key}={UNIT}" for key in lengths]
    return [f"budget={UNIT * passes}", f"objective={{name: betatcvae, batch_size: {UNIT}}}", *sizes, *overrides]


@pytest.mark.parametrize("passes", [16, 23, 40, 55, 56, 88, 200])
def test_no_run_overdraws_its_budget(tmp_path: Path, passes: int) -> None:
    result = run(tmp_path, Oracle, None, *limited(passes))
    assert result.last.path == "final"
    assert result.image_passes <= UNIT * passes
    assert result.last.generations == 2
    rows = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    reasons = [row["reason"] for row in rows if row["event"] == "leaf_stopped"]
    assert ["the budget leaves" in reason for reason in reasons] == [passes < 88] * 2


@pytest.mark.slow
@pytest.mark.parametrize("passes", [40, 200, 201])
def test_the_last_round_spends_the_rest_and_a_crash_changes_nothing(tmp_path: Path, passes: int) -> None:
    result = run(tmp_path / "whole", Oracle, None, *limited(passes, "spend_budget=true"))
    assert passes - 4 * result.last.generations < result.image_passes // UNIT <= passes

    class DiesLate(Watch):
        def notify(self, event: object) -> None:
            if (getattr(event, "path", None), getattr(event, "generation", None)) == ("final", 1):
                raise Crash

    with pytest.raises(Crash):
        run(tmp_path / "crashed", Oracle, DiesLate(), *limited(passes, "spend_budget=true"))
    again = run(tmp_path / "crashed", Oracle, None, *limited(passes, "spend_budget=true"))
    assert again.image_passes == result.image_passes
    assert manifests(tmp_path / "crashed") == manifests(tmp_path / "whole")


class Blind(Oracle):
    """Learns nothing, so that no leaf run can begin."""

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        images = len(FACTORS) if task.subset is None else len(self.blobs.get_array(task.subset))
        codes = self.blobs.put_array(np.zeros((images, 3), np.float32))
        return EncodeOutcome(codes, None, (0.0, 0.0, 0.0))

    def _train(self, task: TrainTask) -> TrainOutcome:
        assert not task.key.round.startswith("0/leaf")
        return super()._train(task)


def test_without_labels_the_first_round_spends_the_rest(tmp_path: Path) -> None:
    class DiesLate(Watch):
        def notify(self, event: object) -> None:
            if (getattr(event, "path", None), getattr(event, "generation", None)) == ("0", 4):
                raise Crash

    overrides = limited(100, "spend_budget=true")
    result = run(tmp_path / "whole", Blind, None, *overrides)
    assert result.last is result.first
    assert (result.image_passes, result.first.generations) == (UNIT * 96, 12)
    with pytest.raises(Crash):
        run(tmp_path / "crashed", Blind, DiesLate(), *overrides)
    run(tmp_path / "crashed", Blind, None, *overrides)
    assert manifests(tmp_path / "crashed") == manifests(tmp_path / "whole")


def settings(*overrides: str) -> Config:
    return load_config("rpu-vae", ["objective.batch_size=64", *overrides])


def test_a_budget_too_small_for_one_generation_is_refused() -> None:
    first = 6 * 5 * 8000
    final = (12 + 5 * 6) * 8000
    check_budget(settings(f"budget={first + final}"), 2304)
    with pytest.raises(
        UserError, match=r"at least 576,000 image passes: one generation of the first round, beside 336"
    ):
        check_budget(settings(f"budget={first + final - 1}"), 2304)
    with pytest.raises(UserError, match="at least 240,000 image passes: one generation of the first round; raise it"):
        check_budget(settings("method=pbt-u-vae", "budget=1"), 2304)
    with pytest.raises(UserError, match="spend_budget=true: needs a budget"):
        settings("spend_budget=true")


def test_a_plan_says_what_a_budget_allows() -> None:
    whole = run_cost(settings()).image_passes
    assert run_cost(settings("budget=600000")).image_passes == 600_000
    assert run_cost(settings(f"budget={2 * whole}")).image_passes == whole
    assert run_cost(settings(f"budget={2 * whole}", "spend_budget=true")).image_passes == 2 * whole
    pairs = settings("final.objective={name: adagvae, batch_size: 64}")
    assert run_cost(pairs).rounds[-1].image_passes == 2 * run_cost(settings()).rounds[-1].image_passes


@pytest.mark.parametrize("oversize", [1, 2, 4])
def test_disk_holds_two_generations_and_the_best_member_of_a_larger_first_one(oversize: int) -> None:
    sizes = ["method=pbt-u-vae", "population.size=3", "population.replicas=2", f"population.oversize={oversize}"]
    assert run_cost(load_config(None, sizes)).disk_bytes(10) == 10 * 2 * (3 * oversize + 3 + 3)
