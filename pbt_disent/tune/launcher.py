"""Ray as the executor of a run. Ray itself is imported when a run starts, not when a config is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import Field

from pbt_disent.config import ResourcesConfig
from pbt_disent.population.executor import LAUNCHERS, Executor, Launcher
from pbt_disent.training.tasks import WorkerContext

__all__ = ["RayLauncher"]

T = TypeVar("T")


@LAUNCHERS.register("ray")
class RayLauncher(Launcher):
    """Run tasks in Ray workers, on this machine or on a cluster that is joined, as a Ray Tune experiment."""

    trials: int = Field(
        8, ge=1, le=8, description="The number of Tune trials, at most; each carries an equal share of the members."
    )

    def launch(
        self,
        main: Callable[[Executor], T],
        context: WorkerContext,
        resources: ResourcesConfig,
        run_name: str,
        max_population: int,
    ) -> T:
        """See `Launcher.launch`; see `pbt_disent.tune.launch.launch` for what it raises."""
        from pbt_disent.tune.launch import launch

        return launch(context, resources, run_name, main, max_population, max_trials=self.trials)
