"""Where MLflow records a run: the store that the config names, the one of the environment, or one in the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pbt_disent.errors import UserError

__all__ = ["ENVIRONMENT", "Destination", "embedded_uri", "resolve"]

ENVIRONMENT = "MLFLOW_TRACKING_URI"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class Destination:
    """A tracking store.

    Args:
        uri: for MLflow's client, with credentials if it has any.
        artifacts: where a new experiment keeps its files; none where the server decides.
        label: the URI without credentials, fit for a log. Names the store in the spool.
        description: one line on what it is and who chose it.
    """

    uri: str
    artifacts: str | None
    label: str
    description: str


def embedded_uri(run_folder: Path) -> str:
    """Return the URI of the SQLite store in a run folder."""
    return f"sqlite:///{run_folder.resolve() / 'mlflow.db'}"


def resolve(run_folder: Path, uri: str | None, environ: Mapping[str, str] | None = None) -> Destination:
    """Decide where a run is recorded.

    Args:
        run_folder: the run.
        uri: what the config names; none leaves it to the environment, and then to the run folder.
        environ: the environment; that of this process by default.

    Raises:
        UserError: the URI is a plain folder, which MLflow no longer supports well, or of an unknown kind.
    """
    found = (os.environ if environ is None else environ).get(ENVIRONMENT, "")
    if uri is None and not found:
        inside = run_folder.resolve()
        artifacts = (inside / "mlartifacts").as_uri()
        return Destination(embedded_uri(run_folder), artifacts, "embedded", f"MLflow store {inside / 'mlflow.db'}")
    chosen, source = (found, f"from {ENVIRONMENT}") if uri is None else (uri, "from the config")
    value = f"{ENVIRONMENT}={_redacted(chosen)}" if uri is None else f"tracking.uri={_redacted(chosen)}"
    scheme = chosen.split(":", 1)[0].split("+", 1)[0].lower() if ":" in chosen else ""
    if scheme in {"", "file"}:
        raise UserError(
            value,
            "must be a database or a server: MLflow's file store is deprecated and slow",
            "give sqlite:///path/mlflow.db or http://host:port, or leave it out for a store in the run folder",
        )
    if scheme not in {*_DATABASES, "http", "https", "databricks"}:
        raise UserError(value, f"has the unknown kind {scheme!r}", f"give http, https, {', '.join(_DATABASES)}")
    label = _redacted(chosen)
    return Destination(chosen, _artifacts(chosen, scheme, run_folder), label, f"MLflow at {label} ({source})")


def _artifacts(uri: str, scheme: str, run_folder: Path) -> str | None:
    """A server keeps files itself; beside a bare database they need a folder."""
    if scheme == "sqlite":
        database = Path(uri.split(":///", 1)[-1].split("?", 1)[0])
        return (database.resolve().parent / "mlartifacts").as_uri()
    return (run_folder.resolve() / "mlartifacts").as_uri() if scheme in _DATABASES else None


def _redacted(uri: str) -> str:
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=f"***@{parts.netloc.rsplit('@', 1)[1]}"))
