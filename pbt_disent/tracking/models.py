"""Models between runs and MLflow: fetch one by its address, send the one of a run again or to the registry."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from pbt_disent.errors import UserError
from pbt_disent.tracking.delivery import one_line, sync
from pbt_disent.tracking.destination import ENVIRONMENT, Destination
from pbt_disent.tracking.environment import apply_defaults
from pbt_disent.tracking.records import files_record, model_record
from pbt_disent.tracking.spool import Spool

__all__ = ["SCHEMES", "download_model", "send_model", "was_tracked"]

SCHEMES = ("models:/", "runs:/")


def download_model(address: str, folder: Path) -> Path:
    """Download what lies at an address into a folder, and return where.

    Args:
        address: ``runs:/<run id>/model``, where every finished run leaves its model, or ``models:/<name>/<version>``;
            the store is the one that ``MLFLOW_TRACKING_URI`` names.
        folder: to download into.

    Raises:
        UserError: no store is named, or it has no such files.
    """
    if not os.environ.get(ENVIRONMENT):
        raise UserError(
            f"model {address}", "lies in an MLflow store that is not named", f"set {ENVIRONMENT}, or give a folder"
        )
    apply_defaults(os.environ)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(artifact_uri=address, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"model {address}", f"cannot be fetched from MLflow ({one_line(error)})", f"check it and {ENVIRONMENT}"
        ) from None


def was_tracked(run_folder: Path) -> bool:
    """Say whether MLflow knows of a run, or will."""
    return Spool(run_folder).size > 0


def send_model(run_folder: Path, files: Sequence[tuple[str, str]] = (), register: str | None = None) -> Destination:
    """Send a run's model as it now is; first to the spool, so that `sync` finishes what an outage keeps from it.

    Args:
        run_folder: of a run with a model, which no driver holds.
        files: of the run folder that changed with it, each with the artifact folder it goes to.
        register: name in the registry, if it is to be there.

    Returns:
        The store, which now has it.

    Raises:
        UserError: the run was not tracked.
        PbtDisentError: the store did not take it yet.
    """
    spool = Spool(run_folder)
    rounds = [record.content for record in spool.records(0) if "generation" in record.content]
    if not rounds:
        raise UserError(f"run {run_folder}", "has no record for MLflow (spool.jsonl)", "give a run that was tracked")
    now, last = time.time_ns() // 1_000_000, rounds[-1]
    if files:
        spool.append(files_record(now, last["path"], last["identity"], files))
    spool.append(model_record(now, last["path"], last["identity"], last["generation"], register))
    return sync(run_folder)
