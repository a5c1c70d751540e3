"""The token that opens a Ray cluster. Imports no ray; the token is never printed, sent on or kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pbt_disent.errors import UserError

__all__ = ["TOKEN_REMEDY", "find_token"]

TOKEN_REMEDY = "set RAY_AUTH_TOKEN_PATH to the file with the cluster's token, or put it into ~/.ray/auth_token"


def find_token(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token, from where Ray looks for it: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    Raises:
        UserError: RAY_AUTH_TOKEN_PATH names no readable file.
    """
    environ = os.environ if environ is None else environ
    if token := environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError as error:
        if named:
            raise UserError(f"RAY_AUTH_TOKEN_PATH={named}", f"is not readable ({error.strerror})", "mend it") from None
        return None
