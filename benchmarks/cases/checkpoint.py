"""Writing a checkpoint, beside hashing and syncing the same bytes by hand."""

from __future__ import annotations

import hashlib
import os
from itertools import count

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Setting
from benchmarks.timing import timed

__all__ = ["prepare"]


def prepare(setting: Setting) -> Contest:
    """The checkpoint of a 64x64 beta-TCVAE with its Adam state; each write has other bytes, so that none is spared."""
    import torch

    from pbt_disent.config import ObjectiveConfig
    from pbt_disent.models import resolve
    from pbt_disent.models.resolve import build
    from pbt_disent.store.blobs import BlobStore
    from pbt_disent.training.checkpoint import dump

    shape = setting.pick((1, 64, 64), (1, 64, 64), (1, 32, 32))
    resolved = resolve(ObjectiveConfig(name="betatcvae", batch_size=64, lr=1e-3, beta=6), shape)
    start = torch.Generator().manual_seed(0)
    objective = build(resolved.name, resolved.settings, resolved.complete({}), shape, 1000, generator=start)
    optimizers = objective.optimizers()
    for parameter in objective.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers.values():
        optimizer.step()
    content = bytearray(dump(resolved.name, objective, optimizers, 1))
    blobs, folder, numbers = BlobStore(setting.folder / "blobs"), setting.folder / "plain", count()
    folder.mkdir()

    def fresh() -> bytes:
        content[-8:] = next(numbers).to_bytes(8, "little")
        return bytes(content)

    def ours() -> str:
        return blobs.put(fresh())

    def plain() -> str:
        written = fresh()
        digest = hashlib.sha256(written).hexdigest()
        with (folder / digest).open("wb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        return digest

    def agree() -> str:
        mine, theirs = ours(), plain()
        if blobs.get(mine)[:-8] != (folder / theirs).read_bytes()[:-8]:
            raise Disagreement("what was written is not what is read back")
        return f"{len(content) / 1e6:.1f} MB read back as written"

    return Contest(
        timed("blob store", ours, times=setting.pick(4, 2, 1)),
        [timed("sha256, write, fsync", plain, times=setting.pick(4, 2, 1))],
        agree,
        setting.pick(9, 9, 1),
    )


CASES.register("checkpoint-write")(
    Case("writing a checkpoint: against hashing and syncing the same bytes", prepare, Goal(1.3, at_most=True))
)
