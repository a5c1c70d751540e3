"""The training step of a member: five beta-TCVAEs on one batch of 64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, NotRun, Setting
from benchmarks.timing import timed

__all__ = ["prepare"]

TOLERANCES = (1e-5, 1e-3)
"""Relative difference of the losses of the first step, and of the second: Adam magnifies what rounding leaves."""

OURS, PLAIN, PYTHAE = "as workers train", "plain loop", "pythae's BetaTCVAE"

Step = Callable[[], list[float]]


def prepare(size: int, setting: Setting) -> Contest:
    """The same first weights, noise and images on all sides, each in a process of its own and on one thread.

    Ours starts from uint8 images, as a worker does; the others find their batch in float32. Before the timing all take
    two steps from the same start, and the losses of every replica must agree.
    """
    import torch

    from benchmarks.limits import convolution_seconds, layers_of, matrix_gflops
    from benchmarks.peers.pythae_vae import why_not
    from benchmarks.training_step import TrainingStep, one_thread

    work = TrainingStep(size, replicas=setting.pick(5, 5, 2), batch=setting.pick(64, 64, 16))
    problem = why_not()
    ours, plain = work.apart("ours"), work.apart("plain")
    pythae = work.apart("pythae") if problem is None else None

    def agree() -> str:
        expected = [ours() for _ in TOLERANCES]
        first, second = _differences(expected, plain, work.replicas)
        if pythae:
            first = max(first, _differences(expected, pythae, 1)[0])
        if not (first < TOLERANCES[0] and second < TOLERANCES[1]):
            raise Disagreement(f"losses differ by {first:.1e} of their size, after a step by {second:.1e}")
        return f"losses within {first:.0e} of their size, after a step within {second:.0e}"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        model = work.plain_models()[0]
        layers = layers_of([(model.encoder, work.floats), (model.decoder, torch.zeros(len(work.floats), work.LATENTS))])
        rate = work.replicas * sum(layer.flops for layer in layers) / medians[OURS] / 1e9
        with one_thread():
            alone, peak = work.replicas * convolution_seconds(layers, setting.pick(9, 4, 1)), matrix_gflops()
        return [
            Measure("arithmetic of its convolutions and linear layers", rate, "GFLOP/s"),
            Measure("share of the matrix product's rate on one thread", 100 * rate / peak, "%"),
            Measure("time of torch's layers alone, as a share of the step", 100 * alone / medians[OURS], "%"),
            Measure("image passes", work.replicas * len(work.floats) / medians[OURS], "images/s"),
        ]

    other = timed(PYTHAE, pythae) if pythae else NotRun(PYTHAE, problem or "")
    return Contest(timed(OURS, ours), [timed(PLAIN, plain), other], agree, setting.pick(5, 3, 1), measures=measures)


def _differences(expected: Sequence[list[float]], theirs: Step, replicas: int) -> tuple[float, float]:
    """Return the largest relative difference of the losses of some replicas, at the first step and at the second."""
    found = []
    for ours in expected:
        pairs = list(zip(ours, theirs(), strict=True))[:replicas]
        found.append(max(abs(a - b) / abs(b) if math.isfinite(a - b) else math.inf for a, b in pairs))
    return found[0], found[1]


def _register(size: int, goal: float) -> None:
    summary = f"training step of five replicas at {size}x{size}: against the plain loop"
    CASES.register(f"step-{size}")(Case(summary, partial(prepare, size), Goal(goal)))


_register(64, 1.5)
_register(32, 1.5)
