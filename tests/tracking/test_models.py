"""Models fetched from a real MLflow store: by run and by registered version; what is missing is one clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pbt_disent.errors import UserError
from pbt_disent.tracking.models import download_model


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A client of a store of its own, which the environment names."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


@pytest.fixture
def run_id(client: MlflowClient, tmp_path: Path) -> str:
    """A run with the two files of a model among its artifacts."""
    experiment = client.create_experiment("dots", artifact_location=(tmp_path / "mlartifacts").as_uri())
    run: str = client.create_run(experiment).info.run_id
    (tmp_path / "model").mkdir()
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text(name)
    client.log_artifacts(run, str(tmp_path / "model"), "model")
    return run


def test_the_model_of_a_run(run_id: str, tmp_path: Path) -> None:
    folder = download_model(f"runs:/{run_id}/model", tmp_path / "down")
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert folder.is_relative_to(tmp_path / "down")


def test_a_registered_model(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    client.create_registered_model("dots")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    client.create_model_version("dots", source, run_id)
    folder = download_model("models:/dots/1", tmp_path / "down")
    assert (folder / "model.json").read_text() == "model.json"


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("address", ["runs:/0123456789abcdef0123456789abcdef/model", "models:/nobody/1"])
def test_what_the_store_does_not_have(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"model {address}: cannot be fetched from MLflow .*; check it and MLFLOW"):
        download_model(address, tmp_path / "down")


def test_a_store_has_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI"):
        download_model("models:/dots/1", tmp_path)
    assert list(tmp_path.iterdir()) == []
