from __future__ import annotations

from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.tracking.destination import resolve


def test_the_default_is_a_store_in_the_run_folder(tmp_path: Path) -> None:
    found = resolve(tmp_path, None, {})
    assert found.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert found.artifacts == f"file://{tmp_path}/mlartifacts"
    assert found.label == "embedded"


def test_the_environment_counts_when_the_config_names_nothing_and_is_named(tmp_path: Path) -> None:
    found = resolve(tmp_path, None, {"MLFLOW_TRACKING_URI": "http://tracker:5000"})
    assert (found.uri, found.artifacts) == ("http://tracker:5000", None)
    assert "MLFLOW_TRACKING_URI" in found.description
    assert "http://tracker:5000" in found.description


def test_the_config_counts_before_the_environment(tmp_path: Path) -> None:
    found = resolve(tmp_path, f"sqlite:///{tmp_path}/team/all.db", {"MLFLOW_TRACKING_URI": "http://tracker:5000"})
    assert found.uri == f"sqlite:///{tmp_path}/team/all.db"
    assert found.artifacts == f"file://{tmp_path}/team/mlartifacts"
    assert "from the config" in found.description


def test_passwords_are_used_but_not_shown(tmp_path: Path) -> None:
    found = resolve(tmp_path, "https://ann:s3cret@tracker/x", {})
    assert found.uri == "https://ann:s3cret@tracker/x"
    assert found.label == "https://***@tracker/x"
    assert "s3cret" not in found.description


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "mlruns", "./mlruns", "/data/mlruns"])
def test_the_file_store_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UserError, match="file store") as caught:
        resolve(tmp_path, uri, {})
    assert f"tracking.uri={uri}" in str(caught.value)
    assert "sqlite:///" in caught.value.remedy


def test_an_unknown_kind_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown kind 'ftp'") as caught:
        resolve(tmp_path, None, {"MLFLOW_TRACKING_URI": "ftp://ann:s3cret@host/x"})
    assert "MLFLOW_TRACKING_URI=ftp://***@host/x" in str(caught.value)
    assert "s3cret" not in str(caught.value)
