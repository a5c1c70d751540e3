from __future__ import annotations

from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.tracking.tracking_store import resolve_store


def test_the_default_is_a_store_in_the_run_folder(tmp_path: Path) -> None:
    store = resolve_store(tmp_path, None, {})
    assert store.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert store.artifacts == f"file://{tmp_path}/mlartifacts"
    assert store.label == "embedded"


def test_the_environment_counts_when_the_config_names_nothing_and_is_named(tmp_path: Path) -> None:
    store = resolve_store(tmp_path, None, {"MLFLOW_TRACKING_URI": "http://tracker:5000"})
    assert (store.uri, store.artifacts) == ("http://tracker:5000", None)
    assert "MLFLOW_TRACKING_URI" in store.description
    assert "http://tracker:5000" in store.description


def test_the_config_counts_before_the_environment(tmp_path: Path) -> None:
    store = resolve_store(tmp_path, f"sqlite:///{tmp_path}/team/all.db", {"MLFLOW_TRACKING_URI": "http://tracker:5000"})
    assert store.uri == f"sqlite:///{tmp_path}/team/all.db"
    assert store.artifacts == f"file://{tmp_path}/team/mlartifacts"
    assert "from the config" in store.description


def test_passwords_are_used_but_not_shown(tmp_path: Path) -> None:
    store = resolve_store(tmp_path, "https://ann:s3cret@tracker/x", {})
    assert store.uri == "https://ann:s3cret@tracker/x"
    assert store.label == "https://***@tracker/x"
    assert "s3cret" not in store.description


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "mlruns", "./mlruns", "/data/mlruns"])
def test_the_file_store_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="file store") as caught:
        resolve_store(tmp_path, uri, {})
    assert f"tracking.uri={uri}" in str(caught.value)
    assert "sqlite:///" in caught.value.remedy


def test_an_unknown_kind_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown kind 'ftp'") as caught:
        resolve_store(tmp_path, None, {"MLFLOW_TRACKING_URI": "ftp://ann:s3cret@host/x"})
    assert "MLFLOW_TRACKING_URI=ftp://***@host/x" in str(caught.value)
    assert "s3cret" not in str(caught.value)
