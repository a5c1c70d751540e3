"""A generation of the engine on Ray, with simulated work and with none, beside Tune's own PBT."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count, pairwise

from benchmarks.case import CASES, Case, Computed, Contest, Disagreement, Goal, Measure, Setting, Side

__all__ = ["prepare"]

OURS = "pbt-disent"
MEMBERS, WORKERS = 8, 2
POLL, AFTER = 20.0, 1.0
"""Seconds: how often the reference asks whether a generation has ended, and how long it then waits."""

_sessions = count()


def prepare(work: float, setting: Setting) -> Contest:
    """8 members on 2 workers; a cost is the time from one generation's end to the next, so starting up is left out.

    Both sides sleep where a member would train, write a small checkpoint, and replace a quarter of the members. Each
    session checks that every member has trained in every generation.

    Args:
        work: seconds that a member trains in a generation.
        setting: of the case.
    """
    from pbt_disent.machine import usable_cpus

    members, workers = setting.pick(MEMBERS, MEMBERS, 3), min(WORKERS, usable_cpus())
    seconds = setting.pick(work, work / 2, min(work, 0.05))
    ideal = members * seconds / workers
    mine, theirs = setting.pick((3, 3), (3, 3), (3, 2)) if work else setting.pick((21, 4), (21, 4), (4, 2))

    def ours() -> Sequence[float]:
        return _costs(_play(setting, members, workers, mine, seconds), mine, ideal)

    def plain(synchronous: bool) -> Sequence[float]:
        from benchmarks.peers.tune_pbt import play_plain_pbt

        ends = play_plain_pbt(members, theirs, seconds, workers=workers, synchronous=synchronous)
        return _costs(ends, theirs, ideal if synchronous else 0.0)

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        if not work:
            return [Measure("of a generation", 1000 * medians[OURS], "ms", Goal(40, at_most=True))]
        return [Measure("of the workers' time is work", 100 * ideal / medians[OURS], "%", Goal(95))]

    peers: list[Side | Computed] = [Side("Tune's PBT, synchronous", partial(plain, True))]
    if setting.size == "full":
        peers.append(Side("Tune's PBT, asynchronous", partial(plain, False)))
    if work:
        noticed = POLL * math.ceil(ideal / POLL) + AFTER
        how = f"{ideal:g} s of work, noticed at the next of its looks, each {POLL:g} s, and {AFTER:g} s of waiting"
        peers.append(Computed("20 s polling, as the reference does", noticed, how))
    said = "every session checks that each member trains in each generation"
    return Contest(Side(OURS, ours), peers, lambda: said, 1, measures=measures)


def _play(setting: Setting, members: int, workers: int, generations: int, seconds: float) -> Sequence[float]:
    """Play a population on a Ray of its own and return when its generations ended."""
    from benchmarks.simulated import SleepingTrainer, play_population
    from pbt_disent.config import ResourcesConfig
    from pbt_disent.population.executor import Executor
    from pbt_disent.training.tasks import WorkerContext
    from pbt_disent.tune.launch import launch

    folder = setting.folder / f"session-{next(_sessions)}"
    context = WorkerContext(str(folder / "blobs"), str(folder), "none")

    def main(executor: Executor) -> Sequence[float]:
        return play_population(folder, executor, members, generations, seconds)

    resources = ResourcesConfig(cpus=workers, gpus=0)
    return launch(context, resources, "bench", main, members, make_trainer=SleepingTrainer)


def _costs(ends: Sequence[float], generations: int, ideal: float) -> Sequence[float]:
    """Return the seconds of each generation but the first.

    Raises:
        Disagreement: a generation is missing, or took less time than its work.
    """
    if len(ends) != generations:
        raise Disagreement(f"{len(ends)} of {generations} generations were trained by every member")
    costs = [after - before for before, after in pairwise(ends)]
    if sum(costs) < 0.95 * ideal * len(costs):
        raise Disagreement(f"generations of {ideal:g} s took {costs}")
    return costs


CASES.register("generation")(
    Case("a PBT generation of 8 members on 2 workers: against Tune's own PBT", partial(prepare, 1.0))
)
CASES.register("empty-generation")(
    Case("a PBT generation of 8 members without work: against Tune's own PBT", partial(prepare, 0.0))
)
