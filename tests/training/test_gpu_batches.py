"""Batches gathered from images that lie on a device are those gathered on the host; the device here is the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pbt_disent.models.contract import OBJECTIVES
from pbt_disent.training.gpu import DeviceImages
from pbt_disent.training.supervision import Supervision
from tests.training.bench import Bench, make_bench

LABELS = np.arange(400).reshape(200, 2) - 1
PARTNERS = np.stack([(np.arange(200) + shift) % 200 for shift in (1, 2, 7)], axis=1)


def same(first: Tensor | None, second: Tensor | None) -> bool:
    return (first is None) == (second is None) and (first is None or second is None or torch.equal(first, second))


@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("partners", [None, PARTNERS])
def test_the_batches_of_the_host_in_the_same_order(
    bench: Bench, labels: np.ndarray | None, partners: np.ndarray | None
) -> None:
    supervision = Supervision(labels, partners)
    order = [np.random.default_rng(step).permutation(200)[:32] for step in range(4)]
    batches = DeviceImages(torch.from_numpy(bench.images)).batches(supervision, order, np.random.default_rng(3))
    pairing = np.random.default_rng(3)
    for step, indices in enumerate(order):
        gathered = batches.batch(torch.tensor([step]))
        expected = supervision.batch(bench.images, indices, "cpu", pairing)
        assert torch.equal(gathered.images, expected.images)
        assert same(gathered.labels, expected.labels)
        assert same(gathered.label_mask, expected.label_mask)
        assert same(gathered.partner, expected.partner)
        assert gathered.num_images == expected.num_images == batches.num_images


CAPTURABLE: list[tuple[str, dict[str, object], Callable[[int], bool]]] = [
    ("betatcvae", {}, lambda step: True),
    ("annealed", {"annealing_steps": 100}, lambda step: step >= 100),
    ("provlae", {"stage_steps": 100, "fade_in": 20}, lambda step: step >= 220),
    ("provlae", {"progressive": False}, lambda step: True),
    ("provlae", {"growth": "plateau"}, lambda step: False),
    ("ssdgm", {}, lambda step: False),
    ("strkm", {}, lambda step: False),
]


@pytest.mark.parametrize(("name", "settings", "expected"), CAPTURABLE)
def test_a_step_is_captured_only_where_all_later_ones_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, settings: dict[str, object], expected: Callable[[int], bool]
) -> None:
    bench = make_bench(tmp_path_factory.mktemp(name), name, **settings)
    options, values = bench.task.objective, bench.task.hyperparameters
    objective = OBJECTIVES[name](options, values, (1, 32, 32), 200)
    for step in (0, 99, 100, 199, 219, 220, 10**6):
        assert objective.is_capturable(step) == expected(step), step
