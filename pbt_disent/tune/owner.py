"""The thread that owns Ray: starts it, plays the Tune experiment on it, and takes all of it down again."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune import Tuner
from ray.tune.error import TuneError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pbt_disent.config import ImagesPlace
from pbt_disent.errors import PbtDisentError
from pbt_disent.tune.board import POSTING, Board
from pbt_disent.tune.capacity import Capacity, NodeResources
from pbt_disent.tune.cluster import private_cluster, private_folder
from pbt_disent.tune.images import share_images
from pbt_disent.tune.link import Connection, Link
from pbt_disent.tune.nodes import Growth
from pbt_disent.tune.pool import Pool
from pbt_disent.tune.reaper import reap
from pbt_disent.tune.scheduler import Barrier, GenerationScheduler, SlotWatch
from pbt_disent.tune.slots import Slot
from pbt_disent.tune.worker import Hiring

__all__ = ["Joined", "Owner"]

INCARNATIONS = 4
SLOT_FAILURES = 3
ANSWER_SECONDS = 30.0
CLOSE_SECONDS = 4.0


@dataclasses.dataclass(frozen=True)
class Joined:
    """A Ray that this process is connected to already.

    Args:
        folder: for Tune's files, seen by all nodes.
        workers: says how many workers find a place on given nodes.
    """

    folder: Path
    workers: Callable[[Sequence[NodeResources]], int]


class Owner(threading.Thread):
    """Owns the Ray of one run from `start` to `close`.

    Args:
        link: gets each connection, or the error that ends it all.
        run_name: names the actors.
        capacity: what may be taken of the machine.
        slots: how many slots play.
        at_once: workers that are started before there is work for them.
        hiring: starts a worker.
        images: where workers find the images.
        joined: where a Ray was joined that is not ours to start and to end; none starts one.
    """

    def __init__(
        self,
        link: Link,
        run_name: str,
        capacity: Capacity,
        slots: int,
        at_once: int,
        hiring: Hiring,
        images: ImagesPlace = "auto",
        joined: Joined | None = None,
    ) -> None:
        super().__init__(name="ray-owner", daemon=True)
        self._link = link
        self._run_name = run_name
        self._capacity = capacity
        self._slots = slots
        self._at_once = at_once
        self._hiring = hiring
        self._images = images
        self._joined = joined
        self._closing = threading.Event()
        self._connection: Connection | None = None
        self._folder: Path | None = None

    def run(self) -> None:
        """Live: Ray up, one Tune experiment after the other as long as they are lost, Ray down."""
        try:
            with self._ray() as folder:
                try:
                    if not self._closing.is_set():
                        self._incarnate(folder)
                except Exception as error:
                    self._link.fail(_named(error, "the run's Tune experiment failed"))
                self._closing.wait()
        except Exception as error:  # the thread's boundary: whoever waits for a connection must hear of it
            self._link.fail(_named(error, "Ray did not start"))

    @contextlib.contextmanager
    def _ray(self) -> Iterator[Path]:
        """Have a Ray, and a folder for Tune's files; `_folder` is only set where all processes that use it are ours."""
        if self._joined is not None:
            yield self._joined.folder
            return
        with private_folder() as self._folder, private_cluster(self._capacity, self._run_name, self._folder):
            yield self._folder

    def close(self) -> None:
        """End everything; returns within seconds, whatever is going on."""
        self._closing.set()
        if (connection := self._connection) is not None and self.is_alive():
            with contextlib.suppress(RayError):
                connection.pool.cancel.remote()
                connection.board.stop.remote()
        self.join(CLOSE_SECONDS)
        if (connection := self._connection) is not None:  # else Ray is still starting, and hears nothing
            connection.watch.abandon()
            self.join(CLOSE_SECONDS)
        if self.is_alive() and self._folder is not None:
            reap(self._folder, 0.0)

    def _incarnate(self, folder: Path) -> None:
        shared = share_images(self._hiring.context.images, self._images)
        hiring = dataclasses.replace(self._hiring, images=shared)
        for incarnation in range(1, INCARNATIONS + 1):
            connection = self._connection = self._raise_up(incarnation, hiring)
            if self._closing.is_set():
                return
            self._link.offer(connection)
            with self._following(connection):
                problem = self._play(connection, incarnation, folder)
            if self._closing.is_set():
                return
            if connection.watch.hopeless:
                raise PbtDisentError(problem)
            self._link.withdraw(connection, problem)
            for actor in (connection.pool, connection.board):
                ray.kill(actor)
        raise PbtDisentError(f"the run's board, pool or slots were lost {INCARNATIONS} times; {self._link.reason}")

    def _raise_up(self, incarnation: int, hiring: Hiring) -> Connection:
        """Start board and pool on this node, with a first worker: its imports take as long as the slots' start."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        name = f"{self._run_name}/{incarnation}"
        actor: Any = ray.remote  # its annotations know no concurrency groups
        board = (
            actor(concurrency_groups={POSTING: 4})(Board)
            .options(name=f"{name}/board", num_cpus=0, scheduling_strategy=here)
            .remote(self._slots)
        )
        pool = actor(Pool).options(name=f"{name}/pool", num_cpus=0, scheduling_strategy=here).remote(hiring)
        ray.get([board.ready.remote(), pool.allow.remote(1, 1)], timeout=ANSWER_SECONDS)
        limit, at_once = self._capacity.workers, self._at_once
        watch = SlotWatch(self._slots, lambda: pool.allow.remote(limit, at_once), board.retire.remote)
        return Connection(board, pool, Barrier(), watch)

    @contextlib.contextmanager
    def _following(self, connection: Connection) -> Iterator[None]:
        """Let the pool grow and shrink with a cluster that was joined."""
        if self._joined is None:
            yield
            return
        at_once, pool = self._at_once, connection.pool
        growth = Growth(self._joined.workers, self._capacity.workers, lambda now: pool.allow.remote(now, at_once))
        growth.start()
        try:
            yield
        finally:
            growth.close()

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


def _named(error: Exception, what: str) -> PbtDisentError:
    """Return an error that says in one line what failed; Ray raises bare exceptions when a machine is too busy."""
    if isinstance(error, PbtDisentError):
        return error
    return PbtDisentError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}")
