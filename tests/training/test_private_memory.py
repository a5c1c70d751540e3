"""One copy per node: what each of four workers on one set of images has for itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from pbt_disent import data
from pbt_disent.data import materialise
from tests.memory import SMAPS
from tests.objectives import options_of
from tests.training.bench import make_bench

WORKERS = 4
MOST = 150 << 20

WORK = """
import pickle, sys
import numpy as np
from pbt_disent.data import StoredImages
from pbt_disent.models.encoding import to_unit
from pbt_disent.training.loop import batches
from pbt_disent.training.member import Trainer
from tests.memory import private_bytes

few, context, task = pickle.load(sys.stdin.buffer)
assert Trainer(few).train(task).status == "ok"
before = private_bytes()
assert Trainer(context).train(task).status == "ok"
images = StoredImages(context.images_dir).array
for part in batches(len(images), 256, len(images) // 256, np.random.default_rng(0)):
    to_unit(images[part], "cpu")
print("all seen", flush=True)
sys.stdin.readline()
print(private_bytes() - before, flush=True)
sys.stdin.readline()
"""


def measured(sent: bytes, together: Barrier) -> int:
    """Return the private bytes that a worker process adds, measured while the others hold their images too."""
    command, root = [sys.executable, "-c", WORK], Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(sent)
        worker.stdin.flush()
        if worker.stdout.readline() != b"all seen\n":
            together.abort()
        together.wait()
        worker.stdin.write(b"\n")
        worker.stdin.flush()
        added = int(worker.stdout.readline())
        together.wait()
    return added


@pytest.mark.slow
@pytest.mark.skipif(not SMAPS.exists(), reason="private memory is read from /proc")
def test_four_workers_add_little_private_memory_each(tmp_path: Path) -> None:
    """Each has trained on a few images before; then it trains on many, and sees every one in random batches."""
    bench = make_bench(tmp_path, "betatcvae")
    few = materialise(data.load("sprites", grid={"orientation": 1, "x": 4, "y": 4}), tmp_path / "few")
    stored = materialise(data.load("sprites", grid={"orientation": 4}), tmp_path / "many")
    assert stored.array.nbytes > 1.9 * MOST
    contexts = [replace(bench.context, images_dir=str(images.folder)) for images in (few, stored)]
    task = replace(bench.task, objective=options_of("betatcvae", stored.shape, latents=3))
    sent = pickle.dumps((*contexts, task))
    together = Barrier(WORKERS, timeout=200)
    with ThreadPoolExecutor(WORKERS) as threads:
        added = list(threads.map(lambda _: measured(sent, together), range(WORKERS)))
    assert max(added) < MOST, added
