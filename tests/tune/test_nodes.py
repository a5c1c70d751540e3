"""Images in the object store of two nodes: the same results as from disk, and no copy in any worker."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from pbt_disent import data
from pbt_disent.data import StoredImages, materialise
from pbt_disent.errors import UserError
from pbt_disent.training.member import Trainer
from pbt_disent.training.tasks import TrainOutcome, TrainTask, WorkerContext
from pbt_disent.tune import nodes
from pbt_disent.tune.cluster import private_folder
from pbt_disent.tune.messages import WorkItem
from pbt_disent.tune.nodes import SharedImages, share_images
from pbt_disent.tune.worker import WorkerFactory
from pbt_disent.types import UInt8Array
from tests.memory import private_bytes
from tests.training.bench import Bench, make_bench

pytestmark = pytest.mark.ray

STORE_BYTES = 200_000_000


class InspectingTrainer(Trainer):
    """A trainer that looks at every image, and leaves a file that says how it holds them."""

    def __init__(self, context: WorkerContext, images: UInt8Array | None = None) -> None:
        super().__init__(context, images)
        self.record = Path(context.store) / f"{ray.get_runtime_context().get_node_id()}.json"

    def train(self, task: TrainTask) -> TrainOutcome:
        array = self._images
        before = private_bytes()
        total = sum(int(array[start : start + 512].sum()) for start in range(0, len(array), 512))
        grown = private_bytes() - before
        flags = [bool(array.flags.writeable), bool(array.flags.owndata)]
        self.record.write_text(json.dumps({"flags": flags, "grown": grown, "total": total}))
        return super().train(task)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    """Two nodes of one CPU and one loopback address each, which could as well be two machines."""
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    head = {**node, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    with private_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(**node, node_ip_address="127.0.0.3")
            ray.init(
                address=cluster.address, _node_ip_address="127.0.0.2", configure_logging=False, log_to_driver=False
            )
            yield
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A task on 63 MB of images."""
    folder = tmp_path_factory.mktemp("bench")
    bench = make_bench(folder, "betatcvae")
    world = data.load("sprites", size=32, grid={"shape": 1, "orientation": 10})
    stored = materialise(world, folder / "many")
    task = replace(bench.task, subset=bench.blobs.put_array(np.arange(0, len(world), 300)))
    return replace(
        bench, context=replace(bench.context, images_dir=str(stored.folder)), images=np.asarray(stored.array), task=task
    )


def run_on_both(start_worker: WorkerFactory, item: WorkItem) -> list[TrainOutcome]:
    """Have two workers do the same item at the same time; there is room for one on each node."""

    async def work() -> list[TrainOutcome]:
        workers = [start_worker(), start_worker()]
        try:
            await asyncio.gather(*(worker.start() for worker in workers))
            results = await asyncio.gather(*(worker.run(item) for worker in workers))
        finally:
            for worker in workers:
                worker.kill()
        return [pickle.loads(result.payload) for result in results]

    return asyncio.run(work())


def test_workers_on_two_nodes_share_the_images_and_learn_the_same_as_from_disk(two_nodes: None, bench: Bench) -> None:
    shared = share_images(bench.context.images_dir, "object-store")
    start_worker = WorkerFactory(bench.context, 1.0, 0.0, InspectingTrainer, shared)
    outcomes = run_on_both(start_worker, WorkItem("k", "train", 1.0, pickle.dumps(bench.task)))
    assert outcomes == [Trainer(bench.context).train(bench.task)] * 2
    assert outcomes[0].status == "ok"
    records = [json.loads(path.read_text()) for path in Path(bench.context.store).glob("*.json")]
    assert len(records) == 2, "one worker on each node"
    for record in records:
        assert record["flags"] == [False, False]
        assert record["total"] == int(bench.images.sum(dtype=np.int64))
        assert record["grown"] < 5_000_000 < bench.images.nbytes / 10


def test_what_every_node_sees_on_disk_stays_there(
    two_nodes: None, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert share_images(bench.context.images_dir, "auto") is None
    folder = Path(bench.context.images_dir)
    monkeypatch.chdir(folder.parent)  # where this process is, and the nodes' processes are not
    shared = share_images(folder.name, "auto")
    assert isinstance(shared, SharedImages)
    np.testing.assert_array_equal(shared.array(), bench.images)
    assert share_images(folder.name, "disk") is None


def test_images_that_do_not_fit_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, Any] = {"Resources": {"object_store_memory": 1e6}}
    large: dict[str, Any] = {"Resources": {"object_store_memory": 1e9}}
    monkeypatch.setattr(nodes, "_living_nodes", lambda: [large, small])
    size = StoredImages(bench.context.images_dir).array.nbytes / 1e9
    with pytest.raises(UserError, match=rf"^images of {size:.2f} GB: must fit .* the smallest has 0\.00 GB; give Ray"):
        share_images(bench.context.images_dir, "object-store")
