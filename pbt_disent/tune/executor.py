"""The engine's executor on Ray: posts a generation, collects its results, and waits for the reports of the trials."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from pbt_disent.errors import PbtDisentError
from pbt_disent.files import StorageFailed
from pbt_disent.population.executor import ScoreTask, Stopped
from pbt_disent.population.fitness import MemberScore
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TaskKey, TrainOutcome, TrainTask
from pbt_disent.tune.experiment import CurrentExperiment, Experiment
from pbt_disent.tune.messages import Cohort, CollectedResults, PoolStatistics, WorkItem, WorkKind, WorkResult

__all__ = ["RayExecutor", "Stalled", "split_into_cohorts"]

POLL_SECONDS = 0.25
COLLECT_SECONDS = 1.0
EXPERIMENT_ANSWER_SECONDS = 60.0
PICKUP_SECONDS = 120.0
REPORT_SECONDS = 60.0

T = TypeVar("T")


class Stalled(PbtDisentError):
    """Something that takes seconds did not happen; raised instead of waiting for ever."""


class _ExperimentLost(Exception):
    """The experiment is gone, or silent; the work goes on with the next one."""


class RayExecutor:
    """Implements `pbt_disent.population.executor.Executor`; made by `pbt_disent.tune.launch.launch`.

    If the board or the pool dies or falls silent, the unfinished tasks are posted again in the next experiment: tasks
    are pure. Several threads may use it at a time, each for a population of its own; the pool gives each a fair share.

    Args:
        current: Holds the experiment when Ray is up, and another one when that is lost.
        num_trials: The number of trials over which the members are spread.
        workers: The number of tasks that run at a time.
    """

    def __init__(self, current: CurrentExperiment, num_trials: int, workers: int) -> None:
        self._current = current
        self._num_trials = num_trials
        self._workers = workers
        self._generation_numbers = itertools.count()
        self._unreported: dict[int, tuple[Experiment, float]] = {}
        self._stopping = threading.Event()

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        return self._workers

    def train(self, tasks: Sequence[TrainTask], on_done: Callable[[TrainOutcome], None]) -> list[TrainOutcome]:
        """See `Executor.train`."""
        outcomes: dict[TaskKey, TrainOutcome] = {}

        def accept(outcome: TrainOutcome) -> None:
            outcomes[outcome.key] = outcome
            on_done(outcome)

        def train_missing(experiment: Experiment) -> None:
            self._train_generation(experiment, [task for task in tasks if task.key not in outcomes], accept)

        if tasks:
            self._with_experiment(train_missing)
        return [outcomes[task.key] for task in tasks]

    def score(self, task: ScoreTask) -> list[MemberScore]:
        """See `Executor.score`."""
        scores: list[MemberScore] = self._run_single("score", f"score of {task.round}:g{task.generation}", task)
        return scores

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """See `Executor.encode`."""
        outcome: EncodeOutcome = self._run_single("encode", f"encoding with {task.checkpoint[:12]}", task)
        return outcome

    def stop(self) -> None:
        """See `Executor.stop`. Sets a flag and nothing else, so that a signal handler may call it."""
        self._stopping.set()

    def statistics(self) -> tuple[PoolStatistics, dict[int, int]]:
        """Return what the workers have done so far, and how often each trial has started (1 in a healthy run)."""

        def ask(experiment: Experiment) -> tuple[PoolStatistics, dict[int, int]]:
            return (
                self._get(experiment, experiment.pool.statistics.remote()),
                self._get(experiment, experiment.board.incarnations.remote()),
            )

        return self._with_experiment(ask)

    def _train_generation(
        self, experiment: Experiment, tasks: Sequence[TrainTask], accept: Callable[[TrainOutcome], None]
    ) -> None:
        """Train one generation: post it, and accept the results as they come.

        The trials' reports follow while the generation is scored and committed; one that does not is noticed later.
        """
        self._close_reported(experiment)
        generation = next(self._generation_numbers)
        cohorts = split_into_cohorts(generation, tasks, self._num_trials)
        keys = {str(task.key): task.key for task in tasks}
        experiment.barrier.open(generation, len(cohorts))
        posted = experiment.board.post.remote(cohorts)
        start, num_received = time.monotonic(), 0
        while num_received < len(tasks):
            reference = experiment.pool.collect.remote(generation, num_received, len(tasks), COLLECT_SECONDS)
            collected: CollectedResults = self._get(experiment, reference)
            for result in collected.results:
                accept(_train_outcome(keys[result.key], result))
            num_received += len(collected.results)
            if collected.error is not None:
                raise collected.error
            if collected.num_submitted < len(tasks):
                self._get(experiment, posted)
                if time.monotonic() - start > PICKUP_SECONDS:
                    missing = f"{len(tasks) - collected.num_submitted} of {len(tasks)} tasks"
                    raise Stalled(f"the trials did not pick up {missing} within {PICKUP_SECONDS:.0f} s")
        self._unreported[generation] = experiment, time.monotonic()

    def _close_reported(self, current: Experiment) -> None:
        """Let the pool forget the generations that all trials have reported.

        Raises:
            Stalled: One was not reported for long.
        """
        for generation, (experiment, end) in list(self._unreported.items()):
            missing = experiment.barrier.wait(generation, 0) if experiment is current else set()
            if missing and time.monotonic() - end > REPORT_SECONDS:
                raise Stalled(f"all tasks are done, but their trials have not reported cohorts {sorted(missing)}")
            if not missing:
                self._unreported.pop(generation, None)
                experiment.pool.close.remote(generation)

    def _run_single(self, kind: WorkKind, key: str, task: ScoreTask | EncodeTask) -> Any:
        """Have one task done that belongs to no generation; an error in it is raised here."""
        item = WorkItem(key, kind, 1.0, pickle.dumps(task))

        def run(experiment: Experiment) -> WorkResult:
            reference: Any = experiment.pool.run_single.remote(item)
            while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
                self._get(experiment, experiment.pool.statistics.remote())
            result: WorkResult = self._get(experiment, reference)
            return result

        result = self._with_experiment(run)
        outcome = pickle.loads(result.payload)
        if not result.ok:
            raise outcome
        return outcome

    def _with_experiment(self, use: Callable[[Experiment], T]) -> T:
        """Use the current experiment; when it is lost, use the next one."""
        while True:
            self._check(None)
            experiment = self._current.wait(POLL_SECONDS)
            if experiment is None:
                continue
            try:
                return use(experiment)
            except (RayError, _ExperimentLost) as error:
                self._current.discard(experiment, str(error).strip().splitlines()[0] if str(error) else "it is gone")
                experiment.monitor.request_end()

    def _get(self, experiment: Experiment, reference: Any) -> Any:
        """Wait for an answer of the board or the pool without being deaf to `stop`; neither may be silent for long."""
        deadline = time.monotonic() + EXPERIMENT_ANSWER_SECONDS
        while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
            self._check(experiment)
            if time.monotonic() > deadline:
                raise _ExperimentLost(f"the run's board or pool gave no answer for {EXPERIMENT_ANSWER_SECONDS:.0f} s")
        self._check(experiment)
        return ray.get(reference)

    def _check(self, experiment: Experiment | None) -> None:
        if self._stopping.is_set():
            raise Stopped("the run was asked to stop")
        if experiment is not None and not self._current.is_current(experiment):
            raise _ExperimentLost


def split_into_cohorts(generation: int, tasks: Sequence[TrainTask], num_trials: int) -> list[Cohort]:
    """Spread the members of a generation over the trials, in cohorts whose sizes differ by one at most.

    Args:
        generation: The number of the generation.
        tasks: The tasks of the generation.
        num_trials: The number of trials.

    Returns:
        The cohorts, none of them empty. All tasks of a member are in the same one.
    """
    members = sorted({task.key.member for task in tasks})
    cohorts: list[list[WorkItem]] = [[] for _ in range(min(num_trials, len(members)))]
    cohort_of = {member: position % len(cohorts) for position, member in enumerate(members)}
    for task in tasks:
        weight = float(task.image_passes * len(task.key.replicas))
        cohorts[cohort_of[task.key.member]].append(WorkItem(str(task.key), "train", weight, pickle.dumps(task)))
    return [Cohort(generation, index, tuple(items)) for index, items in enumerate(cohorts)]


def _train_outcome(key: TaskKey, result: WorkResult) -> TrainOutcome:
    content = pickle.loads(result.payload)
    if result.ok:
        outcome: TrainOutcome = content
        return outcome
    if isinstance(content, StorageFailed):
        raise content  # it says nothing about the member, and a generation without it would be another one
    return TrainOutcome(key, "failed", error=str(content))
