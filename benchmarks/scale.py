"""What a run of the published size costs on 1, 8 and 64 GPUs, and what limits it: computed from measured parts.

A generation trains its models in waves of one model for each GPU, and then waits for what is not shared out: one
worker scores all members, and the driver decides, writes and posts. How fast a GPU trains was measured on one H200.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.rounds.budget import RoundCost, RunCost, run_cost
from pbt_disent.types import Json

__all__ = ["GPUS", "RATES", "MeasuredParts", "RunHours", "format_scale", "measured_parts", "round_cost"]

PRESET = "rooms-paper"
GPUS = (1, 8, 64)
RATES = (7_000, 90_000)
"""The image passes that an H200 trains in a second: in the plain loop, and as workers train (the case `gpu-64`)."""
REPLICAS = 5
STEP_BATCH = 64


@dataclass(frozen=True)
class MeasuredParts:
    """The measured parts of a run's cost, in seconds where nothing else is said.

    Args:
        write: The time to write a checkpoint from memory to disk, synced.
        restore: The time to read a checkpoint from disk into a member.
        score: The time to score a member by the agreement of its five models on 1,000 images.
        driver: The driver's own work for a member and generation.
        dispatch: The way of a task through Ray and back: an eighth of a generation of eight members without work. It is
            an upper bound, for it holds what does not grow with the members.
        track: The MLflow writer's work for a member and generation, beside the training.
        checkpoint_bytes: The size of a checkpoint in bytes.
        step: The time of a training step of five replicas on a batch of 64 on this machine; None where that was not
            measured.
    """

    write: float
    restore: float
    score: float
    driver: float
    dispatch: float
    track: float
    checkpoint_bytes: int
    step: float | None = None


@dataclass(frozen=True)
class RunHours:
    """The cost of a run, or of a part of it.

    Args:
        hours: The hours from start to end.
        gpus: The number of GPUs.
        busy: The hours that each GPU would train if all were busy all the time.
        idle: The hours lost because the last wave of a generation does not fill all GPUs.
        scoring: The hours in which one worker scores and the others wait.
        driving: The hours in which all wait for the driver and for Ray.
        storing: The hours in which checkpoints are written and read.
    """

    hours: float
    gpus: int
    busy: float
    idle: float
    scoring: float
    driving: float
    storing: float

    @property
    def limit(self) -> str:
        """What takes most of the time in which GPUs do not train, and its share of the whole."""
        losses = {
            "GPUs without a model in the last wave": self.idle,
            "scoring by one worker": self.scoring,
            "driver and Ray": self.driving,
            "checkpoints": self.storing,
        }
        name = max(losses, key=lambda loss: losses[loss])
        return f"{name}, {100 * losses[name] / self.hours:.1f} %"

    def __add__(self, other: RunHours) -> RunHours:
        names = ("hours", "busy", "idle", "scoring", "driving", "storing")
        return RunHours(gpus=self.gpus, **{name: getattr(self, name) + getattr(other, name) for name in names})


def measured_parts(results: Json) -> MeasuredParts:
    """Return the parts from the results of ``python -m benchmarks --json``.

    Raises:
        UserError: One of the cases was not run, or failed.
    """
    cases = {case["case"]: case for case in results["cases"] if "error" not in case}
    needed = ("checkpoint-write", "exploit", "udr", "grow-members", "empty-generation", "grow-tracking")
    missing = [name for name in needed if name not in cases]
    if missing:
        raise UserError(
            "--scale", f"needs the cases {', '.join(missing)}, which were not run", "run the benchmark with them"
        )
    driver = cases["grow-members"]["scaling"]["curves"][0]
    stored = _measurement(cases["exploit"], lambda name: "from store to worker" in name)
    return MeasuredParts(
        write=cases["checkpoint-write"]["ours"]["median"],
        restore=cases["exploit"]["ours"]["median"],
        score=_measurement(cases["udr"], lambda name: "one member" in name) / 1000,
        driver=driver["costs"][-1] / driver["sizes"][-1],
        dispatch=cases["empty-generation"]["ours"]["median"] / 8,
        track=_measurement(cases["grow-tracking"], lambda name: name == "for a member and generation") / 1000,
        checkpoint_bytes=int(stored),
        step=cases["step-64"]["ours"]["median"] if "step-64" in cases else None,
    )


def round_cost(part: RoundCost, parts: MeasuredParts, gpus: int, rate: float, replicas: int) -> RunHours:
    """Return the cost of the rounds of one kind.

    Args:
        part: The rounds of one kind.
        parts: The measured parts.
        gpus: The number of GPUs, which all train at once, one model each.
        rate: The image passes of a GPU in a second.
        replicas: The number of models of a member.
    """
    models_by_generation = [max(part.first, part.models)] + [part.models] * (part.generations - 1)
    training = part.num_images / rate
    waves = sum(math.ceil(models / gpus) for models in models_by_generation)
    filled = sum(models / gpus for models in models_by_generation)
    members = sum(models / replicas for models in models_by_generation)
    busy, idle = filled * training, (waves - filled) * training
    scoring = members * parts.score if replicas > 1 else 0.0
    driving = members * parts.driver + sum(models_by_generation) * parts.dispatch
    storing = waves * (parts.write + parts.restore)
    hours = part.rounds / 3600
    return RunHours(
        hours=hours * (busy + idle + scoring + driving + storing),
        gpus=gpus,
        busy=hours * busy,
        idle=hours * idle,
        scoring=hours * scoring,
        driving=hours * driving,
        storing=hours * storing,
    )


def format_scale(results: Json) -> str:
    """Return the generated part of the page on scale, as Markdown."""
    parts, costs = measured_parts(results), run_cost(load_config(PRESET))
    tracked = sum(part.rounds * part.generations * part.models / _replicas(part) for part in costs.rounds) * parts.track
    rounds = [
        f"{part.name} {part.rounds} x {part.models} models x {part.generations} generations "
        f"x {part.num_images:,} images"
        for part in costs.rounds
    ]
    disk = costs.disk_bytes(parts.checkpoint_bytes) / 1e9
    lines = [
        *_measured_list(results, parts),
        "",
        f"`{PRESET}` is {costs.image_passes:,} image passes at most: {'; '.join(rounds)}.",
        "",
        *(line for rate in RATES for line in _table(costs, parts, rate)),
        f"Whatever the GPUs, the checkpoints take {disk:.1f} GB of disk at most, the MLflow writer is busy for "
        f"{tracked / 60:.1f} min beside the training, and no more than {costs.models} GPUs find a model to train.",
    ]
    return "\n".join(lines) + "\n"


def _measured_list(results: Json, parts: MeasuredParts) -> list[str]:
    """Return the lines of the list of measured parts."""
    machine = results["machine"]
    lines = [
        f"Measured on {machine['processor']}, {machine['cpus']} CPUs, {', '.join(machine['gpus']) or 'no GPU'}:",
        "",
        f"- a checkpoint of {parts.checkpoint_bytes / 1e6:.1f} MB: {1000 * parts.write:.1f} ms to write and sync, "
        f"{1000 * parts.restore:.1f} ms to read, check and restore",
        f"- scoring a member of five models: {1000 * parts.score:.1f} ms",
        f"- the driver, for a member and generation: {1000 * parts.driver:.2f} ms; all of a task's way through Ray: "
        f"{1000 * parts.dispatch:.1f} ms",
        f"- MLflow, for a member and generation: {1000 * parts.track:.1f} ms",
    ]
    if parts.step is not None:
        rate = REPLICAS * STEP_BATCH / parts.step
        lines.append(f"- training at 64x64, one channel, on one thread: {rate:,.0f} image passes/s")
    return lines


def _table(costs: RunCost, parts: MeasuredParts, rate: int) -> list[str]:
    lines = [
        f"At {rate:,} image passes a second on each GPU:",
        "",
        "| GPUs | X-run | leaf rounds | final | all | GPU hours | GPUs train | limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for gpus in GPUS:
        by_round = [round_cost(part, parts, gpus, rate, _replicas(part)) for part in costs.rounds]
        whole = by_round[0] + by_round[1] + by_round[2]
        cells = [*(_format_hours(cost.hours) for cost in (*by_round, whole)), f"{whole.hours * gpus:,.0f}"]
        share = f"{100 * whole.busy / whole.hours:.0f} %"
        lines.append(f"| {gpus} | {' | '.join(cells)} | {share} | {whole.limit} |")
    return [*lines, ""]


def _replicas(part: RoundCost) -> int:
    """Return the number of models of a member: one in the final round."""
    return 1 if part.name.startswith("final") else REPLICAS


def _format_hours(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} d"
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _measurement(case: Json, matches: Callable[[str], bool]) -> float:
    measurements: Sequence[Json] = case["measurements"]
    return float(next(measurement["value"] for measurement in measurements if matches(measurement["name"])))
