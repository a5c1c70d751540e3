"""Which Ray a run joins, if any. Imports no ray, so that a command line may ask early."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from pbt_disent.errors import UserError

__all__ = ["address_to_join", "knock"]

LOCAL = "local"
KNOCK_SECONDS = 5.0


def address_to_join(address: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the Ray that a run joins; none where it starts one of its own.

    Args:
        address: as the user gave it: ``HOST:PORT``, ``auto`` (the Ray of this node), ``local`` (one of its own), or
            none for what RAY_ADDRESS says, which is how Ray tells its jobs where they run.
        environ: the environment; that of this process by default.

    Raises:
        UserError: the address is of another kind.
    """
    if address is None:
        named = (os.environ if environ is None else environ).get("RAY_ADDRESS", "")
        # A URL there names a dashboard, to which jobs are submitted.
        return None if named in {"", LOCAL} or "://" in named else named
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


def knock(address: str) -> None:
    """See that somebody listens at an address to join: Ray itself would wait for two minutes.

    Raises:
        UserError: nobody does.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"address {address}",
            f"does not answer ({error.strerror or error})",
            "start Ray there with: ray start --head, or leave --address out for a Ray of the run's own",
        ) from None
