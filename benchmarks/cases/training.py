"""Training steps of a member's replicas, on one thread and on a GPU, and how they grow with the replicas."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    Disagreement,
    Goal,
    Implementation,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
    Unavailable,
)
from benchmarks.timing import timed

__all__ = ["prepare_gpu", "prepare_replicas", "prepare_step"]

AS_WORKERS, PLAIN_LOOP, PYTHAE = "as workers train", "plain loop", "pythae's BetaTCVAE"
PLAIN_LOOP_ON_GPU = "plain loop on the GPU"
WORKERS_PER_GPU = 4

FIRST_TOLERANCE, SECOND_TOLERANCE = 1e-5, 1e-3
"""Relative difference of the losses of the first step, and of the second: Adam magnifies what rounding leaves."""
GPU_TOLERANCES = {3: 1e-3, 60: 1e-2}
"""Relative difference of the mean loss over so many steps; convolutions on a GPU round to TF32."""


def prepare_step(size: int, setup: Setup) -> Comparison:
    """The same initial weights, noise and images everywhere, each in a process of its own and on one thread.

    Ours starts from uint8 images, as a worker does; the others find their batch in float32. Before the timing all take
    two steps from the same start, and the losses of every replica must agree.
    """
    import torch

    from benchmarks.baselines.vae import reason_unavailable
    from benchmarks.machine import layer_seconds, matrix_product_gflops, trace_layers
    from benchmarks.training_steps import TrainingSteps, one_thread

    steps = TrainingSteps(size, replicas=setup.pick(5, 5, 2), batch=setup.pick(64, 64, 16))
    reason = reason_unavailable()
    ours, plain = steps.in_own_process("ours"), steps.in_own_process("plain")
    pythae = steps.in_own_process("pythae") if reason is None else None

    def check() -> str:
        losses = [(ours(), plain(), pythae() if pythae else None) for _ in range(2)]
        (our_first, plain_first, pythae_first), (our_second, plain_second, _) = losses
        first, second = _relative_error(our_first, plain_first), _relative_error(our_second, plain_second)
        if pythae_first:  # of which one replica alone has the same noise
            first = max(first, _relative_error(our_first[:1], pythae_first[:1]))
        if not (first < FIRST_TOLERANCE and second < SECOND_TOLERANCE):
            raise Disagreement(f"losses differ by {first:.1e} of their size, after a step by {second:.1e}")
        return f"losses within {first:.0e} of their size, after a step within {second:.0e}"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        model, seconds = steps.plain_models()[0], medians[AS_WORKERS]
        codes = torch.zeros(len(steps.floats), steps.LATENTS)
        layers = trace_layers([(model.encoder, steps.floats), (model.decoder, codes)])
        rate = steps.replicas * sum(layer.flops for layer in layers) / seconds / 1e9
        with one_thread():
            layers_alone = steps.replicas * layer_seconds(layers, setup.pick(9, 4, 1))
            peak = matrix_product_gflops()
        return [
            Measurement("arithmetic of its convolutions and linear layers", rate, "GFLOP/s"),
            Measurement("share of the matrix product's rate on one thread", 100 * rate / peak, "%"),
            Measurement("time of torch's layers alone, as a share of the step", 100 * layers_alone / seconds, "%"),
            Measurement("image passes", steps.replicas * len(steps.floats) / seconds, "images/s"),
        ]

    with_pythae = timed(PYTHAE, pythae) if pythae else Unavailable(PYTHAE, reason or "")
    return Comparison(
        timed(AS_WORKERS, ours),
        [timed(PLAIN_LOOP, plain), with_pythae],
        check,
        repeats=setup.pick(5, 3, 1),
        measurements=measurements,
    )


def prepare_replicas(setup: Setup) -> Scaling:
    """A training step of ever more beta-TCVAEs on one batch of 64 at 32x32 and one thread, against the plain loop."""
    from benchmarks.training_steps import TrainingSteps, one_thread

    sizes = setup.pick((1, 2, 4, 8, 16), (1, 2, 4), (1, 2))
    by_size = {size: TrainingSteps(32, size, setup.pick(64, 64, 16)) for size in sizes}
    ours = {size: steps.ours() for size, steps in by_size.items()}
    plain = {size: steps.plain() for size, steps in by_size.items()}

    def check() -> str:
        error = max(_relative_error(ours[size](), plain[size]()) for size in sizes)
        if not error < FIRST_TOLERANCE:
            raise Disagreement(f"losses differ by {error:.1e} of their size")
        return f"losses of a first step within {error:.0e} of their size"

    def cost(step: Callable[[], object]) -> float:
        with one_thread():
            return timed("a step", step, number=setup.pick(10, 2, 1)).costs()[0]

    return Scaling(
        "replicas",
        sizes,
        1,
        ScalingImplementation("as a worker trains", lambda size: cost(ours[size])),
        check,
        repeats=setup.pick(1, 2, 1),
        baselines=[ScalingImplementation(PLAIN_LOOP, lambda size: cost(plain[size]))],
        measurements=lambda medians: [Measurement("for a replica", 1000 * medians[sizes[-1]] / sizes[-1], "ms")],
    )


def prepare_gpu(size: int, setup: Setup) -> Comparison:
    """Five replicas on a GPU over as many steps as a short generation has, with the same weights, noise and batches.

    Ours has the images on the GPU as uint8 and captures a step once at each call; the plain loop moves float32 batches
    from the host and launches each kernel. Over the first steps the mean losses of all replicas must agree.
    """
    from benchmarks.training_steps import GpuTrainingSteps

    steps = GpuTrainingSteps(size, replicas=setup.pick(5, 5, 2), batch=64)
    count = setup.pick(500, 400, 60)

    def check() -> str:
        ours, plain, errors = steps.as_workers(), steps.plain_loop(), []
        for number, tolerance in GPU_TOLERANCES.items():
            errors.append(_relative_error(ours(number), plain(number)))
            if not errors[-1] < tolerance:
                raise Disagreement(f"mean losses over {number} steps differ by {errors[-1]:.1e} of their size")
        return f"mean losses over 3 steps within {errors[0]:.0e} of their size, over 60 within {errors[1]:.0e}"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        seconds = medians[AS_WORKERS]
        measured = [Measurement("image passes", steps.replicas * 64 / seconds, "images/s")]
        if not setup.is_first_session:
            return measured
        for name, options in {"stacked": {"stacked": True}, "in bf16": {"bf16": True}}.items():
            variant = steps.as_workers(**options)
            variant(count)
            start = time.perf_counter()
            variant(count)
            speedup = seconds * count / (time.perf_counter() - start)
            measured.append(Measurement(f"{name}, times as fast", speedup, ""))
        gain = WORKERS_PER_GPU * seconds * count / steps.side_by_side(WORKERS_PER_GPU, count)
        measured.append(Measurement(f"{WORKERS_PER_GPU} workers on the GPU, passes of one worker", gain, "times"))
        return measured

    def warmed_up(name: str, take_steps: Callable[[int], object]) -> Implementation:
        take_steps(count)
        return timed(name, partial(take_steps, count), items=count)

    return Comparison(
        warmed_up(AS_WORKERS, steps.as_workers()),
        [warmed_up(PLAIN_LOOP_ON_GPU, steps.plain_loop())],
        check,
        repeats=setup.pick(3, 2, 1),
        measurements=measurements,
    )


def _relative_error(ours: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the largest relative difference of the losses of some replicas."""
    pairs = zip(ours, baseline, strict=True)
    return max(abs(a - b) / abs(b) if math.isfinite(a - b) else math.inf for a, b in pairs)


for image_size in (64, 32):
    steps_case = f"training step of five replicas at {image_size}x{image_size}"
    CASES.register(f"step-{image_size}")(
        Case(f"{steps_case}: against the plain loop", partial(prepare_step, image_size), Goal(1.5))
    )
    CASES.register(f"gpu-{image_size}")(
        Case(
            f"{steps_case} on a GPU: against the plain loop there",
            partial(prepare_gpu, image_size),
            Goal(4),
            needs_gpu=True,
        )
    )
CASES.register("grow-replicas")(
    Case("training step of a member: against linear growth in replicas, and the plain loop", prepare_replicas)
)
