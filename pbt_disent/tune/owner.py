"""The thread that owns Ray: starts it, plays the Tune experiment on it, and takes all of it down again."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import Tuner
from ray.tune.error import TuneError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.board import POSTING, Board
from pbt_disent.tune.capacity import Capacity
from pbt_disent.tune.cluster import private_cluster, private_folder
from pbt_disent.tune.link import Connection, Link
from pbt_disent.tune.pool import Pool
from pbt_disent.tune.reaper import reap
from pbt_disent.tune.scheduler import Barrier, GenerationScheduler, SlotWatch
from pbt_disent.tune.slots import Slot
from pbt_disent.tune.worker import Hiring

__all__ = ["Owner"]

INCARNATIONS = 4
SLOT_FAILURES = 3
ANSWER_SECONDS = 30.0
CLOSE_SECONDS = 4.0


class Owner(threading.Thread):
    """Owns the Ray of one run from `start` to `close`.

    Args:
        link: gets each connection, or the error that ends it all.
        run_name: names the actors.
        capacity: what may be taken of the machine.
        slots: how many slots play.
        at_once: workers that are started before there is work for them.
        hiring: starts a worker.
    """

    def __init__(self, link: Link, run_name: str, capacity: Capacity, slots: int, at_once: int, hiring: Hiring) -> None:
        super().__init__(name="ray-owner", daemon=True)
        self._link = link
        self._run_name = run_name
        self._capacity = capacity
        self._slots = slots
        self._at_once = at_once
        self._hiring = hiring
        self._closing = threading.Event()
        self._connection: Connection | None = None
        self._folder: Path | None = None

    def run(self) -> None:
        """Live: Ray up, one Tune experiment after the other as long as they are lost, Ray down."""
        try:
            with private_folder() as self._folder, private_cluster(self._capacity, self._run_name, self._folder):
                try:
                    if not self._closing.is_set():
                        self._incarnate(self._folder)
                except Exception as error:
                    self._link.fail(error)
                self._closing.wait()
        except Exception as error:  # the thread's boundary: whoever waits for a connection must hear of it
            self._link.fail(error)

    def close(self) -> None:
        """End everything; returns within seconds, whatever is going on."""
        self._closing.set()
        if (connection := self._connection) is not None and self.is_alive():
            with contextlib.suppress(RayError):
                connection.pool.cancel.remote()
                connection.board.stop.remote()
        self.join(CLOSE_SECONDS)
        if (connection := self._connection) is not None:
            connection.watch.abandon()
        self.join(CLOSE_SECONDS)
        if self.is_alive() and self._folder is not None:
            reap(self._folder, 0.0)

    def _incarnate(self, folder: Path) -> None:
        for incarnation in range(1, INCARNATIONS + 1):
            connection = self._connection = self._raise_up(incarnation)
            if self._closing.is_set():
                return
            self._link.offer(connection)
            problem = self._play(connection, incarnation, folder)
            if self._closing.is_set():
                return
            if connection.watch.hopeless:
                raise PbtDisentError(problem)
            self._link.withdraw(connection, problem)
            for actor in (connection.pool, connection.board):
                ray.kill(actor)
        raise PbtDisentError(f"the run's board, pool or slots were lost {INCARNATIONS} times; {self._link.reason}")

    def _raise_up(self, incarnation: int) -> Connection:
        """Start board and pool on this node, with a first worker: its imports take as long as the slots' start."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        name = f"{self._run_name}/{incarnation}"
        actor: Any = ray.remote  # its annotations know no concurrency groups
        board = (
            actor(concurrency_groups={POSTING: 4})(Board)
            .options(name=f"{name}/board", num_cpus=0, scheduling_strategy=here)
            .remote(self._slots)
        )
        pool = actor(Pool).options(name=f"{name}/pool", num_cpus=0, scheduling_strategy=here).remote(self._hiring)
        ray.get([board.ready.remote(), pool.allow.remote(1, 1)], timeout=ANSWER_SECONDS)
        limit, at_once = self._capacity.workers, self._at_once
        watch = SlotWatch(self._slots, lambda: pool.allow.remote(limit, at_once), board.retire.remote)
        return Connection(board, pool, Barrier(), watch)

    def _play(self, connection: Connection, incarnation: int, folder: Path) -> str:
        """Run the Tune experiment to its end, and say why it ended."""
        name = f"{self._run_name}/{incarnation}"
        tuner = Tuner(
            Slot,
            param_space={
                "slot": tune.grid_search(list(range(self._slots))),
                "board": f"{name}/board",
                "pool": f"{name}/pool",
            },
            tune_config=tune.TuneConfig(scheduler=GenerationScheduler(connection.barrier)),
            run_config=tune.RunConfig(
                name=f"slots-{incarnation}",
                storage_path=str(folder / "tune"),
                failure_config=tune.FailureConfig(max_failures=SLOT_FAILURES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[connection.watch],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except (TuneError, PbtDisentError) as error:
            return str(connection.watch.error or error)
        return "the slots ended by themselves"
