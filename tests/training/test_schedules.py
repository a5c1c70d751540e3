"""Learning rates over a member's life: the factors, and what the optimisers of a group make of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pbt_disent.models import build
from pbt_disent.models.contract import Batch
from pbt_disent.training.checkpoint import dump
from pbt_disent.training.loop import Replica, ReplicaGroup
from pbt_disent.training.member import Trainer
from pbt_disent.training.schedules import SCHEDULES, Constant, Cosine
from tests.objectives import options_of
from tests.training.bench import SHAPE, Bench, make_bench

COSINE = {"name": "cosine", "steps": 20, "warmup_steps": 4, "final": 0.1}


def test_a_cosine_rises_linearly_falls_as_half_a_cosine_and_stays() -> None:
    schedule = Cosine(steps=110, warmup_steps=10, final=0.2)
    assert [schedule.factor(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule.factor(10) == 1.0
    for step in (35, 60, 85):
        expected = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 100))
        assert schedule.factor(step) == pytest.approx(expected)
    assert [schedule.factor(step) for step in (110, 111, 10**6)] == pytest.approx([0.2] * 3)


def test_without_warm_up_it_begins_at_one_and_ends_at_zero() -> None:
    schedule = Cosine(steps=8)
    factors = [schedule.factor(step) for step in range(9)]
    assert factors[0] == 1.0
    assert factors[8] == pytest.approx(0.0)
    assert factors == sorted(factors, reverse=True)


def test_a_warm_up_longer_than_the_schedule_ends_where_the_schedule_ends() -> None:
    schedule = Cosine(steps=3, warmup_steps=5, final=0.5)
    assert [schedule.factor(step) for step in (4, 6)] == pytest.approx([1.0, 0.5])


def test_constant_is_one_for_ever() -> None:
    assert {Constant().factor(step) for step in (0, 1, 10**9)} == {1.0}
    assert {name for name in SCHEDULES if SCHEDULES[name].is_constant} == {"constant"}


def group_of(
    bench: Bench, *, stacked: bool = False, objective: str = "betatcvae", schedule: object = None
) -> ReplicaGroup:
    """Return two replicas on the CPU whose learning rates follow a schedule, in float64: Adam magnifies rounding."""
    options = options_of(objective, SHAPE, latents=3, batch_size=32, lr_schedule=schedule or COSINE)
    replicas = []
    for seed in (1, 2):
        model = build(options, options.defaults, SHAPE, 200, generator=torch.Generator().manual_seed(seed))
        model.double().train()
        replicas.append(Replica(model, model.optimizers(), torch.Generator().manual_seed(seed)))
    return ReplicaGroup(replicas, replace(bench.context, stacked=stacked))


def rates(group: ReplicaGroup) -> list[float]:
    return [float(part["lr"]) for optimizer in group.optimizers for part in optimizer.param_groups]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", ["betatcvae", "factorvae", "strkm"])
def test_every_optimiser_follows_the_schedule_from_its_own_rate(bench: Bench, name: str, stacked: bool) -> None:
    group = group_of(bench, objective=name, stacked=stacked)
    first = rates(group)
    for step in (0, 3, 4, 12, 20, 500, 2):
        group.set_learning_rates(step)
        factor = Cosine(steps=20, warmup_steps=4, final=0.1).factor(step)
        assert rates(group) == pytest.approx([rate * factor for rate in first]), step


def test_a_constant_schedule_sets_nothing(bench: Bench) -> None:
    group = group_of(bench, schedule="constant")
    first = rates(group)
    group.optimizers[0].param_groups[0]["lr"] = 7.0
    group.set_learning_rates(3)
    assert rates(group) == [7.0, *first[1:]]


@pytest.mark.parametrize("name", ["betatcvae", "factorvae"])
def test_a_rate_that_is_a_tensor_gives_the_same_parameters(bench: Bench, name: str) -> None:
    """So it is where a GPU replays a recorded step: the tensor is what the recording reads."""
    images = torch.from_numpy(bench.images[:32]).double() / 255
    plain, recorded = group_of(bench, objective=name), group_of(bench, objective=name)
    tensors = []
    for optimizer in recorded.optimizers:
        for part in optimizer.param_groups:
            part["lr"] = torch.tensor(part["lr"])
            tensors.append(part["lr"])
    for group in (plain, recorded):
        with group.training():
            for step in range(6):
                group.step(Batch(images), step)
    now = [part["lr"] for optimizer in recorded.optimizers for part in optimizer.param_groups]
    assert all(a is b for a, b in zip(now, tensors, strict=True)), "filled in place"
    assert rates(recorded) == pytest.approx(rates(plain))
    for one, other in zip(plain._replicas, recorded._replicas, strict=True):
        for mine, theirs in zip(one.objective.parameters(), other.objective.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_a_member_goes_on_in_its_schedule_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are those of the member's life, across generations; another schedule gives other weights."""
    bench = make_bench(tmp_path, "betatcvae", lr_schedule=COSINE)
    steps: list[int] = []
    factor = Cosine.factor

    def watched(self: Cosine, step: int) -> float:
        steps.append(step)
        return factor(self, step)

    monkeypatch.setattr(Cosine, "factor", watched)
    trainer = Trainer(bench.context)
    first = trainer.train(bench.task)
    second = trainer.train(bench.after(first.checkpoints))
    assert second.status == "ok"
    assert steps == list(range(10))
    constant = replace(bench.task, objective=options_of("betatcvae", SHAPE, latents=3, batch_size=32))
    assert trainer.train(constant).checkpoints != first.checkpoints


def test_checkpoints_keep_no_learning_rate(bench: Bench) -> None:
    """A copy takes its own: neither the rate nor the factor of the last step is in the bytes."""
    group = group_of(bench)
    replica = group._replicas[0]
    before = dump(replica.objective, replica.optimizers, 0)
    group.set_learning_rates(12)
    assert dump(replica.objective, replica.optimizers, 0) == before
