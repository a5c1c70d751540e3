"""Which Ray a run joins, if any, and the token that opens it. Imports no ray, so that a command line may ask early.

The token is never printed, sent on or kept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from pbt_disent.errors import UserError

__all__ = ["TOKEN_REMEDY", "address_to_join", "check_reachable", "find_token"]

LOCAL = "local"
CONNECT_SECONDS = 5.0
TOKEN_REMEDY = "set RAY_AUTH_TOKEN_PATH to the file with the cluster's token, or put it into ~/.ray/auth_token"


def address_to_join(address: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the Ray that a run joins, or `None` where it starts one of its own.

    Args:
        address: The address that the user gave: ``HOST:PORT``, ``auto`` (the Ray of this node) or ``local`` (one of
            the run's own). `None` stands for what RAY_ADDRESS says, which is how Ray tells its jobs where they run.
        environ: The environment variables; those of this process by default.

    Returns:
        The address, or `None`.

    Raises:
        UserError: The address is of another kind.

    Examples:
        >>> address_to_join("10.0.0.1:6379")
        '10.0.0.1:6379'
        >>> address_to_join(None, {"RAY_ADDRESS": "auto"})
        'auto'
        >>> print(address_to_join("local"))
        None
    """
    if address is None:
        variable = (os.environ if environ is None else environ).get("RAY_ADDRESS", "")
        # A URL there names a dashboard, to which jobs are submitted.
        return None if variable in {"", LOCAL} or "://" in variable else variable
    if address == LOCAL:
        return None
    host, separator, port = address.rpartition(":")
    if address != "auto" and not (separator and host and "/" not in host and port.isdigit()):
        raise UserError(
            f"address {address}",
            "must be HOST:PORT, auto or local",
            "a dashboard's URL is for pbt-disent submit, status, logs, stop, list and resume",
        )
    return address


def check_reachable(address: str) -> None:
    """See that something listens at an address to join: Ray itself would wait for two minutes.

    Args:
        address: The address, as `address_to_join` returned it. Of ``auto`` nothing is checked.

    Raises:
        UserError: Nothing listens there.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"address {address}",
            f"does not answer ({error.strerror or error})",
            "start Ray there with: ray start --head, or leave --address out for a Ray of the run's own",
        ) from None


def find_token(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token of the cluster from where Ray looks for it, or `None` if there is none.

    These are RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, and ~/.ray/auth_token, in that order.

    Args:
        environ: The environment variables; those of this process by default.

    Returns:
        The token, or `None`.

    Raises:
        UserError: RAY_AUTH_TOKEN_PATH names no readable file.
    """
    environ = os.environ if environ is None else environ
    if token := environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    token_path = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(token_path) if token_path else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError as error:
        if token_path:
            raise UserError(
                f"RAY_AUTH_TOKEN_PATH={token_path}", f"is not readable ({error.strerror})", "correct it"
            ) from None
        return None
