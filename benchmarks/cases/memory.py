"""The private memory of a worker that trains on a large set."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, NotRun, Setting, Side
from benchmarks.memory import private_mib

__all__ = ["prepare", "serve_floats", "serve_mapped"]

OURS, FLOATS = "mapped images", "float32 copy in each worker"
MIB = 2**20
ROOM = 1.3
"""Free memory that the peer is given, in copies of its set."""


def prepare(setting: Setting) -> Contest:
    """A process of its own passes over every image once, in shuffled batches of 256, and then reads its own smaps.

    The peer holds the set as float32, as the reference's workers do. The full size is the full sprites grid.
    """
    import psutil

    from pbt_disent.data import load, materialise

    grid = setting.pick({}, {"orientation": 8, "x": 16, "y": 16}, {"orientation": 2, "x": 4, "y": 4})
    stored = materialise(load("sprites", size=setting.pick(64, 64, 16), grid=grid), setting.kept / "images")
    added: dict[str, float] = {}
    unused: dict[str, tuple[float, float, int]] = {}

    def run(name: str) -> tuple[float, float, int]:
        serve = serve_mapped if name == OURS else serve_floats
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(serve, stored.folder).result()

    def costs(name: str) -> Sequence[float]:
        before, after, _ = unused.pop(name) if name in unused else run(name)
        added[name] = after - before
        return [after]

    def agree() -> str:
        if impossible:
            return "no peer to agree with"
        unused.update({name: run(name) for name in (OURS, FLOATS)})
        sums = {total for _, _, total in unused.values()}
        if len(sums) > 1:
            raise Disagreement(f"the workers saw pixels of different sums: {sums}")
        return f"both see the same {len(stored):,} images"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        size = stored.array.nbytes / MIB
        return [
            Measure("added by serving the images", added[OURS], "MiB", Goal(150, at_most=True)),
            Measure("size of the set on disk", size, "MiB"),
        ]

    needed, there = ROOM * 4 * stored.array.nbytes, psutil.virtual_memory().available
    impossible = needed > there
    reason = f"needs {needed / 2**30:.1f} GiB of memory, and {there / 2**30:.1f} are free"
    peer = NotRun(FLOATS, reason) if impossible else Side(FLOATS, partial(costs, FLOATS))
    return Contest(Side(OURS, partial(costs, OURS)), [peer], agree, 1, "MiB", measures)


def serve_mapped(folder: Path) -> tuple[float, float, int]:
    """Pass over a store as our trainer does; return private MiB before and after, and the sum of all pixels."""
    import torch

    from pbt_disent.data.storage import StoredImages
    from pbt_disent.training.batches import batches
    from pbt_disent.training.supervision import Supervision

    torch.set_num_threads(1)
    rng, supply, total = np.random.default_rng(0), Supervision(), 0.0
    before = private_mib()
    images = StoredImages.open(folder).array
    for chosen in batches(len(images), 256, len(images) // 256, rng):
        total += float(supply.batch(images, chosen, "cpu", rng).images.sum(dtype=torch.float64))
    return before, private_mib(), round(total)


def serve_floats(folder: Path) -> tuple[float, float, int]:
    """Pass over a store as a worker with the set in float32; return what `serve_mapped` returns."""
    import torch

    from pbt_disent.data.storage import StoredImages

    torch.set_num_threads(1)
    rng, total = np.random.default_rng(0), 0.0
    before = private_mib()
    floats = StoredImages.open(folder).array.astype(np.float32)
    floats /= 255
    images = torch.from_numpy(floats)
    order = rng.permutation(len(images))
    for start in range(0, len(order) - 255, 256):
        total += float(images[order[start : start + 256]].sum(dtype=torch.float64))
    return before, private_mib(), round(total)


CASES.register("memory")(Case("private memory of a worker that has seen every sprite: against a float32 copy", prepare))
