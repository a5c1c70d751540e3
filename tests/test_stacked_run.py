"""A run whose replicas are stacked: one task per member, the same record, and the choice kept for the next start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.population.engine import run_population
from pbt_disent.store.runs import create_run
from tests.population.fakes import FakeExecutor, Watch, journal, spec

pytestmark = pytest.mark.slow

TINY = [
    "method=pbt-u-vae",
    "data.options={size: 32, grid: {shape: 2, scale: 2, orientation: 2, x: 4, y: 4}}",
    "population={size: 3, replicas: 2, max_generations: 2, image_passes_per_generation: 128, exploit: {cutoff: 0.34}}",
    "objective={name: betatcvae, latents: 3, batch_size: 32, network: {width: 4}}",
    "population.fitness.points=60",
]


@pytest.mark.parametrize("stacked", [True, False])
def test_a_stacked_task_is_a_whole_member(tmp_path: Path, stacked: bool) -> None:
    book, blobs, lease = journal(tmp_path)
    executor = FakeExecutor(blobs)
    round_spec = replace(spec(size=4, generations=1), together=stacked)
    assert round_spec.identity == spec(size=4, generations=1).identity
    run_population(round_spec, executor, book, Watch())
    lease.release()
    groups = [(0, 1)] if stacked else [(0,), (1,)]
    assert [(task.key.member, task.key.replicas) for task in executor.tasks] == [
        (member, group) for member in range(4) for group in groups
    ]
    assert all(len(task.origins) == len(task.key.replicas) for task in executor.tasks)


def test_a_stacked_run_keeps_to_its_choice(tmp_path: Path) -> None:
    folder = create_run(load_config(None, [*TINY, "resources.replicas=stacked"]), "stacked", tmp_path, None)
    prepared = api.prepare(folder)
    assert prepared.context.stacked
    outcome = api.execute(prepared, Watch(), api.InProcess())
    best = outcome.result.last.best
    assert best is not None
    assert len(best.replicas) == 2
    assert outcome.model is not None
    api.extend(folder, ["resources.replicas=auto"])
    assert folder.description()["replicas"] == "stacked"
    assert api.prepare(folder).stacked
    api.extend(folder, ["resources.replicas=looped"])
    assert not api.prepare(folder).stacked
