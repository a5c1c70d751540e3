"""A slot: the thin Tune trial that carries a cohort of members through the generations.

It trains nothing itself, imports no torch, and holds no result: a slot that dies loses nothing.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.tune import PlacementGroupFactory, Trainable

from pbt_disent.tune.messages import Part

__all__ = ["SLOT_CPUS", "Slot"]

SLOT_CPUS = 0.001
PATIENCE_SECONDS = 30.0
ANSWER_SECONDS = 60.0


class Slot(Trainable):
    """Asks the board, hands to the pool, waits, reports; again and again until the board says stop.

    Its Tune config names its number (`slot`) and the actors (`board`, `pool`).
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Ask for a thousandth of a CPU."""
        return PlacementGroupFactory([{"CPU": SLOT_CPUS}])

    def setup(self, config: dict[str, Any]) -> None:
        """Find the board and the pool; a slot that was restarted gets a new incarnation."""
        self._slot: int = config["slot"]
        self._board: Any = ray.get_actor(config["board"])
        self._pool: Any = ray.get_actor(config["pool"])
        entered: Any = self._board.enter.remote(self._slot)
        self._incarnation: int = ray.get(entered, timeout=ANSWER_SECONDS)
        self._finished: tuple[int, int] | None = None

    def step(self) -> dict[str, Any]:
        """Play one part of a tick and report it; `done` is the answer to the plan ``stop`` alone."""
        part = self._next()
        if part is None:
            return {"done": True}
        running: Any = self._pool.run.remote(part.tick, part.jobs)
        while not ray.wait([running], timeout=PATIENCE_SECONDS)[0]:
            pass
        ray.get(running)
        self._finished = (part.tick, part.part)
        return {"tick": part.tick, "part": part.part, "done": False}

    def _next(self) -> Part | None:
        while True:
            asked: Any = self._board.next.remote(self._slot, self._incarnation, self._finished, PATIENCE_SECONDS)
            answer = ray.get(asked, timeout=PATIENCE_SECONDS + ANSWER_SECONDS)
            if isinstance(answer, Part):
                return answer
            if answer == "stop":
                return None
