"""Where MLflow records a run: the store that the config names, the one of the environment, or one in the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pbt_disent.errors import UserError

__all__ = ["TRACKING_URI", "TrackingStore", "embedded_uri", "resolve_store", "set_mlflow_defaults"]

TRACKING_URI = "MLFLOW_TRACKING_URI"
"""The environment variable that names a store."""
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@dataclass(frozen=True)
class TrackingStore:
    """An MLflow tracking store.

    Args:
        uri: The URI for MLflow's client, with credentials if it has any.
        artifacts: The URI under which a new experiment keeps its files, or None where the server decides.
        label: The URI without credentials, fit for a log; it names the store in the spool.
        description: One line on what the store is and who chose it.
    """

    uri: str
    artifacts: str | None
    label: str
    description: str


def set_mlflow_defaults(environ: MutableMapping[str, str]) -> None:
    """Fill in the settings of MLflow that the user has not set: no telemetry, quiet logs, and short waits.

    The waits are short because the spool does the waiting. Must run before MLflow is imported, which reads some of
    these settings once.

    Args:
        environ: The environment, which is changed in place.

    Example:
        >>> environ = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
        >>> set_mlflow_defaults(environ)
        >>> environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
        ('60', '0')
    """
    for name, value in _DEFAULTS.items():
        environ.setdefault(name, value)


def embedded_uri(run_folder: Path) -> str:
    """Return the URI of the SQLite store in a run folder."""
    return f"sqlite:///{run_folder.resolve() / 'mlflow.db'}"


def resolve_store(run_folder: Path, uri: str | None, environ: Mapping[str, str] | None = None) -> TrackingStore:
    """Decide where a run is recorded.

    Args:
        run_folder: The folder of the run.
        uri: The URI that the config names. None leaves it to the environment, and then to the run folder.
        environ: The environment; that of this process by default.

    Returns:
        The store.

    Raises:
        UserError: The URI is a plain folder, which MLflow no longer supports well, or of an unknown kind.

    Example:
        >>> resolve_store(Path("runs/demo-1"), "https://ann:secret@mlflow.example.org", {}).description
        'MLflow at https://***@mlflow.example.org (from the config)'
    """
    from_environment = (os.environ if environ is None else environ).get(TRACKING_URI, "")
    if uri is None and not from_environment:
        folder = run_folder.resolve()
        artifacts = (folder / "mlartifacts").as_uri()
        return TrackingStore(embedded_uri(run_folder), artifacts, "embedded", f"MLflow store {folder / 'mlflow.db'}")
    if uri is None:
        uri, setting, source = from_environment, TRACKING_URI, f"from {TRACKING_URI}"
    else:
        setting, source = "tracking.uri", "from the config"
    label = _without_credentials(uri)
    scheme = uri.split(":", 1)[0].split("+", 1)[0].lower() if ":" in uri else ""
    if scheme in {"", "file"}:
        raise UserError(
            f"{setting}={label}",
            "must be a database or a server: MLflow's file store is deprecated and slow",
            "give sqlite:///path/mlflow.db or http://host:port, or leave it out for a store in the run folder",
        )
    if scheme not in {*_DATABASES, "http", "https", "databricks"}:
        rule = f"has the unknown kind {scheme!r}"
        raise UserError(f"{setting}={label}", rule, f"give http, https, {', '.join(_DATABASES)}")
    return TrackingStore(uri, _artifacts(uri, scheme, run_folder), label, f"MLflow at {label} ({source})")


def _artifacts(uri: str, scheme: str, run_folder: Path) -> str | None:
    """Return where files go: a server keeps them itself; beside a bare database they need a folder."""
    if scheme == "sqlite":
        database = Path(uri.split(":///", 1)[-1].split("?", 1)[0])
        return (database.resolve().parent / "mlartifacts").as_uri()
    return (run_folder.resolve() / "mlartifacts").as_uri() if scheme in _DATABASES else None


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=f"***@{parts.netloc.rsplit('@', 1)[1]}"))
