"""Images for nodes that share no disk: put into Ray's object store once, pulled once by each node, copied by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pbt_disent.config import ImagesPlace
from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.types import UInt8Array

__all__ = ["SharedImages", "share_images"]


@dataclass(frozen=True)
class SharedImages:
    """What a worker is sent in place of the images.

    Args:
        reference: Ray's, to the array; the images stay in the stores for as long as somebody holds it.
    """

    reference: Any

    def array(self) -> UInt8Array:
        """Return the images (N, C, H, W), mapped read-only from the store of this node, which pulls them if need be."""
        images: UInt8Array = ray.get(self.reference)
        return images


def share_images(folder: str, place: ImagesPlace) -> SharedImages | None:
    """Put a run's images into the object store, if the workers are to find them there.

    Args:
        folder: of the memory-mapped images, on a disk of this node.
        place: ``auto`` takes the object store exactly if some node does not see these images in the folder.

    Returns:
        What the workers need, or none where each is to open the folder.

    Raises:
        UserError: the store of some node is too small.
    """
    if place == "disk" or (place == "auto" and _seen_from_every_node(folder)):
        return None
    images = np.asarray(StoredImages(folder).array)  # a plain array: Ray would pickle a memory map, byte by byte
    room = min(int(node["Resources"].get("object_store_memory", 0)) for node in _nodes())
    if images.nbytes > room:
        raise UserError(
            f"images of {images.nbytes / 1e9:.2f} GB",
            f"must fit into the object store of every node, and the smallest has {room / 1e9:.2f} GB",
            "give Ray more object store memory, or put them on a disk that all nodes see (resources.images=disk)",
        )
    return SharedImages(ray.put(images))


def _nodes() -> list[dict[str, Any]]:
    nodes: Any = ray.nodes  # it has no annotations
    return [node for node in nodes() if node["Alive"]]


def _seen_from_every_node(folder: str) -> bool:
    here = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in _nodes() if node["NodeID"] != here]
    if not others:
        return True
    look: Any = ray.remote(num_cpus=0)(_fingerprint)
    seen = [look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)) for node in others]
    return set(ray.get([task.remote(folder) for task in seen])) == {StoredImages(folder).fingerprint}


def _fingerprint(folder: str) -> str | None:
    """Return which images a node finds in a folder, if any."""
    try:
        return StoredImages(folder).fingerprint
    except UserError:
        return None
