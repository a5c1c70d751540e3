"""The settings under which this package uses MLflow; what the user has set stands."""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["apply_defaults"]

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def apply_defaults(environ: MutableMapping[str, str]) -> None:
    """Fill in what is not set: no telemetry, quiet logs, and short waits, since the spool does the waiting.

    Must run before MLflow is imported, which reads some of these once.
    """
    for name, value in _DEFAULTS.items():
        environ.setdefault(name, value)
