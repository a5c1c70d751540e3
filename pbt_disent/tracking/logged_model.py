"""The final model of a run in MLflow: a logged model of its own, and a version in the registry where asked for.

Logged models are found by the digest of their files before they are made, so that sending one twice changes nothing;
a model whose latents were named since is another one, and the older stays as it was.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from pbt_disent.models import LatentModel
from pbt_disent.tracking.flavour import write_flavour

__all__ = ["NAME", "TAG", "log_model", "register"]

NAME = "model"
"""``runs:/<run id>/model`` is the address of the newest one."""
TAG = "pbt_disent.model"


def log_model(client: MlflowClient, run: Run, folder: Path, step: int) -> LoggedModel:
    """Log a model under a run, unless it is there.

    Args:
        client: of the store.
        run: of the round that it is the best model of.
        folder: with ``model.json`` and ``model.safetensors``.
        step: generation of the round.

    Raises:
        UserError: the folder holds no model.
    """
    model = LatentModel.load(folder)
    files = [(folder / name).read_bytes() for name in ("model.json", "model.safetensors")]
    digest = hashlib.sha256(b"".join(files)).hexdigest()
    key = f"{run.info.run_id}/{digest[:16]}"
    client.set_tag(run.info.run_id, "latents", ", ".join(model.latents))
    found = client.search_logged_models([run.info.experiment_id], f"tags.`{TAG}` = '{key}'")
    logged = found[0] if found else _create(client, run, model, key)
    if logged.status != LoggedModelStatus.READY:
        _upload(client, run.info.run_id, logged, model)
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step)])
        logged = client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return logged


def register(client: MlflowClient, logged: LoggedModel, name: str) -> None:
    """Make a logged model a version of a registered model, unless it is one."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    place = logged.artifact_location  # not models:/<id>, which would be looked up in the store of the environment
    versions = client.search_model_versions(f"name = '{name}'")
    if all(version.tags.get(TAG) != logged.tags[TAG] for version in versions):  # SQL stores forget the model's id
        client.create_model_version(name, place, run_id=logged.source_run_id, tags={TAG: logged.tags[TAG]})


def _create(client: MlflowClient, run: Run, model: LatentModel, key: str) -> LoggedModel:
    known = {
        "objective": model.name,
        "image_shape": "x".join(map(str, model.image_shape)),
        "latents": ", ".join(model.latents),
    }
    return client.create_logged_model(
        run.info.experiment_id, NAME, run.info.run_id, tags={TAG: key}, params=known, model_type="pbt-disent"
    )


def _upload(client: MlflowClient, run_id: str, logged: LoggedModel, model: LatentModel) -> None:
    described = Model(
        artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    with TemporaryDirectory() as temporary:
        write_flavour(model, Path(temporary) / NAME, described)
        client.log_model_artifacts(logged.model_id, str(Path(temporary) / NAME))
