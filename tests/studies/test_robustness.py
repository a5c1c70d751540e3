"""The study of robustness: every arm pays the same, from one counter; its table and figure say what came out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pbt_disent import api
from pbt_disent.models.contract import Batch
from pbt_disent.population.events import Observers
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.store.runs import create_run
from pbt_disent.training.loop import ReplicaGroup
from pbt_disent.types import Json
from studies.cli import main
from studies.robustness import Hypothesis, cell_config, draw_figure, format_table, run_cell
from studies.study import STUDIES, Cell

STUDY = STUDIES["robustness"]()
WORLDS = ("rooms", "sprites", "incomplete")
EQUAL = tuple(arm for arm in STUDY.arms if not arm.endswith("third"))
UNIT = 64


def cell(arm: str, world: str = "rooms", seed: int = 1) -> Cell:
    (match,) = [candidate for candidate in STUDY.cells([arm], [seed]) if candidate.arm == f"{world}/{arm}"]
    return match


def small(arm: str, units: int) -> Cell:
    """Return an arm's cell on 144 images, with a budget of so many units of 64 passes and few generations."""
    whole = cell(arm)
    config: Json = {**whole.description["config"]}
    grid = {"floor_hue": [0, 3], "wall_hue": [4, 7], "object_hue": [8], "scale": 3, "shape": 3, "orientation": 4}
    config["data"] = {"name": "rooms", "options": {"size": 16, "grid": grid}}
    shrink = 12_288 // UNIT
    config["budget"] = units * UNIT
    config["population"] = {**config["population"], "max_generations": 1}
    for section, key in (
        ("population", "image_passes_per_generation"),
        ("rounds", "leaf_image_passes_per_generation"),
        ("final", "image_passes_per_generation"),
    ):
        if key in config.get(section, {}):
            config[section] = {**config[section], key: max(config[section][key] // shrink, 16)}
    for section in ("objective", "final"):
        if section in config:
            config[section] = _with_batch(config[section], 16)
    if "final" in config:
        config["final"]["generations"] = 2
        cut = {"information_threshold": 1e-6, "segmentation": {"name": "quantile", "quantiles": 2}}
        config["rounds"] = {**config["rounds"], **cut}
    return replace(whole, description={"revision": 0, "config": config})


def _with_batch(section: Json, batch: int) -> Json:
    if "objective" in section:
        return {**section, "objective": {**section["objective"], "batch_size": batch}}
    return {**section, "batch_size": batch, "latents": 2} if "batch_size" in section else section


def test_cells_compare_all_arms_of_a_world_before_the_next_one() -> None:
    cells = STUDY.cells(STUDY.arms, STUDY.seeds[:2])
    assert [one.arm for one in cells[: len(STUDY.arms)]] == [f"rooms/{arm}" for arm in STUDY.arms]
    assert [(one.seed, one.arm.split("/")[0]) for one in cells[:: len(STUDY.arms)]] == [
        (seed, world) for seed in STUDY.seeds[:2] for world in WORLDS
    ]
    assert len({(one.arm, one.seed, one.digest) for one in cells}) == len(cells)


@pytest.mark.parametrize("arm", STUDY.arms)
def test_every_arm_is_a_config_with_the_same_budget(arm: str) -> None:
    for world in WORLDS:
        config = cell_config(cell(arm, world))
        assert config.spend_budget
        assert config.budget == 1_179_648 // (1 if arm in EQUAL else 3)
        assert config.budget <= 1_200_000


def test_random_search_differs_from_pbt_in_its_method_alone() -> None:
    random, selected = (cell_config(cell(arm)).dump() for arm in ("random-search", "pbt-u-vae"))
    assert {key for key in random if random[key] != selected[key]} == {"method"}


def test_the_incomplete_world_misses_thirty_percent_and_has_two_correlated_factors() -> None:
    import numpy as np

    from pbt_disent import data

    section = cell_config(cell("fixed", "incomplete")).data
    world = data.load(section.name, **section.options)
    factors = world.factors(np.arange(len(world)))
    assert factors is not None
    assert 1 - len(np.unique(factors, axis=0)) / (4 * 4 * 6 * 3 * 8) == pytest.approx(0.3, abs=0.02)
    assert np.corrcoef(factors[:, 0], factors[:, 1])[0, 1] == pytest.approx(0.2, abs=0.02)


@pytest.mark.slow
def test_all_arms_pay_the_same_passes_from_one_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    step = ReplicaGroup.step

    def counting(self: ReplicaGroup, batch: Batch, number: int) -> None:
        nonlocal counted
        before = self.image_passes
        step(self, batch, number)
        counted += self.image_passes - before

    monkeypatch.setattr(ReplicaGroup, "step", counting)
    paid = {}
    for arm in EQUAL:
        counted = 0
        prepared = api.prepare(create_run(cell_config(small(arm, 48)), arm, tmp_path, None))
        result = api.execute(prepared, Observers([]), api.InProcess()).result
        assert result.image_passes == counted, arm
        if arm.startswith("rpu"):
            assert result.last.path == "final"
            assert all(len(leaf.levels) == 2 for leaf in result.leaf_runs)
        paid[arm] = counted
    step = 16 * 24  # of every model in every final generation: subsets of this size are no multiple of the batch
    assert all(48 * UNIT - step < paid.pop(arm) <= 48 * UNIT for arm in ("rpu-vae", "rpu-vae-plus"))
    assert set(paid.values()) == {48 * UNIT}


@pytest.mark.slow
def test_a_cell_gives_every_figure_and_is_repeated_by_its_seed() -> None:
    one = small("pbt-vae", 12)
    result = run_cell(one)
    assert result == run_cell(one) != run_cell(replace(one, seed=2))
    assert result["passes"] == 12 * UNIT
    assert set(result["gaps"]) == {"floor_hue", "wall_hue", "scale", "shape", "orientation"}
    assert result["mig"] == pytest.approx(sum(result["gaps"].values()) / 5)
    assert result["learned"] == sum(gap >= 0.4 for gap in result["gaps"].values())


def figures(mig: float) -> Json:
    return {"mig": mig, "dci": mig / 2, "learned": round(5 * mig), "passes": 1000}


def test_the_table_gives_median_quartiles_and_worst_seed() -> None:
    results = {Cell("w/a", seed, {}): figures(mig) for seed, mig in enumerate((0.5, 0.1, 0.3, 0.4, 0.2))}
    lines = format_table(["w", "empty"], ["a", "b"], results).splitlines()
    assert lines[-1] == "| w | a | 5 | 0.30 (0.20–0.40) | 0.10 | 0.15 (0.10–0.20) | 0.05 | 2.0 (1.0–2.0) | 0 | 1,000 |"
    assert len(lines) == 5
    figure = draw_figure(["w", "empty"], ["a", "b"], results)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["w", "empty"]
    (dots,) = figure.axes[0].collections
    assert sorted(dots.get_offsets()[:, 0].tolist()) == [0.1, 0.2, 0.3, 0.4, 0.5]  # type: ignore[union-attr]


def test_the_command_writes_the_figure_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = cell("fixed")
    row = {"arm": one.arm, "seed": one.seed, "digest": one.digest, "result": figures(0.5)}
    AppendOnlyLog(tmp_path / "robustness.jsonl").append([row])
    assert main(["robustness", "--table", "--folder", str(tmp_path)]) == 0
    assert "| rooms | fixed | 1 | 0.50 (0.50–0.50) | 0.50 |" in capsys.readouterr().out
    assert (tmp_path / "robustness.png").read_bytes()[:4] == b"\x89PNG"


def test_hypotheses_compare_the_seeds_that_both_arms_have() -> None:
    hypotheses = [
        Hypothesis(arm="a", against="b", figure="mig", of="worst", text="worst"),
        Hypothesis(arm="a", against="b", figure="learned", more=True, text="more"),
        Hypothesis(arm="a", against="c", figure="mig", text="nothing to compare"),
    ]
    scores = {"a": (0.5, 0.3, 0.9), "b": (0.4, 0.1)}
    results = {Cell(f"w/{arm}", seed, {}): figures(mig) for arm, row in scores.items() for seed, mig in enumerate(row)}
    lines = format_table(["w"], ["a", "b"], results, hypotheses).splitlines()
    assert lines[-2:] == [
        "| worst | w | 2 | worst mig | 0.30 | 0.25 | yes |",
        "| more | w | 2 | median learned | 2.00 | 1.00 | yes |",
    ]
