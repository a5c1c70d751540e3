"""Models between runs and MLflow: log the model of a run, register it, send it again, and fetch one by its address.

Logged models are found by the digest of their files before they are made, so that logging one twice changes nothing.
A model whose latents were renamed since is another one, and the older stays as it was.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pbt_disent.errors import UserError
from pbt_disent.tracking.records import files_record, model_record
from pbt_disent.tracking.spool import Spool
from pbt_disent.tracking.tracking_store import TRACKING_URI, TrackingStore, set_mlflow_defaults
from pbt_disent.tracking.uploader import one_line, sync
from pbt_disent.units import shape_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

    from pbt_disent.models import LatentModel

__all__ = [
    "MODEL_NAME",
    "MODEL_TAG",
    "SCHEMES",
    "download_model",
    "log_model",
    "register_model",
    "send_model",
    "was_tracked",
]

MODEL_NAME = "model"
"""The name of every logged model: ``runs:/<run id>/model`` is the address of a run's newest one."""
MODEL_TAG = "pbt_disent.model"
"""The tag by which a logged model is found again."""
SCHEMES = ("models:/", "runs:/")
"""How the address of a model in MLflow begins."""


def log_model(client: MlflowClient, run: Run, folder: Path, step: int) -> LoggedModel:
    """Log a model under a run, unless it is there.

    Args:
        client: The client of the store.
        run: The run of the round that the model is the best one of.
        folder: The folder with ``model.json`` and ``model.safetensors``.
        step: The generation of the round.

    Returns:
        The logged model.

    Raises:
        UserError: The folder holds no model.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    from pbt_disent.models import LatentModel

    model = LatentModel.load(folder)
    files = [(folder / name).read_bytes() for name in ("model.json", "model.safetensors")]
    digest = hashlib.sha256(b"".join(files)).hexdigest()
    key = f"{run.info.run_id}/{digest[:16]}"
    client.set_tag(run.info.run_id, "latents", ", ".join(model.latents))
    existing = client.search_logged_models([run.info.experiment_id], f"tags.`{MODEL_TAG}` = '{key}'")
    logged = existing[0] if existing else _create_logged_model(client, run, model, key)
    if logged.status != LoggedModelStatus.READY:
        _upload_files(client, run.info.run_id, logged, model)
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step)])
        logged = client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return logged


def register_model(client: MlflowClient, logged: LoggedModel, name: str) -> None:
    """Make a logged model a version of a registered model, unless it is one.

    Args:
        client: The client of the store.
        logged: The logged model.
        name: The name of the registered model.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = logged.artifact_location  # not models:/<id>, which would be looked up in the store of the environment
    tag = {MODEL_TAG: logged.tags[MODEL_TAG]}
    versions = client.search_model_versions(f"name = '{name}'")
    if all(version.tags.get(MODEL_TAG) != tag[MODEL_TAG] for version in versions):  # SQL stores forget the model's id
        client.create_model_version(name, source, run_id=logged.source_run_id, tags=tag)


def download_model(address: str, folder: Path) -> Path:
    """Download the files of a model in MLflow.

    Args:
        address: The address: ``runs:/<run id>/model``, where every finished run leaves its model, or
            ``models:/<name>/<version>``. The store is the one that ``MLFLOW_TRACKING_URI`` names.
        folder: The folder to download into.

    Returns:
        The path of what was downloaded, below `folder`.

    Raises:
        UserError: No store is named, or it has no such files.
    """
    if not os.environ.get(TRACKING_URI):
        raise UserError(
            f"model {address}", "lies in an MLflow store that is not named", f"set {TRACKING_URI}, or give a folder"
        )
    set_mlflow_defaults(os.environ)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(artifact_uri=address, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"model {address}", f"cannot be fetched from MLflow ({one_line(error)})", f"check it and {TRACKING_URI}"
        ) from None


def was_tracked(run_folder: Path) -> bool:
    """Return whether MLflow knows of a run, or will."""
    return Spool(run_folder).size > 0


def send_model(
    run_folder: Path, files: Sequence[tuple[str, str]] = (), registered_name: str | None = None
) -> TrackingStore:
    """Send a run's model as it now is; first to the spool, so that `sync` finishes what an outage keeps from it.

    Args:
        run_folder: The folder of a run with a model, which no driver holds.
        files: The files of the run folder that changed with it, each with the artifact folder it goes to.
        registered_name: The name of the model in the registry, or None if it is not to be there.

    Returns:
        The store, which now has it.

    Raises:
        UserError: The run was not tracked.
        PbtDisentError: The store did not take it yet.
    """
    spool = Spool(run_folder)
    generations = [record.content for record in spool.records(0) if "generation" in record.content]
    if not generations:
        raise UserError(f"run {run_folder}", "has no record for MLflow (spool.jsonl)", "give a run that was tracked")
    now, last = time.time_ns() // 1_000_000, generations[-1]
    if files:
        spool.append(files_record(now, last["path"], last["identity"], files))
    spool.append(model_record(now, last["path"], last["identity"], last["generation"], registered_name))
    return sync(run_folder)


def _create_logged_model(client: MlflowClient, run: Run, model: LatentModel, key: str) -> LoggedModel:
    params = {
        "objective": model.name,
        "image_shape": shape_text(model.image_shape),
        "latents": ", ".join(model.latents),
    }
    return client.create_logged_model(
        run.info.experiment_id,
        MODEL_NAME,
        run.info.run_id,
        tags={MODEL_TAG: key},
        params=params,
        model_type="pbt-disent",
    )


def _upload_files(client: MlflowClient, run_id: str, logged: LoggedModel, model: LatentModel) -> None:
    from mlflow.models import Model

    from pbt_disent.tracking.flavor import save_flavor

    mlflow_model = Model(
        artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    with TemporaryDirectory() as temporary:
        save_flavor(model, Path(temporary) / MODEL_NAME, mlflow_model)
        client.log_model_artifacts(logged.model_id, str(Path(temporary) / MODEL_NAME))
