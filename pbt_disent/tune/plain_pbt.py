"""Tune's own PopulationBasedTraining on work that only takes time: what the benchmark times the engine against.

It is set up as well as its documentation allows: the class API with `reset_config`, actors reused, one reported
iteration per perturbation, small checkpoints on the local disk.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from pbt_disent.config import ResourcesConfig
from pbt_disent.tune.capacity import plan_capacity
from pbt_disent.tune.cluster import private_cluster, private_folder

__all__ = ["play_plain_pbt"]

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


class _Ticks(tune.Callback):
    """Notes when each member has reported each generation."""

    def __init__(self) -> None:
        self.reports: dict[int, list[float]] = {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self.reports.setdefault(result["training_iteration"], []).append(time.monotonic())


def play_plain_pbt(members: int, generations: int, seconds: float, *, workers: int, synchronous: bool) -> list[float]:
    """Run a population and return when the last member had finished each generation.

    Args:
        members: of the population.
        generations: of it.
        seconds: that each member trains in each generation.
        workers: CPUs; each member needs one while it trains.
        synchronous: whether members wait for each other at the end of a generation.

    Raises:
        UserError: there are not so many CPUs.
    """
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="score",
        mode="max",
        perturbation_interval=1,
        quantile_fraction=QUANTILE,
        hyperparam_mutations={"rate": tune.loguniform(0.01, 100.0)},
        synch=synchronous,
        log_config=False,
    )
    ticks = _Ticks()
    capacity = plan_capacity(ResourcesConfig(cpus=workers, gpus=0), 1)
    with private_folder() as folder, private_cluster(capacity, "plain-pbt", folder):
        tune.Tuner(
            tune.with_resources(_Sleeper, {"cpu": 1}),
            param_space={"rate": tune.loguniform(0.01, 100.0), "seconds": seconds},
            tune_config=tune.TuneConfig(scheduler=scheduler, num_samples=members, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(folder / "tune"),
                stop={"training_iteration": generations},
                callbacks=[ticks],
                verbose=0,
            ),
        ).fit()
    reached = [sorted(ticks.reports.get(generation, [])) for generation in range(1, generations + 1)]
    return [times[members - 1] for times in reached if len(times) >= members]
