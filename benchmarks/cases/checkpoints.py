"""Checkpoints: writing one, and copying a member by reading another's."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from benchmarks.case import CASES, Case, Comparison, Disagreement, Goal, Measurement, Setup
from benchmarks.timing import timed

if TYPE_CHECKING:
    import torch

    from pbt_disent.models.contract import Objective

__all__ = ["prepare_copy", "prepare_write"]


def prepare_write(setup: Setup) -> Comparison:
    """The checkpoint of a 64x64 beta-TCVAE with its Adam state; each write has other bytes, so that none is skipped."""
    from benchmarks.training_steps import build_beta_tcvae
    from pbt_disent.store.blobs import BlobStore
    from pbt_disent.training.checkpoint import dump

    shape = setup.pick((1, 64, 64), (1, 64, 64), (1, 32, 32))
    _, objective = build_beta_tcvae(shape, dataset_size=1000)
    content = bytearray(dump(objective, _take_step(objective), 1))
    blobs, folder, numbers = BlobStore(setup.folder / "blobs"), setup.folder / "plain", count()
    folder.mkdir()

    def different_bytes() -> bytes:
        content[-8:] = next(numbers).to_bytes(8, "little")
        return bytes(content)

    def ours() -> str:
        return blobs.put(different_bytes())

    def plain() -> str:
        data = different_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with (folder / digest).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return digest

    def check() -> str:
        our_digest, plain_digest = ours(), plain()
        if blobs.get(our_digest)[:-8] != (folder / plain_digest).read_bytes()[:-8]:
            raise Disagreement("what was written is not what is read back")
        return f"{len(content) / 1e6:.1f} MB read back as written"

    return Comparison(
        timed("blob store", ours, number=setup.pick(4, 2, 1)),
        [timed("sha256, write, fsync", plain, number=setup.pick(4, 2, 1))],
        check,
        setup.pick(9, 9, 1),
    )


CASES.register("checkpoint-write")(
    Case("writing a checkpoint: against hashing and syncing the same bytes", prepare_write, Goal(1.3, at_most=True))
)


def prepare_copy(setup: Setup) -> Comparison:
    """A 64x64 beta-TCVAE with its Adam state takes the place of another one.

    Ours: the task names the parent's checkpoint, which lies in the store since the generation's end, and the worker
    reads, checks and restores it. The baseline does as a trial of Tune's PBT does: the parent is saved when it is
    copied, with `torch.save`, and the copy reads that file.
    """
    import torch

    from benchmarks.training_steps import build_beta_tcvae
    from pbt_disent.store.blobs import BlobStore
    from pbt_disent.training.checkpoint import dump, restore
    from pbt_disent.training.tasks import TaskKey, TrainTask

    shape = setup.pick((1, 64, 64), (1, 64, 64), (1, 32, 32))
    resolved, parent = build_beta_tcvae(shape, dataset_size=1000, seed=1)
    (_, our_copy), (_, tune_copy) = (build_beta_tcvae(shape, dataset_size=1000, seed=seed) for seed in (2, 3))
    parent_optimizers, our_optimizers, tune_optimizers = map(_take_step, (parent, our_copy, tune_copy))
    blobs, file = BlobStore(setup.folder / "blobs"), setup.folder / "parent.pt"
    digest = blobs.put(dump(parent, parent_optimizers, 1))
    task = TrainTask(TaskKey("0", 1, 0, (0,)), 0, resolved, (digest,), resolved.fixed, 1000, None, digest)

    def ours() -> None:
        restore(blobs.get(digest), our_copy, our_optimizers)

    def tune() -> None:
        state = {
            "weights": parent.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in parent_optimizers.items()},
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        file.write_bytes(buffer.getvalue())
        loaded = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)
        tune_copy.load_state_dict(loaded["weights"])
        for name, optimizer_state in loaded["optimizers"].items():
            tune_optimizers[name].load_state_dict(optimizer_state)

    def check() -> str:
        ours()
        tune()
        for copy, optimizers in ((our_copy, our_optimizers), (tune_copy, tune_optimizers)):
            for key, tensor in parent.state_dict().items():
                if not torch.equal(tensor, copy.state_dict()[key]):
                    raise Disagreement(f"{key} of the copy is not its parent's")
            for name, optimizer in parent_optimizers.items():
                pairs = zip(_moments(optimizer), _moments(optimizers[name]), strict=True)
                if not all(torch.equal(a, b) for a, b in pairs):
                    raise Disagreement("the copy's moments are not its parent's")
        return "weights and moments of both copies are the parent's, bit by bit"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        sent, stored = pickle.dumps(task), len(blobs.get(digest))
        return [
            Measurement("through the driver for a copy", len(sent), "bytes", Goal(4096, at_most=True)),
            Measurement("of that, tensors", stored if b"torch" in sent else 0, "bytes", Goal(0, at_most=True)),
            Measurement("of tensors from store to worker", stored, "bytes"),
        ]

    return Comparison(
        timed("restored from the store", ours, number=setup.pick(4, 2, 1)),
        [timed("saved for the copy, as in Tune's PBT", tune, number=setup.pick(4, 2, 1))],
        check,
        setup.pick(9, 7, 1),
        measurements=measurements,
    )


def _take_step(objective: Objective) -> dict[str, torch.optim.Optimizer]:
    """Take a step along gradients of ones, so that the optimisers have a state, and return them."""
    import torch

    optimizers = objective.optimizers()
    for parameter in objective.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers.values():
        optimizer.step()
    return dict(optimizers)


def _moments(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return the tensors of an optimiser's state, parameter by parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [optimizer.state[parameter][name] for parameter in parameters for name in ("exp_avg", "exp_avg_sq")]


CASES.register("exploit")(Case("copying a member: against saving and loading it, as Tune's PBT does", prepare_copy))
