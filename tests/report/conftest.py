from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pbt_disent.config import validate
from pbt_disent.data.storage import materialise
from pbt_disent.data.worlds.sprites import Sprites
from pbt_disent.models import LatentModel, build
from pbt_disent.population.clock import CLOCK
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from pbt_disent.types import Json
from tests.objectives import options_of
from tests.simulated import simulate

SHAPE = (1, 32, 32)
CLOCK_ROWS = [
    {"event": "opened", "time": 0},
    {"event": "began", "time": 10, "path": "0"},
    {"event": "generation", "time": 70, "path": "0", "generation": 0, "image_passes": 12000, "training": 50, "all": 60},
    {"event": "beat", "time": 80, "path": "0", "generation": 1, "image_passes": 3000},
    {"event": "opened", "time": 1000},
    {"event": "began", "time": 1001, "path": "0"},
    {
        "event": "generation",
        "time": 1061,
        "path": "0",
        "generation": 1,
        "image_passes": 12000,
        "training": 50,
        "all": 60,
    },
    {"event": "ended", "time": 1061, "path": "0"},
    {"event": "closed", "time": 1070},
]
SHARES = [[0.8, 0.1, 0.0], [0.02, 0.3, 0.25]]


@pytest.fixture
def fresh_run(tmp_path: Path) -> RunFolder:
    """A run in which nothing has happened."""
    return create_run(validate({}), "test", tmp_path / "runs", "one")


@pytest.fixture
def commit() -> Callable[..., list[Manifest]]:
    """Put a simulated round on disk and in the log of rounds."""
    return commit_round


def commit_round(
    folder: Path, path: str, reason: str | None = "converged", options: Json | None = None, **sizes: int
) -> list[Manifest]:
    manifests = simulate(path, **sizes)
    target = folder / "rounds" / path
    target.mkdir(parents=True)
    for manifest in manifests:
        (target / f"generation-{manifest.generation:04d}.json").write_bytes(manifest.to_bytes())
    fitness = "leaf_mig" if path == "final" else "udr"
    rows = [{"event": "started", "path": path, "num_images": 96, "fitness": {"name": fitness} | (options or {})}]
    if reason is not None:
        rows.append({"event": "finished", "path": path, "reason": reason, "image_passes": manifests[-1].image_passes})
    log(folder, *rows)
    return manifests


def label_rows(images: int) -> pa.Table:
    """Two latents of round 0, of which one is cut into two segments, in both leaf runs; one of a round below."""
    every = np.arange(images)
    halves = every // 16 % 2  # small and large
    parts = [
        (leaf, "0", latent, every, halves if latent else np.full(images, -1)) for leaf in (1, 2) for latent in (0, 1)
    ]
    parts.append((1, "0/leaf1/1", 2, every[:12], np.full(12, -1)))
    return pa.table(
        {
            "image": np.concatenate([indices for *_, indices, _ in parts]),
            "leaf": np.concatenate([np.full(len(indices), leaf) for leaf, _, _, indices, _ in parts]),
            "round": pa.array([path for _, path, _, indices, _ in parts for _ in indices]).dictionary_encode(),
            "latent": np.concatenate([np.full(len(indices), latent) for _, _, latent, indices, _ in parts]),
            "value": np.concatenate([indices / images + cut for *_, indices, cut in parts]).astype(np.float32),
            "segment": np.concatenate([cut for *_, cut in parts]),
        }
    )


def log(folder: Path, *rows: dict[str, object]) -> None:
    with (folder / "rounds.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with three rounds, a model of three latents (the last one silent), scores, and its images beside it."""
    root = tmp_path_factory.mktemp("runs")
    run = create_run(validate({}), "test", root, "try <1> & more")
    folder = run.path
    data = Sprites(size=32, grid={"shape": 3, "scale": 2, "orientation": 1, "x": 4, "y": 4})
    described = {"name": "sprites", "fingerprint": data.fingerprint, "shape": list(SHAPE), "num_images": len(data)}
    run.describe(data=described)
    materialise(data, folder.parent / ".images" / data.fingerprint[:16])
    commit_round(folder, "0", members=6, generations=4)
    log(folder, {"event": "labelled", "path": "0", "latents": [0, 1]})
    log(folder, {"event": "cut", "path": "0/leaf1/1", "parent": "0", "num_images": 12, "frozen": {"0": [0, 1]}})
    commit_round(folder, "0/leaf1/1", reason="nothing_learned", members=4, generations=1)
    log(folder, {"event": "leaf_stopped", "path": "0/leaf1", "reason": "the greatest depth, 1, is reached"})
    commit_round(folder, "final", reason="max_generations", members=4, generations=3, replicas=1)
    torch.manual_seed(0)
    options = options_of("betatcvae", SHAPE, latents=3)
    model = build(options, options.defaults, SHAPE, len(data))
    LatentModel(model, information=np.asarray([1.25, 2.5, 0.001])).save(run.model)
    truth = {
        "mig": 0.46,
        "interval": [0.41, 0.52],
        "points": 96,
        "per_factor": [
            {"factor": "x", "gap": 0.7, "latent": 0, "shares": SHARES[0]},
            {"factor": "y <b>", "gap": 0.05, "latent": 1, "shares": SHARES[1]},
        ],
    }
    frozen = Path(run.path) / "labels"
    frozen.mkdir()
    pq.write_table(label_rows(len(data)), frozen / "labels.parquet")
    (folder / CLOCK).write_text("".join(json.dumps(row) + "\n" for row in CLOCK_ROWS))
    scores = {"format": 1, "final": {"round": "final", "score": 0.81}}
    run.scores.write_text(json.dumps({**scores, "true_factors": truth}))
    return run
