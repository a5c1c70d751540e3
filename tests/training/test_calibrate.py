"""How replicas train: what the config says, or what is measured, and never a stack of what cannot be stacked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pbt_disent.config import ResourcesConfig, load_config
from pbt_disent.errors import UserError
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.training import calibrate
from pbt_disent.training.tasks import SupervisionDigests, WorkerContext
from tests.objectives import options_of
from tests.training.bench import make_bench

GROWING = {"growth": "plateau", "progressive": True}
STACKED = ResourcesConfig(replicas="stacked")


@pytest.mark.parametrize(("speed", "stacked"), [(2.0, True), (0.5, False)])
def test_auto_takes_the_faster_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: float, stacked: bool
) -> None:
    bench = make_bench(tmp_path, "betatcvae")
    objectives = (bench.task.objective,)

    def measure(
        context: WorkerContext,
        objective: ObjectiveOptions,
        num_images: int,
        seconds: float,
        *,
        replicas: int,
        supervision: SupervisionDigests,
    ) -> calibrate.Calibration:
        assert objective == bench.task.objective
        assert num_images == 200
        assert context.store != bench.context.store
        assert replicas == 5
        return calibrate.Calibration(100 * (speed if context.stacked else 1), 0)

    monkeypatch.setattr(calibrate, "calibrate", measure)
    gpu = replace(bench.context, device="cuda")
    choose = calibrate.choose_stacked
    assert choose(ResourcesConfig(), gpu, objectives, 200, 5) is stacked
    assert not choose(ResourcesConfig(), bench.context, objectives, 200, 5)
    assert not choose(ResourcesConfig(compile=True), gpu, objectives, 200, 5)
    assert not choose(ResourcesConfig(replicas="looped"), gpu, objectives, 200, 5)
    assert choose(STACKED, bench.context, objectives, 200, 5)


def test_a_ladder_that_grows_by_its_loss_is_not_stacked(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "provlae", **GROWING)
    objectives, gpu = (bench.task.objective,), replace(bench.context, device="cuda")
    assert not calibrate.choose_stacked(ResourcesConfig(), gpu, objectives, 200, 5)
    for mixed in (objectives, (options_of("vae"), *objectives)):
        with pytest.raises(UserError, match=r"replicas=stacked: is not for objective\.growth=plateau"):
            calibrate.choose_stacked(STACKED, gpu, mixed, 200, 5)


def test_a_stack_is_measured_too(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "betatcvae")
    stacked = replace(bench.context, stacked=True)
    measured = calibrate.calibrate(stacked, bench.task.objective, 200, seconds=0.0, replicas=2)
    assert measured.images_per_second > 0
    assert measured.checkpoint_bytes > 1000


def test_a_stack_is_not_compiled() -> None:
    with pytest.raises(UserError, match=r"resources\.compile=true needs resources\.replicas=looped"):
        load_config(overrides=["resources.compile=true", "resources.replicas=stacked"])
