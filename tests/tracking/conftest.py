from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pbt_disent.config import validate
from pbt_disent.population.events import GenerationCommitted, RoundFinished, RoundStarted
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.runs import create_run
from pbt_disent.tracking import uploader
from pbt_disent.tracking.writer import MlflowWriter


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MLflow's tables and nothing else; to copy, since making the tables takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let writers upload at once: a pause of a minute is longer than a test."""
    monkeypatch.setattr(uploader, "MAX_THROTTLE_SECONDS", 0.0)


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that has not begun, with no store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = create_run(validate({"seed": 7}), "test", tmp_path / "runs", "one")
    folder.describe(data={"name": "dots", "fingerprint": "ab" * 32, "shape": [1, 8, 8], "num_images": 40})
    return folder.path


@pytest.fixture
def ready_folder(run_folder: Path, empty_store: Path) -> Path:
    """A run that has not begun, with an empty store."""
    shutil.copy(empty_store, run_folder / "mlflow.db")
    return run_folder


@pytest.fixture
def play() -> Callable[..., None]:
    """Show a writer what the engine shows of a round: its start, its generations, and its end if there is a reason."""

    def show(writer: MlflowWriter, manifests: list[Manifest], reason: str | None = "converged", done: int = 0) -> None:
        first = manifests[0]
        members, replicas = len(first.members), 2
        writer.notify(RoundStarted(first.round, members, replicas, 9, 40, 1000, UDRFitness(), done))
        for manifest in manifests:
            writer.notify(GenerationCommitted(manifest, replayed=manifest.generation < done))
        if reason is not None:
            writer.notify(RoundFinished(first.round, reason))

    return show
