"""Names of latents: ``f0``, ``f1``, ... until somebody says what they are, once, in ``model.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pbt_disent.errors import UserError
from pbt_disent.files import write_atomically

__all__ = ["check_names", "default_names", "kept_names", "rename"]

_NAME = re.compile(r"[^\W\d][\w-]{0,63}")
_COLUMNS = ("index", "log_sigma_")
"""How the other columns of a table of codes begin."""


def default_names(size: int) -> list[str]:
    """Return the names of latents that nobody has named."""
    return [f"f{index}" for index in range(size)]


def check_names(names: Sequence[str]) -> None:
    """Refuse names that cannot be columns, parts of file names and arguments.

    Raises:
        UserError: a name is taken twice, has characters other than letters, digits, ``_`` and ``-``, begins with no
            letter, or is that of another column.
    """
    for index, name in enumerate(names):
        if not _NAME.fullmatch(name):
            raise UserError(
                f"latent name {name!r}",
                "must begin with a letter and go on with letters, digits, _ or -, 64 at most",
                "give a word such as rotation",
            )
        if name == _COLUMNS[0] or name.startswith(_COLUMNS[1]):
            raise UserError(f"latent name {name!r}", "is the name of another column", "give a word such as rotation")
        if name in names[:index]:
            taken = names.index(name)
            raise UserError(f"latent name {name!r}", f"is taken by latent {taken}", "give each latent its own")


def rename(folder: Path, names: Mapping[int, str]) -> list[str]:
    """Change the names of some latents of a saved model, in its ``model.json``, whole or not at all.

    Args:
        folder: of the model.
        names: index of a latent -> its new name.

    Returns:
        All names (Z).

    Raises:
        UserError: a name is not usable, or the folder cannot be written.
    """
    path = folder / "model.json"
    header = json.loads(path.read_text(encoding="utf-8"))
    header["latents"] = [names.get(index, name) for index, name in enumerate(header["latents"])]
    check_names(header["latents"])
    try:
        write_atomically(path, (json.dumps(header, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise UserError(f"model {folder}", f"cannot be written ({error.strerror})", "check its permissions") from None
    return list(header["latents"])


def kept_names(folder: Path, weights: bytes) -> list[str] | None:
    """Return the names that somebody gave the model in a folder, if it is the model with these weights.

    Args:
        folder: of the model, which may not exist.
        weights: the content of ``model.safetensors``.
    """
    try:
        if (folder / "model.safetensors").read_bytes() != weights:
            return None
        return list(json.loads((folder / "model.json").read_text(encoding="utf-8"))["latents"])
    except (OSError, ValueError, KeyError):
        return None
