"""Training on a GPU: five beta-TCVAEs of one member, over a stretch of steps as long as a short generation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from benchmarks.timing import timed

__all__ = ["prepare"]

TOLERANCES = {3: 1e-3, 60: 1e-2}
"""Relative difference of the mean loss over so many steps; convolutions on a GPU round to TF32."""
OURS, PLAIN = "as workers train", "plain loop on the GPU"
WORKERS = 4


def prepare(size: int, setting: Setting) -> Contest:
    """The same first weights, noise and order of images on both sides.

    Ours has the images on the GPU as uint8 and records a step once in every stretch; the plain loop moves float32
    batches from the host and launches each kernel. Over the first steps the mean losses of all replicas must agree.
    """
    from benchmarks.gpu_training import GpuTraining

    work = GpuTraining(size, replicas=setting.pick(5, 5, 2), batch=64)
    steps = setting.pick(500, 400, 60)

    def agree() -> str:
        ours, plain, found = work.recorded(), work.plain_loop(), []
        for count, tolerance in TOLERANCES.items():
            pairs = zip(ours(count), plain(count), strict=True)
            found.append(max(abs(a - b) / abs(b) for a, b in pairs))
            if not found[-1] < tolerance:
                raise Disagreement(f"mean losses over {count} steps differ by {found[-1]:.1e} of their size")
        return f"mean losses over 3 steps within {found[0]:.0e} of their size, over 60 within {found[1]:.0e}"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        passes = work.replicas * 64 * steps
        found = [Measure("image passes", passes / medians[OURS] / steps, "images/s")]
        if not setting.first:
            return found
        for name, options in {"stacked": {"stacked": True}, "in bf16": {"bf16": True}}.items():
            stretch = work.recorded(**options)
            stretch(steps)
            begun = time.perf_counter()
            stretch(steps)
            found.append(Measure(f"{name}, times as fast", medians[OURS] * steps / (time.perf_counter() - begun), ""))
        together = work.side_by_side(WORKERS, steps)
        gain = WORKERS * medians[OURS] * steps / together
        found.append(Measure(f"{WORKERS} workers on the GPU, passes of one worker", gain, "times"))
        return found

    ours, plain = work.recorded(), work.plain_loop()
    sides = [timed(name, partial(one, steps), pieces=steps) for name, one in ((OURS, ours), (PLAIN, plain))]
    for one in (ours, plain):
        one(steps)
    return Contest(sides[0], sides[1:], agree, setting.pick(3, 2, 1), measures=measures)


def _register(size: int, goal: float) -> None:
    summary = f"training step of five replicas at {size}x{size} on a GPU: against the plain loop there"
    CASES.register(f"gpu-{size}")(Case(summary, partial(prepare, size), Goal(goal), gpu=True))


_register(64, 4)
_register(32, 4)
