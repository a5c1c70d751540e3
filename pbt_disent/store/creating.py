"""Where runs begin: a name that is free, and a folder for it, here or in an object store."""

from __future__ import annotations

import itertools
import json
import re
import secrets
from pathlib import Path

from pbt_disent.config import Config
from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import RemoteFiles, below, is_uri
from pbt_disent.store.mirror import working_folder
from pbt_disent.store.run_folder import FORMAT, RunFolder, refuse_secrets

__all__ = ["create_run"]

NAME = re.compile(r"[^./\\\s-][^/\\\x00-\x1f]*")
"""What a user may call a run: it becomes a folder beside the others."""


def create_run(config: Config, preset: str, root: Path | str, name: str | None) -> RunFolder:
    """Create a new run folder.

    Args:
        config: resolved.
        preset: where it came from, for people to read.
        root: folder or URI of all runs.
        name: of the run; by default the preset's name and the first free number.

    Raises:
        UserError: the name is taken or would be another folder, or the folder cannot be written.
    """
    refuse_secrets(config)
    if name is not None and not NAME.fullmatch(name):
        rule = "must be the name of one folder, which begins with no '.', '-' or space"
        raise UserError(f"--name {name}", rule, "choose another")
    names = [name] if name else (f"{preset}-{number}" for number in itertools.count(1))
    try:
        for candidate in names:
            folder = _claim(root, candidate)
            if folder is None:
                continue
            folder.write_config(config)
            folder.describe(preset=preset, config_digest=config.digest)
            folder.publish()
            return folder
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise UserError(f"run folder {root}", f"must be writable ({reason})", "choose another with --runs") from None
    raise UserError(f"run {name!r}", f"exists already in {root}", "give another --name, or resume it")


def _claim(root: Path | str, name: str) -> RunFolder | None:
    """Take a name for a new run; none where it is taken."""
    if not is_uri(root):
        Path(root).mkdir(parents=True, exist_ok=True)
        try:
            (Path(root) / name).mkdir()
        except FileExistsError:
            return None
        return RunFolder(Path(root) / name)
    location = below(root, name)
    files = RemoteFiles(location)
    if files.look("run.json") is not None:
        return None
    nonce = secrets.token_hex(8)
    files.write("run.json", json.dumps({"format": FORMAT, "name": name, "nonce": nonce}).encode())
    if json.loads(files.read("run.json")).get("nonce") != nonce:  # another one has taken it at the same moment
        return None
    return RunFolder(working_folder(location), location)
