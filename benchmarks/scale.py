"""What a run of the published size costs on 1, 8 and 64 GPUs, and what becomes its limit: measured parts, put together.

A generation trains its models in waves of one model for each GPU, and then waits for what is not shared out: one
worker scores all members, and the driver decides, writes and posts. How fast a GPU trains was measured on one H200.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.rounds.budget import Budget, RoundBudget, budget
from pbt_disent.types import Json

__all__ = ["GPUS", "RATES", "Cost", "Parts", "cost_of", "parts_of", "scale_page"]

PRESET = "rooms-paper"
GPUS = (1, 8, 64)
RATES = (7_000, 90_000)
"""Image passes an H200 trains in a second: the plain loop, and as workers train (`gpu-64` in docs/benchmarks.md)."""
REPLICAS = 5
STEP_BATCH = 64


@dataclass(frozen=True)
class Parts:
    """What was measured, in seconds.

    Args:
        write: a checkpoint, from memory to disk, synced.
        restore: a checkpoint, from disk into a member.
        score: a member, by the agreement of its five models on 1,000 images.
        driver: the driver's own work for a member and generation.
        dispatch: for a task, Ray's share included: an eighth of a generation of eight members without work, which is
            an upper bound, for it holds what does not grow with the members.
        track: the MLflow writer's work for a member and generation, beside the training.
        checkpoint: bytes of one.
        step: of five replicas on a batch of 64 on this machine; none where that was not measured.
    """

    write: float
    restore: float
    score: float
    driver: float
    dispatch: float
    track: float
    checkpoint: int
    step: float | None = None


@dataclass(frozen=True)
class Cost:
    """What a run, or a part of it, costs.

    Args:
        hours: from start to end.
        gpus: that it has.
        busy: hours that each GPU would train if all were busy all the time.
        idle: hours lost since the last wave of a generation does not fill all GPUs.
        scoring: hours in which one worker scores and the others wait.
        driving: hours in which all wait for the driver and for Ray.
        storing: hours in which checkpoints are written and read.
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
        """What takes most of the time in which GPUs do not train, and its share of all."""
        losses = {
            "GPUs without a model in the last wave": self.idle,
            "scoring by one worker": self.scoring,
            "driver and Ray": self.driving,
            "checkpoints": self.storing,
        }
        name = max(losses, key=lambda one: losses[one])
        return f"{name}, {100 * losses[name] / self.hours:.1f} %"

    def __add__(self, other: Cost) -> Cost:
        names = ("hours", "busy", "idle", "scoring", "driving", "storing")
        return Cost(gpus=self.gpus, **{name: getattr(self, name) + getattr(other, name) for name in names})


def parts_of(results: Json) -> Parts:
    """Return the parts from the results of ``python -m benchmarks --json``.

    Raises:
        UserError: one of the cases was not run, or failed.
    """
    cases = {case["case"]: case for case in results["cases"] if "error" not in case}
    needed = ("checkpoint-write", "exploit", "udr", "grow-members", "empty-generation", "grow-tracking")
    missing = [name for name in needed if name not in cases]
    if missing:
        raise UserError(
            "--scale", f"needs the cases {', '.join(missing)}, which were not run", "run the benchmark with them"
        )
    driver = cases["grow-members"]["growth"]["curves"][0]
    stored = _measure(cases["exploit"], lambda name: "from store to worker" in name)
    return Parts(
        write=cases["checkpoint-write"]["ours"]["median"],
        restore=cases["exploit"]["ours"]["median"],
        score=_measure(cases["udr"], lambda name: "one member" in name) / 1000,
        driver=driver["costs"][-1] / driver["sizes"][-1],
        dispatch=cases["empty-generation"]["ours"]["median"] / 8,
        track=_measure(cases["grow-tracking"], lambda name: name == "for a member and generation") / 1000,
        checkpoint=int(stored),
        step=cases["step-64"]["ours"]["median"] if "step-64" in cases else None,
    )


def cost_of(part: RoundBudget, parts: Parts, gpus: int, rate: float, replicas: int) -> Cost:
    """Return what the rounds of one kind cost.

    Args:
        part: of the budget.
        parts: measured.
        gpus: that all train at once, one model each.
        rate: image passes of a GPU in a second.
        replicas: models of a member.
    """
    sizes = [max(part.first, part.models)] + [part.models] * (part.generations - 1)
    training = part.images / rate
    waves = sum(math.ceil(models / gpus) for models in sizes)
    filled = sum(models / gpus for models in sizes)
    members = sum(models / replicas for models in sizes)
    busy, idle = filled * training, (waves - filled) * training
    scoring = members * parts.score if replicas > 1 else 0.0
    driving = members * parts.driver + sum(sizes) * parts.dispatch
    storing = waves * (parts.write + parts.restore)
    hours = part.rounds / 3600
    return Cost(
        hours=hours * (busy + idle + scoring + driving + storing),
        gpus=gpus,
        busy=hours * busy,
        idle=hours * idle,
        scoring=hours * scoring,
        driving=hours * driving,
        storing=hours * storing,
    )


def scale_page(results: Json) -> str:
    """Return the generated part of the page on scale, as Markdown."""
    parts, costs = parts_of(results), budget(load_config(PRESET))
    tracked = sum(part.rounds * part.generations * part.models / _replicas(part) for part in costs.parts) * parts.track
    rounds = [
        f"{one.name} {one.rounds} x {one.models} models x {one.generations} generations x {one.images:,} images"
        for one in costs.parts
    ]
    lines = [
        *_measured(results, parts),
        "",
        f"`{PRESET}` is {costs.passes:,} image passes at most: {'; '.join(rounds)}.",
        "",
        *(line for rate in RATES for line in _table(costs, parts, rate)),
        f"Whatever the GPUs, the checkpoints take {costs.disk(parts.checkpoint) / 1e9:.1f} GB of disk at most, the "
        f"MLflow writer is busy for {tracked / 60:.1f} min beside the training, and no more than {costs.models} GPUs "
        "find a model to train.",
    ]
    return "\n".join(lines) + "\n"


def _measured(results: Json, parts: Parts) -> list[str]:
    """Return what was measured as a list."""
    machine = results["machine"]
    found = [
        f"Measured on {machine['processor']}, {machine['cpus']} CPUs, {', '.join(machine['gpus']) or 'no GPU'}:",
        "",
        f"- a checkpoint of {parts.checkpoint / 1e6:.1f} MB: {1000 * parts.write:.1f} ms to write and sync, "
        f"{1000 * parts.restore:.1f} ms to read, check and restore",
        f"- scoring a member of five models: {1000 * parts.score:.1f} ms",
        f"- the driver, for a member and generation: {1000 * parts.driver:.2f} ms; all of a task's way through Ray: "
        f"{1000 * parts.dispatch:.1f} ms",
        f"- MLflow, for a member and generation: {1000 * parts.track:.1f} ms",
    ]
    if parts.step is not None:
        rate = REPLICAS * STEP_BATCH / parts.step
        found.append(f"- training at 64x64, one channel, on one thread: {rate:,.0f} image passes/s")
    return found


def _table(costs: Budget, parts: Parts, rate: int) -> list[str]:
    lines = [
        f"At {rate:,} image passes a second on each GPU:",
        "",
        "| GPUs | X-run | leaf rounds | final | all | GPU hours | GPUs train | limit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for gpus in GPUS:
        each = [cost_of(part, parts, gpus, rate, _replicas(part)) for part in costs.parts]
        whole = each[0] + each[1] + each[2]
        cells = [*(_duration(one.hours) for one in (*each, whole)), f"{whole.hours * gpus:,.0f}"]
        share = f"{100 * whole.busy / whole.hours:.0f} %"
        lines.append(f"| {gpus} | {' | '.join(cells)} | {share} | {whole.limit} |")
    return [*lines, ""]


def _replicas(part: RoundBudget) -> int:
    """Return how many models a member has: one in the final round."""
    return 1 if part.name.startswith("final") else REPLICAS


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} d"
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _measure(case: Json, wanted: Callable[[str], bool]) -> float:
    measures: Sequence[Json] = case["measures"]
    return float(next(one["value"] for one in measures if wanted(one["name"])))
