"""A driver that joins a cluster and trains the small population on it; prints each phase, and how it ended."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pbt_disent.config import ResourcesConfig
from pbt_disent.errors import PbtDisentError
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Event, Phase, TaskDone
from pbt_disent.population.executor import Executor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.recovery import RecoveringExecutor
from pbt_disent.store.lease import Lease
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import TrainOutcome, TrainTask, WorkerContext
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.launch import launch
from tests.faults.small_population import small_spec
from tests.training.bench import make_bench

BEGUN = "begun"
FINISHED = "finished."


class MarkingTrainer(Trainer):
    """A trainer whose tasks leave a file when they begin and when they end, and take as long as `slow` says."""

    def __init__(self, context: WorkerContext, *images: object) -> None:
        super().__init__(context, *images)  # type: ignore[arg-type]
        self._place = Path(context.store).parent / BEGUN

    def train(self, task: TrainTask) -> TrainOutcome:
        import ray

        self._place.mkdir(exist_ok=True)
        node = ray.get_runtime_context().get_node_id()
        name = f"{os.getpid()}-{node}-g{task.key.generation}-m{task.key.member}"
        (self._place / name).touch()
        slow = self._place.parent / "slow"
        if slow.exists():
            time.sleep(float(slow.read_text()))
        outcome = super().train(task)
        (self._place / f"{FINISHED}{name}").touch()
        return outcome


class PrintPhases:
    """Prints each phase, and each task that is done."""

    def notify(self, event: Event) -> None:
        if isinstance(event, Phase):
            print(f"{event.name} {event.generation}", flush=True)
        if isinstance(event, TaskDone):
            print(f"task {event.generation}", flush=True)


def main() -> None:
    folder, address, generations = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    bench = make_bench(folder, "betatcvae")
    lease = Lease(folder / "lease.json")
    journal = RoundJournal(folder, bench.blobs, lease)
    spec = small_spec(bench, generations=generations)

    def train(executor: Executor) -> None:
        assert isinstance(executor, RayExecutor)
        kept = RecoveringExecutor(executor, journal, bench.blobs, AppendOnlyLog(folder / "incidents.jsonl"))
        run_population(spec, kept, journal, PrintPhases())
        statistics, trials = executor.statistics()
        print(f"workers {statistics.started} {statistics.lost} trials {sorted(trials.values())}", flush=True)

    try:
        launch(bench.context, ResourcesConfig(address=address), "cluster", train, 3, make_trainer=MarkingTrainer)
    except PbtDisentError as error:
        print(f"error {error}", flush=True)
        sys.exit(error.exit_code)
    finally:
        lease.release()


if __name__ == "__main__":
    main()
