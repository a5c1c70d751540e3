"""A slot: the thin Tune trial that carries a cohort of members through the generations.

It trains nothing itself, imports no torch, and holds no result: a slot that dies loses nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import PlacementGroupFactory, Trainable

from pbt_disent.tune.messages import Part

if TYPE_CHECKING:
    from pbt_disent.tune.board import Next

__all__ = ["SLOT_CPUS", "Slot"]

SLOT_CPUS = 0.001
PATIENCE_SECONDS = 30.0
ANSWER_SECONDS = 60.0


class Slot(Trainable):
    """Asks the board, hands to the pool, waits, reports; again and again until the board says stop.

    It plays parts of several populations side by side, and reports each when that is done.

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
        self._playing: dict[tuple[int, int], Any] = {}
        self._finished: list[tuple[int, int]] = []
        self._asked: Any = None

    def step(self) -> dict[str, Any]:
        """Play until a part is done and report it; `done` is the answer to the plan ``stop`` alone."""
        while True:
            self._asked = self._asked or self._ask()
            for place, running in self._ready().items():
                del self._playing[place]
                ray.get(running)
                self._finished.append(place)
                return {"tick": place[0], "part": place[1], "done": False}
            answer = self._answer()
            if answer == "stop":
                return {"done": True}
            if isinstance(answer, Part):
                self._playing[answer.place] = self._pool.run.remote(answer.tick, answer.jobs)

    def _ask(self) -> Any:
        finished, self._finished = tuple(self._finished), []
        self._deadline = time.monotonic() + PATIENCE_SECONDS + ANSWER_SECONDS
        return self._board.next.remote(self._slot, self._incarnation, finished, tuple(self._playing), PATIENCE_SECONDS)

    def _ready(self) -> dict[tuple[int, int], Any]:
        """Wait until a part is done or the board has answered, and return the parts that are done."""
        left = max(self._deadline - time.monotonic(), 0)
        ready, _ = ray.wait([self._asked, *self._playing.values()], timeout=left)
        return {place: running for place, running in self._playing.items() if running in ready}

    def _answer(self) -> Next | None:
        """Return what the board has answered, if it has; raises if it is silent for too long."""
        if not ray.wait([self._asked], timeout=0)[0] and time.monotonic() < self._deadline:
            return None
        answer: Next = ray.get(self._asked, timeout=0)
        self._asked = None
        return answer
