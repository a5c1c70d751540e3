from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pbt_disent.config import validate
from pbt_disent.data.storage import materialise
from pbt_disent.data.worlds.sprites import Sprites
from pbt_disent.metrics import udr
from pbt_disent.models import LatentModel, Objective, build
from pbt_disent.population.manifest import Manifest
from pbt_disent.report.agreement import agreements_of
from pbt_disent.report.export import write_figures
from pbt_disent.report.page import write_report
from pbt_disent.report.run_view import read_run, winner
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.training.checkpoint import dump
from tests.objectives import options_of

SHAPE = (1, 32, 32)


def small_objective(seed: int) -> Objective:
    chosen = options_of("betatcvae", SHAPE, latents=3, network={"width": 4})
    return build(chosen, chosen.defaults, SHAPE, 96, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def run(fresh_run: RunFolder, commit: Callable[..., list[Manifest]]) -> RunFolder:
    """A run whose winner's three models, and whose images, are there."""
    data = Sprites(size=32, grid={"shape": 3, "scale": 2, "orientation": 1, "x": 4, "y": 4})
    described = {"name": "sprites", "fingerprint": data.fingerprint, "shape": list(SHAPE), "num_images": len(data)}
    fresh_run.describe(data=described)
    fresh_run.write_config(validate({}))
    materialise(data, fresh_run.path.parent / ".images" / data.fingerprint[:16])
    manifests = commit(
        fresh_run.path, "0", options={"information_threshold": 0.0}, members=3, generations=2, replicas=3
    )
    best = winner(manifests)
    assert best is not None
    blobs = BlobStore(fresh_run.blobs)
    objectives = [small_objective(seed) for seed in range(3)]
    digests = tuple(blobs.put(dump(one, one.optimizers(), 1)) for one in objectives)
    chosen = manifests[best.generation]
    members = list(chosen.members)
    members[best.member] = members[best.member].model_copy(update={"checkpoints": digests})
    file = fresh_run.path / "rounds" / "0" / f"generation-{best.generation:04d}.json"
    file.write_bytes(chosen.model_copy(update={"members": tuple(members)}).to_bytes())
    return fresh_run


def test_the_matrices_are_those_of_the_winners_models(run: RunFolder) -> None:
    ((path, seen),) = agreements_of(read_run(run.path))
    data = Sprites(size=32, grid={"shape": 3, "scale": 2, "orientation": 1, "x": 4, "y": 4})
    models = [LatentModel(small_objective(seed)) for seed in range(3)]
    encoded = [model.posterior(data.images(np.arange(96))) for model in models]
    expected = udr([one.codes for one in encoded], [one.information for one in encoded], threshold=0.0)
    assert (path, seen.num_points) == ("0", 96)
    assert seen.best_model == int(np.argmax(expected.model_scores))
    np.testing.assert_allclose(seen.pairwise, (expected.pairwise + expected.pairwise.T) / 2, atol=1e-6)
    np.testing.assert_allclose(seen.correlations, expected.correlations[seen.best_model], atol=1e-6)


def test_they_stand_in_the_page_and_among_the_figures(run: RunFolder) -> None:
    ((_, seen),) = agreements_of(read_run(run.path))
    text = write_report(run.path).read_text(encoding="utf-8")
    others = [other for other in range(3) if other != seen.best_model]
    for other in others:
        assert f"model {seen.best_model} (rows) and {other}: {seen.pairwise[seen.best_model, other]:.2f}" in text
    written = {path.name for path in write_figures(run.path, run.path / "figures")}
    assert {f"0-agreement-{other}.svg" for other in others} <= written


@pytest.mark.parametrize("gone", ["blobs", "images"])
def test_without_models_or_images_there_are_none(run: RunFolder, gone: str) -> None:
    folder = run.path / "blobs" if gone == "blobs" else run.path.parent / ".images"
    folder.rename(folder.with_name("elsewhere"))
    assert agreements_of(read_run(run.path)) == []
    assert "How far models agree" not in write_report(run.path).read_text(encoding="utf-8")
