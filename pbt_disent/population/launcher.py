"""What brings up the workers of a run: executors by name, each with its own options."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pbt_disent.config import ResourcesConfig
from pbt_disent.population.executor import Executor, InProcessExecutor
from pbt_disent.registry import Component, Registry
from pbt_disent.training.tasks import WorkerContext

__all__ = ["LAUNCHERS", "InProcess", "Launcher"]

LAUNCHERS: Registry[type[Launcher]] = Registry("executor", "pbt_disent.population.launcher", "pbt_disent.tune.launcher")

T = TypeVar("T")


class Launcher(Component):
    """Base of all executors that a config can name."""

    def launch(
        self,
        main: Callable[[Executor], T],
        context: WorkerContext,
        resources: ResourcesConfig,
        run_name: str,
        max_population: int,
    ) -> T:
        """Bring up workers, call `main` with their executor, take them down, and return what `main` returned.

        Args:
            main: The engine.
            context: What the workers need to know.
            resources: The section of the config.
            run_name: The name of the run.
            max_population: The number of members of the largest population.
        """
        raise NotImplementedError


@LAUNCHERS.register("in-process")
class InProcess(Launcher):
    """Run everything in this process, one task after another, without Ray."""

    def launch(
        self,
        main: Callable[[Executor], T],
        context: WorkerContext,
        resources: ResourcesConfig,
        run_name: str,
        max_population: int,
    ) -> T:
        """See `Launcher.launch`."""
        return main(InProcessExecutor(context))
