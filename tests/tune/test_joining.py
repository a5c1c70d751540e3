"""Joining clusters: nodes that share no folder, runs in an object store, and clusters that let everybody in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pbt_disent import api
from pbt_disent.config import load_config
from pbt_disent.store.filesystem import RemoteFiles
from pbt_disent.store.runs import create_run
from tests.conftest import missing
from tests.population.fakes import Watch, manifests
from tests.store.helpers import read_documents
from tests.test_pipeline import TINY
from tests.tune.local_cluster import LocalCluster, local_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = [*TINY, "method=pbt-u-vae", "population.max_generations=2", "tracking.enabled=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joining")
    (folder / "small.yaml").write_text(yaml.safe_dump(load_config(None, SMALL).dump()))
    (folder / "runs").mkdir()
    return folder


def run(cluster: LocalCluster, place: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pbt_disent", "run", "small.yaml", "--address", cluster.address, *arguments],
        cwd=place,
        env={**cluster.environment, "PBT_DISENT_CACHE": str(place / "runs" / "cache"), **changes},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def apart(place: Path, objects: str) -> Iterator[LocalCluster]:
    """Two nodes, of which the second sees nothing of the folder of runs (and has the credentials of the objects)."""
    if os.geteuid() != 0:
        missing("root", "hiding a folder from a node needs root")
    hide = f'mount -t tmpfs hidden {place / "runs"} && exec "$@"'
    with local_cluster() as cluster:
        cluster.head(1)
        cluster.node(1, prefix=("unshare", "--mount", "bash", "-c", hide, "hide"))
        yield cluster


def test_nodes_without_shared_storage_are_refused_in_one_line(apart: LocalCluster, place: Path) -> None:
    done = run(apart, place, "--runs", str(place / "runs"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no shared storage with several nodes; choose a folder that all nodes mount" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_same_nodes_work_together_through_an_object_store(apart: LocalCluster, place: Path, objects: str) -> None:
    """Checkpoints go through the store and images through Ray: no file is shared."""
    undisturbed = create_run(load_config(place / "small.yaml"), "small", place / "reference", None)
    api.execute(api.prepare(undisturbed), Watch(), api.InProcess())
    done = run(apart, place, "--runs", objects.format("apart"), "--name", "small")
    assert done.returncode == 0, done.stdout + done.stderr
    files = RemoteFiles(objects.format("apart/small"))
    wanted = {name.removeprefix("/"): content for name, content in manifests(undisturbed.path).items()}
    assert read_documents(files, "rounds") == wanted
    assert files.read("model/model.safetensors") == (undisturbed.model / "model.safetensors").read_bytes()
    assert files.stat("report.html") is not None
    assert files.list_files("blobs") != []


def test_a_cluster_that_lets_everybody_in_is_refused_unless_asked_for(place: Path) -> None:
    with local_cluster(token=False) as cluster:
        cluster.head(2)
        done = run(cluster, place, "--runs", str(place / "open"), RAY_AUTH_TOKEN="0" * 64)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "runs Ray without a token, so that whoever reaches its ports runs code as you" in done.stderr
        assert "--allow-unauthenticated" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        done = run(cluster, place, "--runs", str(place / "open"), "--allow-unauthenticated")
        assert done.returncode == 0, done.stdout + done.stderr
