"""The final model in MLflow: what a user without this package's config gets from it, and that no outage loses it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pbt_disent.cli import main
from pbt_disent.models import LatentModel, build
from pbt_disent.tracking.flavor import save_flavor
from pbt_disent.tracking.spool import Spool
from pbt_disent.tracking.uploader import sync
from pbt_disent.tracking.writer import MlflowWriter
from tests.objectives import options_of
from tests.simulated import simulate

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

SHAPE = (1, 32, 32)
NAMES = ["x", "rotation", "f2"]

IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
PICKLED = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"}
START = 180.0


@pytest.fixture(scope="module")
def model() -> LatentModel:
    options = options_of("betatcvae", SHAPE, latents=3, network={"width": 4})
    objective = build(options, options.defaults, SHAPE, 100, generator=torch.Generator().manual_seed(0))
    return LatentModel(objective, NAMES, np.array([2.0, 1.0, 0.0]))


@pytest.fixture(scope="module")
def written(model: LatentModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flavor") / "mlflow-model"
    save_flavor(model, folder)
    return folder


@pytest.fixture(scope="module")
def loaded(written: Path) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(written))


@pytest.fixture
def tracked(ready_folder: Path, model: LatentModel, play: Callable[..., None]) -> Path:
    """A finished run whose model MLflow has."""
    model.save(ready_folder / "model")
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, simulate("final", members=2, generations=2))
        writer.finish()
    assert writer.pending().records == 0
    return ready_folder


def client(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def logged(folder: Path) -> list[Any]:
    return list(client(folder).search_logged_models(["1"]))


def as_levels(images: np.ndarray) -> np.ndarray:
    return np.rint(images * 255).astype(np.uint8)


def test_images_in_and_named_codes_out(loaded: PyFuncModel, model: LatentModel) -> None:
    table = loaded.predict(IMAGES)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == NAMES
    np.testing.assert_array_equal(table.to_numpy(), model.encode(IMAGES))
    assert loaded.metadata.signature.outputs.input_names() == NAMES
    assert loaded.input_example.shape == (1, *SHAPE)
    assert loaded.input_example.dtype == np.uint8


def test_decode_draws_codes_or_what_it_makes_of_images(loaded: PyFuncModel, model: LatentModel) -> None:
    codes = np.array([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]])
    drawn = loaded.predict(IMAGES[:1], params={"task": "decode", "codes": codes.ravel().tolist()})
    np.testing.assert_array_equal(drawn, as_levels(model.decode(codes)))
    again = loaded.predict(IMAGES, params={"task": "decode"})
    np.testing.assert_array_equal(again, as_levels(model.decode(model.encode(IMAGES))))
    assert again.dtype == np.uint8


def test_traverse_moves_one_latent_by_name(loaded: PyFuncModel, model: LatentModel) -> None:
    frames = loaded.predict(IMAGES, params={"task": "traverse", "latent": "rotation", "values": [-1.0, 0.0, 1.0]})
    assert frames.shape == (4, 3, *SHAPE)
    code = model.encode(IMAGES)[2]
    np.testing.assert_array_equal(frames[2], as_levels(model.traverse(code, 1, np.array([-1.0, 0.0, 1.0]))))
    assert loaded.predict(IMAGES[:1], params={"task": "traverse", "latent": "f2"}).shape == (1, 11, *SHAPE)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"task": "encoder"}, "task 'encoder': is no task; did you mean 'encode'"),
        ({"task": "traverse", "latent": "rotaton"}, "did you mean 'rotation'"),
        ({"task": "traverse"}, "latent ''"),
        ({"task": "decode", "codes": [1.0, 2.0]}, "must be a multiple of 3"),
    ],
)
def test_what_cannot_be_done_is_one_line(loaded: PyFuncModel, params: dict[str, Any], words: str) -> None:
    with pytest.raises(MlflowException, match=words) as caught:
        loaded.predict(IMAGES, params=params)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "\n" not in caught.value.message


def test_images_of_another_size_are_refused_by_the_signature(loaded: PyFuncModel) -> None:
    for shape in ((2, 1, 64, 64), (2, 3, 32, 32)):
        with pytest.raises(MlflowException, match="does not match expected shape"):
            loaded.predict(np.zeros(shape, dtype=np.uint8))


def test_nothing_in_it_is_pickled_and_it_needs_what_it_says(written: Path) -> None:
    files = [path for path in written.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in PICKLED]
    assert {path.name for path in (written / "data" / "model").iterdir()} == {"model.safetensors", "model.json"}
    described = (written / "MLmodel").read_text()
    assert "loader_module: pbt_disent.tracking.flavor" in described
    assert "cloudpickle" not in described + (written / "requirements.txt").read_text()
    needed = dict(line.split("==") for line in (written / "requirements.txt").read_text().splitlines())
    assert needed["torch"] == torch.__version__.split("+")[0]
    assert needed["mlflow"] == mlflow.__version__
    assert "pbt-disent" in needed


def test_a_finished_run_leaves_its_model_in_mlflow(tracked: Path, model: LatentModel) -> None:
    (logged_model,) = logged(tracked)
    assert (logged_model.name, logged_model.status.value, logged_model.params["latents"]) == (
        "model",
        "READY",
        "x, rotation, f2",
    )
    store = client(tracked)
    run = store.get_run(logged_model.source_run_id)
    assert run.data.tags["round"] == "final"
    assert run.data.tags["latents"] == "x, rotation, f2"
    assert [(output.model_id, output.step) for output in run.outputs.model_outputs] == [(logged_model.model_id, 1)]
    loaded = mlflow.pyfunc.load_model(logged_model.artifact_location)
    assert loaded.model_id == logged_model.model_id
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.encode(IMAGES))


def test_sending_the_model_again_changes_nothing(tracked: Path) -> None:
    before = logged(tracked)
    (tracked / "spool.ack").unlink()
    sync(tracked)
    assert [each.model_id for each in logged(tracked)] == [each.model_id for each in before]
    run = client(tracked).get_run(before[0].source_run_id)
    assert len(run.outputs.model_outputs) == 1


def test_a_dead_store_gets_the_model_later(ready_folder: Path, model: LatentModel, play: Callable[..., None]) -> None:
    model.save(ready_folder / "model")
    writer = MlflowWriter(ready_folder, "http://127.0.0.1:9", "one", "dots")
    play(writer, simulate("final", members=2, generations=1))
    writer.finish()
    left = writer.close(timeout=6)
    kinds = [record.content["kind"] for record in Spool(ready_folder).records(0)]
    assert kinds[0] == "run"  # which names the run to whoever sends, and is no call to the store
    assert (left.records, kinds.count("model")) == (len(kinds) - 1, 1)
    sync(ready_folder, f"sqlite:///{ready_folder}/mlflow.db")
    assert [each.status.value for each in logged(ready_folder)] == ["READY"]


def test_a_model_that_is_broken_does_not_hold_up_the_rest(
    ready_folder: Path, play: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    (ready_folder / "model").mkdir()
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, simulate("final", members=2, generations=1))
        writer.finish()
    assert writer.pending().records == 0
    assert "the model was not sent to MLflow" in caplog.text


def test_registered_on_request_and_loadable_by_its_address(
    tracked: Path,
    model: LatentModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        assert main(["register", str(tracked), "--name", "dots"]) == 0
    versions = client(tracked).search_model_versions("name = 'dots'")
    (logged_model,) = logged(tracked)
    assert [(int(version.version), version.source) for version in versions] == [(1, logged_model.artifact_location)]
    assert "models:/dots/latest" in capsys.readouterr().out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tracked}/mlflow.db")
    np.save(tmp_path / "images.npy", np.repeat(IMAGES, 3, axis=0)[:, 0])
    for address in ("models:/dots/1", f"runs:/{logged_model.source_run_id}/model"):
        arguments = [
            "encode",
            address,
            "--data",
            str(tmp_path / "images.npy"),
            "--out",
            str(tmp_path / "codes.parquet"),
        ]
        assert main(arguments) == 0
        table = pd.read_parquet(tmp_path / "codes.parquet")
        np.testing.assert_allclose(table[NAMES].to_numpy()[::3], model.encode(IMAGES), atol=1e-6)
        capsys.readouterr()
        scored = ["--data", str(tmp_path / "images.npy"), "--metrics", "reconstruction_error", "--json"]
        assert main(["score", address, *scored]) == 0
        error = json.loads(capsys.readouterr().out)["reconstruction_error"]["values"]["score"]
        expected = ((model.decode(model.encode(IMAGES)) - IMAGES / 255) ** 2).mean()
        assert error == pytest.approx(float(expected), rel=1e-4)


def test_names_given_later_reach_mlflow_as_another_model(tracked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["register", str(tracked), "--name", "dots"])
    assert main(["label", str(tracked), "--name", "2=size"]) == 0
    assert {each.params["latents"] for each in logged(tracked)} == {"x, rotation, f2", "x, rotation, size"}
    newest = max(logged(tracked), key=lambda each: each.creation_timestamp)
    assert client(tracked).get_run(newest.source_run_id).data.tags["latents"] == "x, rotation, size"
    assert list(mlflow.pyfunc.load_model(newest.artifact_location).predict(IMAGES).columns) == ["x", "rotation", "size"]
    main(["register", str(tracked), "--name", "dots"])
    versions = client(tracked).search_model_versions("name = 'dots'")
    assert {int(version.version) for version in versions} == {1, 2}


def test_what_cannot_be_registered(run_folder: Path, model: LatentModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register", str(run_folder), "--name", "dots"]) == 2
    assert "has no model yet" in capsys.readouterr().err
    model.save(run_folder / "model")
    assert main(["register", str(run_folder), "--name", "dots"]) == 2
    assert "has no record for MLflow" in capsys.readouterr().err
    assert main(["register", str(run_folder), "--name", "a/b"]) == 2
    assert "--name a/b: must be letters" in capsys.readouterr().err


@contextmanager
def served(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks for uvicorn there
    process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], env={**os.environ, "PATH": path})
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        for child in children:
            if child.is_running():
                child.kill()
        process.wait(START)


def ask(port: int, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["predictions"]


def wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server does not answer")


def test_a_server_answers_over_http(written: Path, tmp_path: Path, model: LatentModel) -> None:
    shutil.copytree(written, tmp_path / "model")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with served(tmp_path / "model", port) as process:
        wait_until_up(process, port)
        images = IMAGES[:2].tolist()
        rows = ask(port, {"inputs": images})
        assert [list(row) for row in rows] == [NAMES, NAMES]
        np.testing.assert_allclose([list(row.values()) for row in rows], model.encode(IMAGES[:2]), atol=1e-5)
        drawn = ask(port, {"inputs": images, "params": {"task": "decode", "codes": [0.0, 0.0, 0.0]}})
        np.testing.assert_allclose(drawn, as_levels(model.decode(np.zeros((1, 3)))), atol=1)
        frames = ask(port, {"inputs": images, "params": {"task": "traverse", "latent": "x", "values": [-1, 1]}})
        assert np.asarray(frames).shape == (2, 2, *SHAPE)
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, {"inputs": images, "params": {"task": "traverse", "latent": "y"}})
        with refused.value as answer:
            assert answer.code == 400
            assert b"latent 'y'" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as wrong:
            ask(port, {"inputs": np.zeros((1, 3, 32, 32), dtype=int).tolist()})
        with wrong.value as answer:
            assert answer.code == 400
            assert b"does not match expected shape" in answer.read()
