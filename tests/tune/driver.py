"""A driver to be killed: trains one short generation, says so, then one that takes for ever."""

from __future__ import annotations

import sys

from pbt_disent.config import ResourcesConfig
from pbt_disent.population.executor import Executor, Stopped
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.tune.launch import launch
from tests.tune.fakes import FakeTrainer, train_tasks


def main(executor: Executor) -> None:
    executor.train(train_tasks(0, members=3), lambda outcome: None)
    print("READY", flush=True)
    executor.train(train_tasks(1, members=3, sleep=600.0), lambda outcome: None)


if __name__ == "__main__":
    folder = sys.argv[1]
    context = WorkerContext(f"{folder}/blobs", folder)
    try:
        launch(context, ResourcesConfig(cpus=1, gpus=0), "same name", main, 3, max_trials=2, make_trainer=FakeTrainer)
    except Stopped as stopped:
        print(f"STOPPED: {stopped}", flush=True)
