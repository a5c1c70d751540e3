"""Ray Tune's own PopulationBasedTraining on work that only takes time.

It is set up as well as its documentation allows: the class API with `reset_config`, actors reused, one reported
iteration per perturbation, small checkpoints on the local disk.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, pbt

from pbt_disent.config import ResourcesConfig
from pbt_disent.tune.cluster import private_cluster, private_folder
from pbt_disent.tune.resources import allocate_machine

__all__ = ["run_tune_pbt", "time_tune_decision"]

QUANTILE = 0.25


class _Sleeper(tune.Trainable):
    """A member that trains by sleeping; its score is its rate."""

    def setup(self, config: dict[str, Any]) -> None:
        self._config = config

    def step(self) -> dict[str, float]:
        time.sleep(self._config["seconds"])
        return {"score": float(self._config["rate"])}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "state").write_text(str(self._config["rate"]), encoding="utf-8")

    def load_checkpoint(self, checkpoint: Any) -> None:
        (Path(checkpoint) / "state").read_text(encoding="utf-8")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = new_config
        return True


class _ReportTimes(tune.Callback):
    """Records when each member has reported each generation."""

    def __init__(self) -> None:
        self.reports: dict[int, list[float]] = {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.reports.setdefault(result["training_iteration"], []).append(time.monotonic())


def run_tune_pbt(members: int, generations: int, seconds: float, *, workers: int, synchronous: bool) -> list[float]:
    """Run a population and return when the last member had finished each generation.

    Args:
        members: The number of members.
        generations: The number of generations.
        seconds: The seconds that each member sleeps in each generation.
        workers: The number of CPUs; each member needs one while it trains.
        synchronous: Whether members wait for each other at the end of a generation.

    Raises:
        UserError: There are not so many CPUs.
    """
    scheduler = _scheduler(synchronous)
    times = _ReportTimes()
    allocation = allocate_machine(ResourcesConfig(cpus=workers, gpus=0), 1)
    with private_folder() as folder, private_cluster(allocation, "plain-pbt", folder):
        tune.Tuner(
            tune.with_resources(_Sleeper, {"cpu": 1}),
            param_space={"rate": tune.loguniform(0.01, 100.0), "seconds": seconds},
            tune_config=tune.TuneConfig(scheduler=scheduler, num_samples=members, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(folder / "tune"),
                stop={"training_iteration": generations},
                callbacks=[times],
                verbose=0,
            ),
        ).fit()
    reached = [sorted(times.reports.get(generation, [])) for generation in range(1, generations + 1)]
    return [times[members - 1] for times in reached if len(times) >= members]


def time_tune_decision(members: int) -> float:
    """Return the seconds that the synchronous scheduler takes to receive one generation's results and to decide.

    The members are stand-ins without checkpoints, so that it decides who is to be replaced, and copies nothing.
    """
    scheduler = _scheduler(synchronous=True)
    trials = [_TrialStub() for _ in range(members)]
    controller: Any = SimpleNamespace(
        search_alg=None,
        get_trials=lambda: trials,
        get_live_trials=lambda: trials,
        _schedule_trial_save=lambda trial, result: None,
    )
    for trial in trials:
        scheduler.on_trial_add(controller, trial)  # type: ignore[arg-type]
    with _without_logging():
        start = time.perf_counter()
        for number, trial in enumerate(trials):
            result = {"training_iteration": 1, "score": float(number * 7919 % members)}
            scheduler.on_trial_result(controller, trial, result)  # type: ignore[arg-type]
        return time.perf_counter() - start


@contextlib.contextmanager
def _without_logging() -> Iterator[None]:
    """Suppress what the scheduler would log about every member that it does not copy."""
    logger = logging.getLogger(pbt.__name__)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _TrialStub:
    """A trial with the attributes that the scheduler reads."""

    def __init__(self) -> None:
        self.config = {"rate": 1.0}
        self.evaluated_params = dict(self.config)
        self.experiment_tag = ""
        self.status = Trial.RUNNING
        self.run_metadata = SimpleNamespace(
            checkpoint_manager=SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None))
        )

    def is_finished(self) -> bool:
        return False


def _scheduler(synchronous: bool) -> PopulationBasedTraining:
    return PopulationBasedTraining(
        time_attr="training_iteration",
        metric="score",
        mode="max",
        perturbation_interval=1,
        quantile_fraction=QUANTILE,
        hyperparam_mutations={"rate": tune.loguniform(0.01, 100.0)},
        synch=synchronous,
        log_config=False,
    )
