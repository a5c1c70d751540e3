"""Training on a GPU: captured steps, images in its memory, stacks and checkpoints give what plain steps give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.training import gpu
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import TrainOutcome
from tests.conftest import missing
from tests.training.bench import Bench, make_bench

pytestmark = pytest.mark.gpu

SETTINGS: dict[str, dict[str, Any]] = {
    "annealed": {"annealing_steps": 10},
    "factorvae": {"discriminator_width": 50},
    "provlae": {"stage_steps": 10, "fade_in": 5},
}
IMAGE_PASSES = 32 * 60
LOW = 1e-5
"""A learning rate at which Adam does not magnify rounding."""


@pytest.fixture(autouse=True)
def require_gpu() -> None:
    if not torch.cuda.is_available():
        missing("gpu", "no GPU")


def on_gpu(folder: Path, objective: str, **settings: Any) -> Bench:
    """Return a bench on the GPU: two replicas, 60 steps of 32 images."""
    bench = make_bench(folder, objective, **{"lr": LOW, **SETTINGS.get(objective, {}), **settings})
    task = replace(bench.task, image_passes=IMAGE_PASSES)
    return replace(bench, context=replace(bench.context, device="cuda"), task=task)


def assert_same(bench: Bench, outcome: TrainOutcome, reference: TrainOutcome, tolerance: float = 1e-3) -> None:
    assert outcome.status == reference.status == "ok", outcome.error or reference.error
    assert outcome.image_passes == reference.image_passes > 0
    for terms, expected in zip(outcome.losses, reference.losses, strict=True):
        assert terms == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert outcome.codes is not None
    assert reference.codes is not None
    codes = bench.blobs.get_array(reference.codes)
    np.testing.assert_allclose(bench.blobs.get_array(outcome.codes), codes, atol=10 * tolerance * codes.std())


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_captured_steps_are_the_same_steps(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = on_gpu(tmp_path, name)
    captures: list[int] = []
    capture = gpu._GraphedSteps._capture
    monkeypatch.setattr(
        gpu._GraphedSteps, "_capture", lambda self, step: (captures.append(step), capture(self, step))[1]
    )
    captured = Trainer(bench.context).train(bench.task)
    assert len(captures) == (name not in ("ssdgm", "strkm")), "one capture for both replicas, where there can be one"
    monkeypatch.setattr(gpu, "MIN_STEPS", IMAGE_PASSES)
    plain = Trainer(bench.context).train(bench.task)
    assert len(captures) <= 1, "the second time nothing is captured"
    assert_same(bench, captured, plain)


@pytest.mark.parametrize("name", ["betatcvae", "factorvae", "adagvae", "strkm"])
def test_a_stack_is_captured_too(tmp_path: Path, name: str) -> None:
    bench = on_gpu(tmp_path, name)
    stacked = Trainer(replace(bench.context, stacked=True)).train(bench.task)
    assert_same(bench, stacked, Trainer(bench.context).train(bench.task), tolerance=5e-3)


@pytest.mark.parametrize("name", ["betatcvae", "adagvae", "ssdgm"])
def test_images_on_the_gpu_are_those_on_the_host(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = on_gpu(tmp_path, name)
    outcome = Trainer(bench.context).train(bench.task)
    monkeypatch.setattr(gpu, "MAX_MEMORY_SHARE", 0)
    assert gpu.DeviceImages.load(bench.images, "cuda") is None
    assert_same(bench, outcome, Trainer(bench.context).train(bench.task))


@pytest.mark.parametrize("stacked", [False, True])
def test_a_generation_goes_on_from_the_other_kind_of_machine(tmp_path: Path, stacked: bool) -> None:
    bench = on_gpu(tmp_path, "betatcvae")
    on_gpu_trainer = Trainer(replace(bench.context, stacked=stacked))
    on_cpu_trainer = Trainer(replace(bench.context, device="cpu"))
    pairs = ((on_gpu_trainer, on_cpu_trainer), (on_cpu_trainer, on_gpu_trainer), (on_gpu_trainer, on_gpu_trainer))
    for trainer, following in pairs:
        first = trainer.train(bench.task)
        second = following.train(bench.after(first.checkpoints))
        assert second.status == "ok"
        assert second.losses[0]["loss"] < first.losses[0]["loss"]


def test_the_same_task_twice(tmp_path: Path) -> None:
    bench = on_gpu(tmp_path, "betatcvae")
    assert_same(bench, *(Trainer(bench.context).train(bench.task) for _ in range(2)))


@pytest.mark.parametrize("stacked", [False, True])
def test_bf16_is_captured_too(tmp_path: Path, stacked: bool) -> None:
    bench = on_gpu(tmp_path, "betatcvae")
    rough = Trainer(replace(bench.context, stacked=stacked, bf16=True)).train(bench.task)
    exact = Trainer(bench.context).train(bench.task)
    assert rough.status == "ok"
    assert rough.losses[0]["loss"] == pytest.approx(exact.losses[0]["loss"], rel=0.02)


def test_a_replica_that_diverges_is_named(tmp_path: Path) -> None:
    bench = on_gpu(tmp_path, "vae", lr=1e-2)
    wild = replace(bench.task, hyperparameters={**bench.task.hyperparameters, "lr": 1e30}, image_passes=32 * 300)
    outcome = Trainer(bench.context).train(wild)
    assert outcome.status == "nan"
    assert outcome.error is not None
    assert "after 100 steps" in outcome.error
