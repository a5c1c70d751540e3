"""How a generation's time grows with the nodes of a cluster, when its work grows with them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, pairwise

import numpy as np

from benchmarks.case import CASES, Case, Disagreement, Goal, Grower, Growth, Measure, Setting

__all__ = ["prepare"]

MEMBERS = 4
"""For each node."""


def prepare(setting: Setting) -> Growth:
    """1 to 8 simulated nodes of one CPU each and four sleeping members for each of them, within one run that they join.

    A generation should take as long as one node's share of it sleeps, however many nodes there are.
    """
    sizes, seconds = setting.pick((1, 2, 4, 8), (1, 4), (1, 2)), setting.pick(1.0, 0.3, 0.05)
    generations = setting.pick(3, 3, 2)
    ideal = MEMBERS * seconds
    played: dict[int, list[float]] = {}

    def ours(nodes: int) -> float:
        if nodes not in played:
            played.update(dict(zip(sizes, _play(setting, sizes, generations, seconds), strict=True)))
        return float(np.median(played.pop(nodes)))

    def agree() -> str:
        played.update(dict(zip(sizes, _play(setting, sizes, generations, seconds), strict=True)))
        for nodes, costs in played.items():
            if len(costs) != generations - 1:
                raise Disagreement(f"not every member was trained in {generations} generations on {nodes} nodes")
            if min(costs) < 0.95 * ideal:
                raise Disagreement(f"{ideal:g} s of sleep for each of {nodes} nodes took {min(costs):.2f} s")
        return "every member is trained in every generation, with a worker on each node"

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        most = sizes[-1]
        return [Measure(f"of the workers' time is work, {most} nodes", 100 * ideal / medians[most], "%", Goal(95))]

    return Growth("nodes", sizes, 0, Grower("pbt-disent", ours), agree, 1, measures=measures)


def _play(setting: Setting, sizes: Sequence[int], generations: int, seconds: float) -> list[list[float]]:
    """Play in one run on ever more nodes; return for each number of nodes what its generations took."""
    from benchmarks.nodes import play_on_nodes
    from benchmarks.simulated import SleepingTrainer, play_population
    from pbt_disent.population.executor import Executor
    from pbt_disent.training.tasks import WorkerContext

    base = setting.folder / f"session-{len(list(setting.folder.iterdir()))}"
    base.mkdir()
    numbers = count()

    def population(executor: Executor, nodes: int, generations: int, seconds: float) -> Sequence[float]:
        folder = base / f"population-{next(numbers)}"
        return play_population(folder, executor, MEMBERS * nodes, generations, seconds, blobs=base / "blobs")

    def warm_up(executor: Executor, nodes: int) -> None:
        population(executor, nodes, 1, 0.05)

    def play(executor: Executor, nodes: int) -> list[float]:
        return [after - before for before, after in pairwise(population(executor, nodes, generations, seconds))]

    context = WorkerContext(str(base / "blobs"), str(base), "none")
    return play_on_nodes(sizes, warm_up, play, context, SleepingTrainer, MEMBERS * sizes[-1])


CASES.register("grow-nodes")(
    Case(
        "a generation on simulated nodes: against none that grows with nodes and their share of work",
        prepare,
        most_sessions=3,
    )
)
