"""Training a member: reproducible, resumable bit for bit, and calm about what is not finite."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pbt_disent.models import LatentModel
from pbt_disent.models.contract import Batch, LossTerms, Representation
from pbt_disent.models.encoding import encode
from pbt_disent.models.gaussian_vae import GaussianVAE
from pbt_disent.models.latent_model import pack, unpack
from pbt_disent.store.blobs import CorruptBlob
from pbt_disent.training.member import Trainer
from tests.training.bench import Bench, make_bench

ANOTHER_PROCESS = """
import pickle, sys
from pbt_disent.training.member import Trainer
context, task = pickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(pickle.dumps(Trainer(context).train(task)))
"""


def test_an_outcome_is_complete(bench: Bench) -> None:
    outcome = Trainer(bench.context).train(bench.task)
    assert outcome.status == "ok"
    assert outcome.key == bench.task.key
    assert outcome.image_passes == 2 * math.ceil(150 / 32) * 32
    assert outcome.codes is not None
    codes = bench.blobs.get_array(outcome.codes)
    assert codes.shape == (2, 50, 3)
    assert codes.dtype == np.float32
    assert np.asarray(outcome.information).shape == (2, 3)
    names = {"loss", "reconstruction", "mutual_information", "total_correlation", "dimension_kl", "elbo"}
    assert [set(terms) for terms in outcome.losses] == [names, names]


def test_codes_and_information_are_those_of_the_checkpoint(bench: Bench) -> None:
    outcome = Trainer(bench.context).train(bench.task)
    assert outcome.codes is not None
    probe = bench.blobs.get_array(bench.task.probe)
    for replica, digest in enumerate(outcome.checkpoints):
        model = LatentModel.from_checkpoint(bench.blobs.get(digest))
        seen = model.posterior(bench.images[probe])
        np.testing.assert_array_equal(seen.codes, bench.blobs.get_array(outcome.codes)[replica])
        np.testing.assert_array_equal(seen.information, outcome.information[replica])


@pytest.mark.slow
def test_the_same_task_in_another_process(bench: Bench) -> None:
    outcome = Trainer(bench.context).train(bench.task)
    message = pickle.dumps((bench.context, bench.task))
    run = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS], input=message, capture_output=True, check=True)
    assert pickle.loads(run.stdout) == outcome


def test_replicas_differ_and_do_not_depend_on_their_grouping(bench: Bench) -> None:
    trainer = Trainer(bench.context)
    together = trainer.train(bench.task)
    assert together.checkpoints[0] != together.checkpoints[1]
    alone = trainer.train(replace(bench.task, key=replace(bench.task.key, replicas=(1,)), origins=(None,)))
    assert alone.checkpoints == together.checkpoints[1:]


@pytest.mark.parametrize("change", [{"seed": 8}, {"member": 2}, {"round": "0/leaf1/1"}, {"generation": 3}])
def test_streams_are_named_by_seed_and_key(bench: Bench, change: dict[str, int | str]) -> None:
    task = bench.task
    other = replace(task, **change) if "seed" in change else replace(task, key=replace(task.key, **change))
    trainer = Trainer(bench.context)
    assert trainer.train(task).checkpoints != trainer.train(other).checkpoints


def test_replicas_see_the_same_batches_with_different_noise(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    noise: list[int] = []

    def record(self: GaussianVAE, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        seen.append(batch.images.clone())
        noise.append(generator.initial_seed())
        loss = sum(p.square().sum() for p in self.parameters())
        return {"model": LossTerms(loss, {})}

    monkeypatch.setattr("pbt_disent.models.gaussian_vae.GaussianVAE.losses", record)
    Trainer(bench.context).train(bench.task)
    assert len(seen) == 10
    assert all(torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))
    assert not torch.equal(seen[0], seen[2])
    assert len(set(noise)) == 2


def test_a_subset_is_all_that_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = np.array([3, 50, 51, 120, 121, 122, 123, 124, 125, 126, 199])
    allowed = {bench.images[index].tobytes() for index in subset}
    sizes = []
    original = GaussianVAE.losses

    def watch(self: GaussianVAE, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        assert {(image * 255).to(torch.uint8).numpy().tobytes() for image in batch.images} <= allowed
        assert self.dataset_size == len(subset)
        sizes.append(len(batch.images))
        return original(self, batch, step, generator)

    monkeypatch.setattr(GaussianVAE, "losses", watch)
    outcome = Trainer(bench.context).train(replace(bench.task, subset=bench.blobs.put_array(subset)))
    assert outcome.status == "ok"
    assert set(sizes) == {11}
    assert outcome.image_passes == 2 * math.ceil(150 / 11) * 11


def test_the_next_generation_goes_on_from_the_checkpoint(bench: Bench) -> None:
    trainer = Trainer(bench.context)
    first = trainer.train(bench.task)
    second = trainer.train(bench.after(first.checkpoints))
    assert second.losses[0]["loss"] < first.losses[0]["loss"]
    assert unpack(bench.blobs.get(second.checkpoints[0]))[1]["step"] == 10


def test_an_exploited_member_starts_as_its_parent(bench: Bench) -> None:
    """A clone with no step taken has its parent's blob; with other hyperparameters it moves another way."""
    trainer = Trainer(bench.context)
    parent = trainer.train(bench.task)
    same = trainer.train(bench.after(parent.checkpoints, image_passes=0))
    assert same.checkpoints == parent.checkpoints
    changed = bench.task.hyperparameters | {"beta": 12.0}
    one = trainer.train(bench.after(parent.checkpoints))
    two = trainer.train(bench.after(parent.checkpoints, hyperparameters=changed))
    assert one.checkpoints != two.checkpoints


def test_divergence_is_an_outcome_and_not_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    original = GaussianVAE.losses

    seeds = []

    def explode(self: GaussianVAE, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        terms = original(self, batch, step, generator)["model"]
        seeds.append(generator.initial_seed())
        bad = step == 3 and seeds[-1] != seeds[0]
        return {"model": LossTerms(terms.loss * (math.inf if bad else 1), terms.terms)}

    monkeypatch.setattr(GaussianVAE, "losses", explode)
    outcome = Trainer(bench.context).train(bench.task)
    assert outcome.status == "nan"
    assert outcome.error == "not finite after 5 steps: replica 1"
    assert outcome.checkpoints == ()
    assert outcome.codes is None
    assert outcome.image_passes == 2 * 160
    assert [math.isfinite(terms["loss"]) for terms in outcome.losses] == [True, False]


def test_a_diverged_replica_stops_early(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def explode(self: GaussianVAE, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        steps.append(step)
        return {"model": LossTerms(sum(p.sum() for p in self.parameters()) * math.nan, {})}

    monkeypatch.setattr(GaussianVAE, "losses", explode)
    outcome = Trainer(bench.context).train(replace(bench.task, image_passes=100_000))
    assert outcome.status == "nan"
    assert len(steps) <= 400
    assert outcome.image_passes == len(steps) * 32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["betatcvae", "factorvae", "strkm"])
def test_stacked_replicas_give_what_the_loop_gives(tmp_path: Path, name: str) -> None:
    """Two generations of each, the second from the other's checkpoints; at a high rate Adam magnifies rounding."""
    bench = make_bench(tmp_path, name, lr=1e-5)
    stacked, looped = (Trainer(replace(bench.context, stacked=stacked)) for stacked in (True, False))
    first = stacked.train(bench.task), looped.train(bench.task)
    second = looped.train(bench.after(first[0].checkpoints)), stacked.train(bench.after(first[1].checkpoints))
    for one, other in (first, second):
        assert one.status == other.status == "ok"
        assert one.image_passes == other.image_passes
        assert one.codes is not None
        assert other.codes is not None
        codes = bench.blobs.get_array(other.codes)
        np.testing.assert_allclose(bench.blobs.get_array(one.codes), codes, atol=1e-2 * codes.std())
        for terms, expected in zip(one.losses, other.losses, strict=True):
            assert terms == pytest.approx(expected, rel=1e-3, abs=1e-3)
        for mine, theirs in zip(one.checkpoints, other.checkpoints, strict=True):
            tensors, header = unpack(bench.blobs.get(mine))
            others, expected_header = unpack(bench.blobs.get(theirs))
            assert header == expected_header
            assert {k: (t.shape, t.dtype) for k, t in tensors.items()} == {
                k: (t.shape, t.dtype) for k, t in others.items()
            }


@pytest.mark.parametrize("stacked", [False, True])
def test_a_stack_says_which_replica_diverged(bench: Bench, stacked: bool) -> None:
    """One of two replicas starts from a broken checkpoint; the outcome names it, in either way of training."""
    trainer = Trainer(replace(bench.context, stacked=stacked))
    first = trainer.train(bench.task)
    tensors, header = unpack(bench.blobs.get(first.checkpoints[1]))
    broken = {name: t * math.nan if name.startswith("model/decoder") else t for name, t in tensors.items()}
    checkpoints = (first.checkpoints[0], bench.blobs.put(pack(broken, header)))
    outcome = trainer.train(bench.after(checkpoints))
    assert outcome.status == "nan"
    assert outcome.error == "not finite after 5 steps: replica 1"
    assert [math.isfinite(terms["loss"]) for terms in outcome.losses] == [True, False]


@pytest.mark.parametrize("stacked", [False, True])
def test_bf16_trains_to_the_same_within_its_precision(bench: Bench, stacked: bool) -> None:
    exact = Trainer(bench.context).train(bench.task)
    rough = Trainer(replace(bench.context, bf16=True, stacked=stacked)).train(bench.task)
    assert rough.status == "ok"
    for terms, expected in zip(rough.losses, exact.losses, strict=True):
        assert terms["loss"] == pytest.approx(expected["loss"], rel=0.02)
        assert terms["loss"] != expected["loss"]
    assert rough.codes is not None
    model = LatentModel.from_checkpoint(bench.blobs.get(rough.checkpoints[0]))
    seen = model.encode(bench.images[bench.blobs.get_array(bench.task.probe)])
    np.testing.assert_array_equal(seen, bench.blobs.get_array(rough.codes)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_networks_train_to_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler's tracing alone; encoder and decoder of each replica are compiled."""
    compile_network, compiled = torch.compile, []

    def trace(network: Callable[..., Any]) -> Callable[..., Any]:
        compiled.append(network)
        return compile_network(network, backend="eager")

    exact = Trainer(bench.context).train(bench.task)
    monkeypatch.setattr(torch, "compile", trace)
    traced = Trainer(replace(bench.context, compiled=True)).train(bench.task)
    assert len(compiled) == 4
    assert traced.status == "ok"
    for terms, expected in zip(traced.losses, exact.losses, strict=True):
        assert terms == pytest.approx(expected, rel=1e-4)


def test_weights_that_diverge_in_the_last_step_are_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss before the step is finite; what the step leaves behind is not."""

    def last(self: GaussianVAE, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        loss = sum(p.square().sum() for p in self.parameters())
        if step == 4:
            for parameter in self.decoder.parameters():
                parameter.register_hook(lambda gradient: gradient * math.nan)
        return {"model": LossTerms(loss, {})}

    monkeypatch.setattr(GaussianVAE, "losses", last)
    assert Trainer(bench.context).train(bench.task).status == "nan"


def test_codes_that_are_not_finite_are_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses and the weights are finite; what the model says of the probe images is not."""
    original = GaussianVAE.represent

    def broken(self: GaussianVAE, images: torch.Tensor) -> Representation:
        seen = original(self, images)
        return Representation(seen.mean / 0, seen.log_sigma, seen.information)

    monkeypatch.setattr(GaussianVAE, "represent", broken)
    outcome = Trainer(bench.context).train(bench.task)
    assert outcome.status == "nan"
    assert outcome.error == "not finite after 5 steps: replica 0, 1"
    assert outcome.checkpoints == ()


def test_other_errors_are_the_callers(bench: Bench) -> None:
    with pytest.raises(CorruptBlob):
        Trainer(bench.context).train(replace(bench.task, origins=("0" * 64, "0" * 64)))


def test_encoding_one_image_equals_encoding_it_in_a_batch(bench: Bench) -> None:
    outcome = Trainer(bench.context).train(bench.task)
    model = LatentModel.from_checkpoint(bench.blobs.get(outcome.checkpoints[0]))
    batch = model.encode(bench.images)
    for index in (0, 77, 199):
        np.testing.assert_allclose(model.encode(bench.images[index : index + 1])[0], batch[index], atol=1e-6)
    order = np.array([5, 199, 5, 0])
    seen = encode(model.objective, bench.images, order)
    np.testing.assert_allclose(seen.codes, batch[order], atol=1e-6)
    np.testing.assert_array_equal(model.encode(bench.images), batch)
    np.testing.assert_allclose(model.encode(bench.images / np.float32(255)), batch, atol=1e-6)


def test_information_is_the_mean_over_uneven_batches(bench: Bench) -> None:
    outcome = Trainer(bench.context).train(bench.task)
    objective = LatentModel.from_checkpoint(bench.blobs.get(outcome.checkpoints[0])).objective
    whole, parts = encode(objective, bench.images), encode(objective, bench.images, batch=64)
    np.testing.assert_allclose(parts.information, whole.information, rtol=1e-5)
    assert whole.log_sigma is not None
    kl = 0.5 * (whole.codes**2 + np.exp(2 * whole.log_sigma) - 1) - whole.log_sigma
    np.testing.assert_allclose(whole.information, kl.mean(0), rtol=1e-4)


def test_nothing_to_encode_is_refused(bench: Bench) -> None:
    outcome = Trainer(bench.context).train(replace(bench.task, image_passes=0))
    objective = LatentModel.from_checkpoint(bench.blobs.get(outcome.checkpoints[0])).objective
    with pytest.raises(ValueError, match="no images"):
        encode(objective, bench.images[:0])


def test_what_depends_on_the_whole_set_is_finalized_on_the_subset(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "strkm", features=8)
    subset = np.arange(40, 160, 2)
    outcome = Trainer(bench.context).train(replace(bench.task, subset=bench.blobs.put_array(subset)))
    model = LatentModel.from_checkpoint(bench.blobs.get(outcome.checkpoints[0]))
    codes = model.encode(bench.images[subset]).astype(np.float64)
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-4 * codes.std())
    covariance = np.cov(codes.T, bias=True)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-4 * np.trace(covariance)
    assert abs(model.encode(bench.images[:40]).mean()) > 1e-3 * codes.std()
