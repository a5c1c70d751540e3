"""The Tune experiment of a run, and the thread that starts Ray, runs the experiment on it, and shuts all of it down."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import Tuner
from ray.tune.error import TuneError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pbt_disent.config import ImageStorage
from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.board import CONTROL_GROUP, Board
from pbt_disent.tune.cleanup import end_processes
from pbt_disent.tune.cluster import private_cluster, private_folder
from pbt_disent.tune.nodes import NodeWatcher, share_images
from pbt_disent.tune.pool import WorkerPool
from pbt_disent.tune.resources import Allocation, NodeResources
from pbt_disent.tune.trials import Barrier, CohortTrial, GenerationScheduler, TrialMonitor
from pbt_disent.tune.worker import WorkerFactory

__all__ = ["CurrentExperiment", "Experiment", "ExperimentThread", "JoinedCluster"]

MAX_EXPERIMENTS = 4
MAX_TRIAL_FAILURES = 3
ACTOR_ANSWER_SECONDS = 30.0
CLOSE_SECONDS = 4.0


@dataclass(frozen=True, eq=False)
class Experiment:
    """The parts of a Tune experiment that the executor works with; all of them are replaced together.

    Args:
        board: The handle of the `Board` actor.
        pool: The handle of the `WorkerPool` actor.
        barrier: Where the reports of the trials arrive.
        monitor: The callback that watches the trials.
    """

    board: Any
    pool: Any
    barrier: Barrier
    monitor: TrialMonitor


class CurrentExperiment:
    """Holds the experiment that runs, if any, or the error that ended everything; shared by two threads.

    `ExperimentThread` sets it, and the executor in the engine's thread waits for it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._experiment: Experiment | None = None
        self._error: BaseException | None = None
        self.reason = ""
        """Why the last experiment was lost."""

    def set(self, experiment: Experiment) -> None:
        """Make an experiment the current one."""
        with self._changed:
            self._experiment = experiment
            self._changed.notify_all()

    def discard(self, experiment: Experiment, reason: str) -> None:
        """Give up an experiment that is of no use any more."""
        with self._changed:
            if self._experiment is experiment:
                self._experiment, self.reason = None, reason

    def fail(self, error: BaseException) -> None:
        """Note that no experiment will come any more, and why."""
        with self._changed:
            self._experiment, self._error = None, error
            self._changed.notify_all()

    def is_current(self, experiment: Experiment) -> bool:
        """Return whether an experiment is the current one.

        Raises:
            BaseException: The error that `fail` was called with, if it was.
        """
        if self._error is not None:
            raise self._error
        return self._experiment is experiment

    def wait(self, timeout: float) -> Experiment | None:
        """Return the current experiment, or `None` if there is none after `timeout` seconds.

        Raises:
            BaseException: The error that `fail` was called with, if it was.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._experiment is not None or self._error is not None, timeout=timeout)
            if self._error is not None:
                raise self._error
            return self._experiment


@dataclass(frozen=True)
class JoinedCluster:
    """A Ray that this process is connected to already, and that is not the run's own to start and to end.

    Args:
        tune_folder: The folder for Tune's files.
        count_workers: Returns how many workers find a place on some nodes.
    """

    tune_folder: Path
    count_workers: Callable[[Sequence[NodeResources]], int]


class ExperimentThread(threading.Thread):
    """Owns the Ray of one run from `start` to `close`.

    Args:
        current: Gets each experiment, or the error that ends it all.
        run_name: The name of the run, which names its actors.
        allocation: The resources of the run.
        num_trials: The number of Tune trials.
        initial_workers: The number of workers that are started before there is work for them.
        worker_factory: Starts a worker.
        images: Where workers find the images.
        joined: The Ray that was joined, or `None` to start one.
    """

    def __init__(
        self,
        current: CurrentExperiment,
        run_name: str,
        allocation: Allocation,
        num_trials: int,
        initial_workers: int,
        worker_factory: WorkerFactory,
        images: ImageStorage = "auto",
        joined: JoinedCluster | None = None,
    ) -> None:
        super().__init__(name="ray-experiment", daemon=True)
        self._current = current
        self._run_name = run_name
        self._allocation = allocation
        self._num_trials = num_trials
        self._initial_workers = initial_workers
        self._worker_factory = worker_factory
        self._images = images
        self._joined = joined
        self._closing = threading.Event()
        self._experiment: Experiment | None = None
        self._private_folder: Path | None = None

    def run(self) -> None:
        """Start Ray, run one Tune experiment after the other for as long as they are lost, and shut Ray down."""
        try:
            with self._ray() as folder:
                try:
                    if not self._closing.is_set():
                        self._run_experiments(folder)
                except Exception as error:
                    self._current.fail(_in_one_line(error, "the run's Tune experiment failed"))
                self._closing.wait()
        except Exception as error:  # the thread's boundary: whoever waits for an experiment must hear of it
            self._current.fail(_in_one_line(error, "Ray did not start"))

    def close(self) -> None:
        """End everything; returns within seconds, whatever is going on."""
        self._closing.set()
        if (experiment := self._experiment) is not None and self.is_alive():
            with contextlib.suppress(RayError):
                experiment.pool.shut_down.remote()
                experiment.board.stop.remote()
        self.join(CLOSE_SECONDS)
        if (experiment := self._experiment) is not None:  # else Ray is still starting, and hears nothing
            experiment.monitor.request_end()
            self.join(CLOSE_SECONDS)
        if self.is_alive() and self._private_folder is not None:
            end_processes(self._private_folder, 0.0)

    @contextlib.contextmanager
    def _ray(self) -> Iterator[Path]:
        """Start a private Ray, unless one was joined, and give a folder for Tune's files.

        `_private_folder` is only set where all processes that use it belong to the run.
        """
        if self._joined is not None:
            yield self._joined.tune_folder
            return
        with private_folder() as folder:
            self._private_folder = folder
            with private_cluster(self._allocation, self._run_name, folder):
                yield folder

    def _run_experiments(self, folder: Path) -> None:
        shared = share_images(self._worker_factory.context.images_dir, self._images)
        worker_factory = replace(self._worker_factory, images=shared)
        for number in range(1, MAX_EXPERIMENTS + 1):
            name = f"{self._run_name}/{number}"
            experiment = self._experiment = self._start_actors(name, worker_factory)
            if self._closing.is_set():
                return
            self._current.set(experiment)
            with self._resizing(experiment):
                reason = self._run_tune(experiment, name, number, folder)
            if self._closing.is_set():
                return
            if experiment.monitor.is_unplaceable:
                raise PbtDisentError(reason)
            self._current.discard(experiment, reason)
            for actor in (experiment.pool, experiment.board):
                ray.kill(actor)
        raise PbtDisentError(
            f"the run's board, pool or trials were lost {MAX_EXPERIMENTS} times; {self._current.reason}"
        )

    def _start_actors(self, name: str, worker_factory: WorkerFactory) -> Experiment:
        """Start board and pool on this node, with a first worker: its imports take as long as the trials' start."""
        this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        remote: Any = ray.remote  # its annotations know no concurrency groups
        board = (
            remote(concurrency_groups={CONTROL_GROUP: 4})(Board)
            .options(name=f"{name}/board", num_cpus=0, scheduling_strategy=this_node)
            .remote(self._num_trials)
        )
        pool = (
            remote(WorkerPool)
            .options(name=f"{name}/pool", num_cpus=0, scheduling_strategy=this_node)
            .remote(worker_factory)
        )
        ray.get([board.bind.remote(), pool.resize.remote(1, 1)], timeout=ACTOR_ANSWER_SECONDS)
        max_workers, min_workers = self._allocation.workers, self._initial_workers
        monitor = TrialMonitor(
            self._num_trials, lambda: pool.resize.remote(max_workers, min_workers), board.remove.remote
        )
        return Experiment(board, pool, Barrier(), monitor)

    @contextlib.contextmanager
    def _resizing(self, experiment: Experiment) -> Iterator[None]:
        """Let the pool grow and shrink with a cluster that was joined."""
        if self._joined is None:
            yield
            return
        pool, min_workers = experiment.pool, self._initial_workers
        watcher = NodeWatcher(
            self._joined.count_workers,
            self._allocation.workers,
            lambda max_workers: pool.resize.remote(max_workers, min_workers),
        )
        watcher.start()
        try:
            yield
        finally:
            watcher.close()

    def _run_tune(self, experiment: Experiment, name: str, number: int, folder: Path) -> str:
        """Run the Tune experiment to its end, and return why it ended."""
        tuner = Tuner(
            CohortTrial,
            param_space={
                "trial": tune.grid_search(list(range(self._num_trials))),
                "board": f"{name}/board",
                "pool": f"{name}/pool",
            },
            tune_config=tune.TuneConfig(scheduler=GenerationScheduler(experiment.barrier)),
            run_config=tune.RunConfig(
                name=f"trials-{number}",
                storage_path=str(folder / "tune"),
                failure_config=tune.FailureConfig(max_failures=MAX_TRIAL_FAILURES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[experiment.monitor],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except (TuneError, PbtDisentError) as error:
            return str(experiment.monitor.error or error)
        return "the trials ended by themselves"


def _in_one_line(error: Exception, failure: str) -> PbtDisentError:
    """Return an error that says in one line what failed; Ray raises bare exceptions when a machine is too busy."""
    if isinstance(error, PbtDisentError):
        return error
    return PbtDisentError(f"{failure}: {' '.join(str(error).split()) or type(error).__name__}")
