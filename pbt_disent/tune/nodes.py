"""The nodes of a cluster: what they have, whether all can work on a run, and how images reach those without a disk."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pbt_disent import __version__
from pbt_disent.config import ImageStorage
from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import is_uri, open_files
from pbt_disent.tune.resources import NodeResources
from pbt_disent.types import UInt8Array

__all__ = ["NodeWatcher", "SharedImages", "check_nodes", "node_resources", "share_images"]

CHECK_SECONDS = 60.0
WATCH_SECONDS = 5.0


def node_resources() -> list[NodeResources]:
    """Return the resources of each living node."""
    return [node["Resources"] for node in _living_nodes()]


def _living_nodes() -> list[dict[str, Any]]:
    nodes: Any = ray.nodes  # it has no annotations
    return [node for node in nodes() if node["Alive"]]


@dataclass(frozen=True)
class _NodeReport:
    """The report of one node: its version of the package, whether it asks for a token, what the test file holds."""

    version: str
    authenticated: bool
    content: str | None


def check_nodes(store: str, *, allow_unauthenticated: bool) -> None:
    """See that every node asks for a token, has this package, and reads what this node writes.

    Args:
        store: The folder or URI in which all nodes are to read and write.
        allow_unauthenticated: Whether a cluster without a token is accepted.

    Raises:
        UserError: One of the nodes does not.
    """
    files, test_file, content = open_files(store), f".test-file-{secrets.token_hex(4)}", secrets.token_hex(16)
    files.write(test_file, content.encode())
    try:
        for name, report in _ask_nodes(store, test_file).items():
            if not report.authenticated and not allow_unauthenticated:
                raise UserError(
                    f"node {name}",
                    "runs Ray without a token, so that whoever reaches its ports runs code as you",
                    "start every node with RAY_AUTH_MODE=token, or say --allow-unauthenticated",
                )
            if report.version != __version__:
                raise UserError(
                    f"node {name}",
                    f"has pbt-disent {report.version}, here is {__version__}",
                    "install the same version on all nodes",
                )
            if report.content != content:
                raise UserError(
                    f"{'storage' if is_uri(store) else 'folder'} {store}",
                    f"is not seen by node {name}: no shared storage with several nodes",
                    "give every node its credentials, and a way to it"
                    if is_uri(store)
                    else "choose a folder that all nodes mount, or an object store, with --runs",
                )
    finally:
        files.delete(test_file)


def _ask_nodes(store: str, test_file: str) -> dict[str, _NodeReport]:
    report: Any = ray.remote(num_cpus=0)(_report)
    references = {}
    for node in _living_nodes():
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
        references[name] = report.options(scheduling_strategy=on_node, max_retries=1).remote(store, test_file)
    reports = {}
    for name, reference in references.items():
        try:
            reports[name] = ray.get(reference, timeout=CHECK_SECONDS)
        except GetTimeoutError:
            raise UserError(
                f"node {name}", f"gave no answer in {CHECK_SECONDS:.0f} s", "check it, or stop it"
            ) from None
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"node {name}", f"cannot run this package ({reason})", "install pbt-disent on all nodes"
            ) from None
    return reports


def _report(store: str, test_file: str) -> _NodeReport:
    """Return what this node sees; runs on the node."""
    try:
        content = open_files(store).read(test_file).decode()
    except OSError:
        content = None
    # Ray's own processes on a node, and so its workers, have the mode that the node was started with.
    return _NodeReport(__version__, os.environ.get("RAY_AUTH_MODE", "").lower() == "token", content)


class NodeWatcher(threading.Thread):
    """Tells how many workers fit into a cluster, whenever nodes have joined or left it.

    Args:
        count_workers: Returns how many workers fit on some nodes.
        num_workers: How many workers find a place now.
        on_change: Called with the new number of workers.
    """

    def __init__(
        self,
        count_workers: Callable[[list[NodeResources]], int],
        num_workers: int,
        on_change: Callable[[int], object],
    ) -> None:
        super().__init__(name="ray-nodes", daemon=True)
        self._count_workers, self._num_workers, self._on_change = count_workers, num_workers, on_change
        self._closed = threading.Event()

    def run(self) -> None:
        """Look at the nodes every few seconds."""
        while not self._closed.wait(WATCH_SECONDS):
            try:
                num_workers = self._count_workers(node_resources())
            except Exception:  # a Ray that does not answer, in whatever way: the run goes on with the workers it has
                continue
            if num_workers != self._num_workers:
                self._num_workers = num_workers
                self._on_change(num_workers)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self.join()


@dataclass(frozen=True)
class SharedImages:
    """Images in Ray's object store: put there once, pulled once by each node, copied by no worker.

    Args:
        reference: Ray's reference to the array. The images stay in the stores for as long as somebody holds it.
    """

    reference: Any

    def array(self) -> UInt8Array:
        """Return the images (N, C, H, W), mapped read-only from the store of this node, which pulls them if need be."""
        images: UInt8Array = ray.get(self.reference)
        return images


def share_images(images_dir: str, place: ImageStorage) -> SharedImages | None:
    """Put a run's images into the object store, if the workers are to find them there.

    Args:
        images_dir: The folder of the memory-mapped images, on a disk of this node.
        place: Where the workers find them: ``disk``, ``object-store``, or ``auto``, which takes the object store
            exactly if some node does not see these images in the folder.

    Returns:
        What the workers need, or `None` where each is to open the folder.

    Raises:
        UserError: The store of some node is too small.
    """
    if place == "disk" or (place == "auto" and _every_node_sees(images_dir)):
        return None
    images = np.asarray(StoredImages(images_dir).array)  # a plain array: Ray would pickle a memory map, byte by byte
    smallest = min(int(node["Resources"].get("object_store_memory", 0)) for node in _living_nodes())
    if images.nbytes > smallest:
        raise UserError(
            f"images of {images.nbytes / 1e9:.2f} GB",
            f"must fit into the object store of every node, and the smallest has {smallest / 1e9:.2f} GB",
            "give Ray more object store memory, or put them on a disk that all nodes see (resources.images=disk)",
        )
    return SharedImages(ray.put(images))


def _every_node_sees(images_dir: str) -> bool:
    this_node = ray.get_runtime_context().get_node_id()
    other_nodes = [node["NodeID"] for node in _living_nodes() if node["NodeID"] != this_node]
    if not other_nodes:
        return True
    fingerprint: Any = ray.remote(num_cpus=0)(_fingerprint)
    references = [
        fingerprint.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(images_dir)
        for node in other_nodes
    ]
    return set(ray.get(references)) == {StoredImages(images_dir).fingerprint}


def _fingerprint(images_dir: str) -> str | None:
    """Return which images a node finds in a folder, or `None` if it finds none."""
    try:
        return StoredImages(images_dir).fingerprint
    except UserError:
        return None
