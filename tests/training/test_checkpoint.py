"""Checkpoints: equal state is equal bytes, and a restored member takes the very step it would have taken."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pbt_disent.errors import UserError
from pbt_disent.models import OBJECTIVES, Objective, build
from pbt_disent.models.contract import Batch, LossTerms, ObjectiveOptions
from pbt_disent.models.latent_model import pack, unpack
from pbt_disent.training.checkpoint import Optimizers, dump, restore
from pbt_disent.training.loop import TermMeans, step_once
from pbt_disent.training.tasks import TrainTask
from tests.training.bench import SHAPE, make_bench

Member = tuple[Objective, Optimizers]


def member(options: ObjectiveOptions, task: TrainTask, seed: int | None) -> Member:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    objective = build(options, task.hyperparameters, SHAPE, 200, generator=generator).train()
    return objective, objective.optimizers()


def advance(one: Member, images: torch.Tensor, first: int, steps: int) -> None:
    for step in range(first, first + steps):
        noise = torch.Generator().manual_seed(step)
        step_once(*one, _everything(images[step % 5 :: 5]), step, noise)


def _everything(images: torch.Tensor) -> Batch:
    labels = torch.arange(len(images)).remainder(6).unsqueeze(1)
    return Batch(images, labels, labels > 2, images.roll(1, 0))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_restoring_changes_nothing(tmp_path: Path, name: str) -> None:
    """Two steps, a checkpoint, two more: bit for bit the same as four steps, in parameters, buffers and state."""
    bench = make_bench(tmp_path, name)
    images = torch.from_numpy(bench.images).float() / 255
    options = bench.task.objective
    through = member(options, bench.task, seed=1)
    advance(through, images, 0, 2)
    middle = dump(*through, step=2)
    advance(through, images, 2, 2)
    resumed = member(options, bench.task, seed=None)
    assert restore(middle, *resumed) == 2
    assert dump(*resumed, step=2) == middle
    advance(resumed, images, 2, 2)
    assert dump(*resumed, step=4) == dump(*through, step=4) != middle


def test_a_child_keeps_the_state_and_takes_its_own_learning_rate(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "betatcvae")
    images = torch.from_numpy(bench.images).float() / 255
    parent = member(bench.task.objective, bench.task, seed=1)
    advance(parent, images, 0, 2)
    content = dump(*parent, step=2)
    task = replace(bench.task, hyperparameters=bench.task.hyperparameters | {"lr": 1e-5, "beta": 50.0})
    child = member(bench.task.objective, task, seed=None)
    restore(content, *child)
    assert child[1]["model"].param_groups[0]["lr"] == 1e-5
    mine, theirs = unpack(dump(*child, step=2))[0], unpack(content)[0]
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    moments = [key for key in theirs if key.startswith("optimizer/model/exp_avg_sq/")]
    assert len(moments) == len(list(parent[0].parameters()))
    for part, theirs_part in zip(child[0].parameters(), parent[0].parameters(), strict=True):
        assert part.data_ptr() != theirs_part.data_ptr()


def test_bytes_do_not_depend_on_the_process() -> None:
    header = {"y": 1, "x": [2.5, None], "z": {"k": "s"}}
    script = (
        "import sys, torch; from pbt_disent.models.latent_model import pack; "
        f"sys.stdout.buffer.write(pack({{n: torch.arange(4.0) for n in 'bac'}}, {header!r}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert run.stdout == pack({name: torch.arange(4.0) for name in "cab"}, header)


def test_layout_and_order_do_not_change_the_bytes() -> None:
    tensor = torch.arange(48.0).reshape(2, 4, 2, 3)
    one = pack({"a": tensor, "b": tensor[0].clone()}, {"x": 1, "y": 2})
    two = pack({"b": tensor[0].clone(), "a": tensor.contiguous(memory_format=torch.channels_last)}, {"y": 2, "x": 1})
    assert one == two
    tensors, header = unpack(one)
    assert torch.equal(tensors["a"], tensor)
    assert header == {"x": 1, "y": 2}


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"not a checkpoint at all"])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(UserError, match="must be a model of this package"):
        unpack(content)


def test_a_foreign_file_is_refused() -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    with pytest.raises(UserError, match="must be a model of this package"):
        unpack(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize("change", [{"latents": 5}, {"estimator": "mss"}])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    bench = make_bench(tmp_path, "betatcvae")
    content = dump(*member(bench.task.objective, bench.task, seed=1), step=0)
    other = member(bench.task.objective.model_copy(update=change), bench.task, seed=2)
    with pytest.raises(UserError, match="checkpoint with settings"):
        restore(content, *other)


def test_means_of_terms() -> None:
    means = TermMeans()
    assert means.rows(0) == []
    for value in (1.0, 2.0, 6.0):
        part = torch.tensor(value)
        means.add({"model": LossTerms(part, {"kl": part * 2}), "critic": LossTerms(-part, {})})
    assert means.rows(3) == [{"loss": 3.0, "kl": 6.0, "critic_loss": -3.0}]


def test_means_of_terms_of_stacked_replicas() -> None:
    means = TermMeans()
    for value in (1.0, 3.0):
        part = torch.tensor([value, np.inf, -value])
        means.add({"model": LossTerms(part, {"kl": part * 2})})
    assert means.rows(2) == [{"loss": 2.0, "kl": 4.0}, {"loss": np.inf, "kl": np.inf}, {"loss": -2.0, "kl": -4.0}]
