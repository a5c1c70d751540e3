"""The nodes of a cluster that a run joins: what they have, and whether all of them can work on the run."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pbt_disent import __version__
from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import is_uri, open_files
from pbt_disent.tune.capacity import NodeResources

__all__ = ["Growth", "check_nodes", "living_nodes"]

LOOK_SECONDS = 60.0
EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class _Sight:
    """What a node says of itself."""

    version: str
    authenticated: bool
    content: str | None


def living_nodes() -> list[NodeResources]:
    """Return what each living node has."""
    return [node["Resources"] for node in _living()]


def _living() -> list[dict[str, Any]]:
    nodes: Any = ray.nodes  # it has no annotations
    return [node for node in nodes() if node["Alive"]]


def check_nodes(store: str, *, allow_unauthenticated: bool) -> None:
    """See that every node asks for a token, has this package, and reads what this node writes.

    Args:
        store: folder or URI in which all nodes are to read and write.
        allow_unauthenticated: do not mind a cluster without a token.

    Raises:
        UserError: one of them does not.
    """
    files, probe, content = open_files(store), f".probe-{secrets.token_hex(4)}", secrets.token_hex(16)
    files.write(probe, content.encode())
    try:
        for name, sight in _look(store, probe).items():
            if not sight.authenticated and not allow_unauthenticated:
                raise UserError(
                    f"node {name}",
                    "runs Ray without a token, so that whoever reaches its ports runs code as you",
                    "start every node with RAY_AUTH_MODE=token, or say --allow-unauthenticated",
                )
            if sight.version != __version__:
                raise UserError(
                    f"node {name}",
                    f"has pbt-disent {sight.version}, here is {__version__}",
                    "install the same version on all nodes",
                )
            if sight.content != content:
                raise UserError(
                    f"{'storage' if is_uri(store) else 'folder'} {store}",
                    f"is not seen by node {name}: no shared storage with several nodes",
                    "give every node its credentials, and a way to it"
                    if is_uri(store)
                    else "choose a folder that all nodes mount, or an object store, with --runs",
                )
    finally:
        files.delete(probe)


def _look(store: str, probe: str) -> dict[str, _Sight]:
    look: Any = ray.remote(num_cpus=0)(_see)
    asked = {}
    for node in _living():
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        asked[name] = look.options(scheduling_strategy=here, max_retries=1).remote(store, probe)
    seen = {}
    for name, reference in asked.items():
        try:
            seen[name] = ray.get(reference, timeout=LOOK_SECONDS)
        except GetTimeoutError:
            raise UserError(
                f"node {name}", f"gave no answer in {LOOK_SECONDS:.0f} s", "see to it, or stop it"
            ) from None
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"node {name}", f"cannot run this package ({reason})", "install pbt-disent on all nodes"
            ) from None
    return seen


def _see(store: str, probe: str) -> _Sight:
    """Look around; runs on the node."""
    try:
        content = open_files(store).read(probe).decode()
    except OSError:
        content = None
    # Ray's own processes on a node, and so its workers, have the mode that the node was started with.
    return _Sight(__version__, os.environ.get("RAY_AUTH_MODE", "").lower() == "token", content)


class Growth(threading.Thread):
    """Tells how many workers find a place in a cluster, whenever nodes have joined or left it.

    Args:
        workers: how many there are on given nodes.
        known: how many there are now.
        changed: called with the new number.
    """

    def __init__(
        self, workers: Callable[[list[NodeResources]], int], known: int, changed: Callable[[int], object]
    ) -> None:
        super().__init__(name="ray-growth", daemon=True)
        self._workers, self._known, self._changed = workers, known, changed
        self._ended = threading.Event()

    def run(self) -> None:
        """Look at the nodes every few seconds."""
        while not self._ended.wait(EVERY_SECONDS):
            try:
                now = self._workers(living_nodes())
            except Exception:  # a Ray that does not answer, in whatever way: the run goes on with the workers it has
                continue
            if now != self._known:
                self._known = now
                self._changed(now)

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()
