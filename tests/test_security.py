"""Closed by default: what listens, what is asked for, what is written down, and what is never executed."""

from __future__ import annotations

import ast
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import pbt_disent
from pbt_disent import api, data
from pbt_disent.cli import main
from pbt_disent.config import load_config
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.models import LatentModel
from pbt_disent.population.executor import InProcessExecutor
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.runs import create_run
from pbt_disent.training.tasks import EncodeTask, WorkerContext
from tests.population.fakes import Watch
from tests.test_pipeline import TINY

PACKAGE = Path(pbt_disent.__file__).parent
SECRET = "hidden-from-all"


class Bomb:
    """Whoever unpickles this leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_explode, (self.path,))


def _explode(path: str) -> None:
    Path(path).touch()


@pytest.fixture
def bomb(tmp_path: Path) -> tuple[bytes, Path]:
    """Bytes that create a file when they are unpickled, and the path of that file; tried out first."""
    trace = tmp_path / "exploded"
    content = pickle.dumps(Bomb(str(trace)))
    pickle.loads(content)
    assert trace.exists()
    trace.unlink()
    return content, trace


def test_a_pickle_in_the_place_of_a_checkpoint_or_a_model_is_not_executed(
    tmp_path: Path, bomb: tuple[bytes, Path]
) -> None:
    content, trace = bomb
    blobs = BlobStore(tmp_path / "blobs")
    digest = blobs.put(content)
    world = data.load("sprites", size=32, grid={"shape": 1, "scale": 1, "orientation": 1, "x": 3, "y": 3})
    from pbt_disent.data.storage import materialise

    images = materialise(world, tmp_path / "images")
    context = WorkerContext(str(tmp_path / "blobs"), str(images.folder))
    with pytest.raises(PbtDisentError):
        InProcessExecutor(context).encode(EncodeTask(digest, None))
    with pytest.raises(ValueError, match="pickled"):
        blobs.get_array(digest)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    with pytest.raises(PbtDisentError):
        LatentModel.load(tmp_path / "model")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["codes.npz", "images.npy", "images.pkl", "images.pt"])
def test_a_pickle_in_the_place_of_data_is_not_executed(tmp_path: Path, bomb: tuple[bytes, Path], name: str) -> None:
    content, trace = bomb
    if name.endswith("npz"):
        np.savez(tmp_path / name, imgs=np.array([Bomb(str(trace))], dtype=object), allow_pickle=True)
    elif name.endswith("npy"):
        np.save(tmp_path / name, np.array([Bomb(str(trace))], dtype=object), allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(content)
    trace.unlink(missing_ok=True)
    with pytest.raises(PbtDisentError):
        data.load(str(tmp_path / name))
    assert not trace.exists()


@pytest.mark.parametrize(
    "override",
    [
        "objective.name=os.system",
        "objective.name=tests.test_security:Bomb",
        "objective={name: betatcvae, '__class__': os.system}",
        "data.name=os.system",
        "data.options={loader: 'os.system'}",
        "method=os.system",
        "!!python/object/apply:os.system ['true']=1",
    ],
)
def test_a_config_names_nothing_to_import(override: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        api.check(load_config(None, [*TINY, override]))
    assert "\n" not in str(caught.value)


def test_a_config_file_is_data(tmp_path: Path, bomb: tuple[bytes, Path]) -> None:
    trace = bomb[1]
    file = tmp_path / "bad.yaml"
    file.write_text(f"seed: !!python/object/apply:tests.test_security._explode ['{trace}']\n")
    with pytest.raises(UserError):
        load_config(str(file))
    assert not trace.exists()


def called_names(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func))
    return names


UNPICKLES = {"pickle.load", "pickle.loads", "cloudpickle.loads", "cloudpickle.load", "eval", "exec", "yaml.load"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_unpickled_but_messages_between_our_own_processes(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unpickles = called_names(tree) & UNPICKLES
    if path.parent.name == "tune":  # Ray's own messages are pickles; whoever may send one runs code here anyhow
        unpickles -= {"pickle.loads"}
    assert not unpickles
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, arguments = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
            if name in {"np.load", "numpy.load"}:
                allowed = arguments.get("allow_pickle")
                assert allowed is None or (isinstance(allowed, ast.Constant) and allowed.value is False)
            if name == "torch.load":
                weights_only = arguments.get("weights_only")
                assert isinstance(weights_only, ast.Constant)
                assert weights_only.value is True


def test_a_password_in_a_config_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = f"tracking.uri=http://ann:{SECRET}@127.0.0.1:1/x"
    for arguments in (["run", "demo", "--set", secret], ["submit", "demo", "--runs", "/runs", "--set", secret]):
        assert main(arguments) == 2
        output = capsys.readouterr()
        assert SECRET not in output.out + output.err
        assert "tracking.uri=http://***@127.0.0.1:1/x: must not have a password in it" in output.err
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_secrets_of_the_environment_are_in_no_file_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    overrides = [*TINY, "method=pbt-u-vae", "population.max_generations=1"]
    folder = create_run(load_config(None, overrides), "tiny", tmp_path, None)
    api.execute(api.prepare(folder), Watch(), api.InProcess())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


def test_a_blob_that_was_exchanged_is_not_used(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest, other = blobs.put(b"ours"), b"somebody else's"
    (tmp_path / digest[:2] / digest[2:]).write_bytes(other)
    with pytest.raises(CorruptBlob):
        blobs.get(digest)


def test_files_of_a_run_are_written_by_their_owner_alone(tmp_path: Path) -> None:
    folder = create_run(load_config(None, TINY), "tiny", tmp_path, None)
    BlobStore(folder.blobs).put(b"content")
    json.loads((folder.path / "run.json").read_text())
    for path in folder.path.rglob("*"):
        if path.is_file():
            assert os.stat(path).st_mode & 0o022 == 0
