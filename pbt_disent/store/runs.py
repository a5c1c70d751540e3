"""Create a run under a name that is free, and find one again by its path or URI, its name, or as the newest."""

from __future__ import annotations

import itertools
import json
import re
import secrets
from pathlib import Path

from pbt_disent.config import Config
from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import RemoteFiles, is_uri, join_location
from pbt_disent.store.mirror import mirror_folder
from pbt_disent.store.run_folder import FORMAT, RunFolder, refuse_secrets

__all__ = ["create_run", "find_run", "newest_run"]

RUN_NAME = re.compile(r"[^./\\\s-][^/\\\x00-\x1f]*")
"""What a user may call a run: it becomes a folder beside the others."""


def create_run(config: Config, preset: str, root: Path | str, name: str | None) -> RunFolder:
    """Create a new run folder.

    Args:
        config: The resolved config.
        preset: The name of the preset or file that the config comes from, for people to read.
        root: The folder or URI of all runs.
        name: The name of the run; by default the preset's name and the first free number.

    Returns:
        The folder of the run.

    Raises:
        UserError: The name is taken or would be another folder, or the folder cannot be written.
    """
    refuse_secrets(config)
    if name is not None and not RUN_NAME.fullmatch(name):
        rule = "must be the name of one folder, which begins with no '.', '-' or space"
        raise UserError(f"--name {name}", rule, "choose another")
    candidates = [name] if name else (f"{preset}-{number}" for number in itertools.count(1))
    try:
        for candidate in candidates:
            folder = _reserve(root, candidate)
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


def find_run(reference: Path | str, root: Path | str = "runs") -> RunFolder:
    """Find a run by path or URI, or by name below a folder.

    Args:
        reference: The path, URI or name of the run.
        root: The folder or URI of all runs.

    Returns:
        The folder of the run.

    Raises:
        UserError: There is none, or the folder is no run of the format that this version knows.
    """
    reference = str(reference)
    if is_uri(reference) or (is_uri(root) and not Path(reference).is_dir()):
        folder = _remote_run(reference if is_uri(reference) else join_location(root, reference))
    else:
        folder = RunFolder(_local_run(reference, Path(root)))
    folder.description()
    return folder


def newest_run(root: Path | str) -> RunFolder:
    """Return the run that was created last.

    Args:
        root: The folder of all runs.

    Raises:
        UserError: There is none, or it is no run of the format that this version knows.
    """
    if is_uri(root):
        raise UserError(f"--runs {root}", "holds runs in no order of age", "name one")
    newest = max(Path(root).glob("*/run.json"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise UserError(f"folder {root}", "holds no run", "start one with: pbt-disent run demo")
    return find_run(newest.parent, root)


def _reserve(root: Path | str, name: str) -> RunFolder | None:
    """Take a name for a new run; None where it is taken."""
    if not is_uri(root):
        Path(root).mkdir(parents=True, exist_ok=True)
        try:
            (Path(root) / name).mkdir()
        except FileExistsError:
            return None
        return RunFolder(Path(root) / name)
    location = join_location(root, name)
    files = RemoteFiles(location)
    if files.stat("run.json") is not None:
        return None
    nonce = secrets.token_hex(8)
    files.write("run.json", json.dumps({"format": FORMAT, "name": name, "nonce": nonce}).encode())
    if json.loads(files.read("run.json")).get("nonce") != nonce:  # another one has taken it at the same moment
        return None
    return RunFolder(mirror_folder(location), location)


def _local_run(reference: str, root: Path) -> Path:
    path = next((path for path in (Path(reference), root / reference) if path.is_dir()), None)
    if path is None:
        names = sorted(file.parent.name for file in root.glob("*/run.json"))
        rule = f"is neither a folder nor a name in {root}"
        raise UserError(f"run {reference!r}", rule, f"known: {', '.join(names) or 'none'}")
    return path


def _remote_run(location: str) -> RunFolder:
    """Open a run in an object store, with its mirror as the store has it now."""
    files, folder = RemoteFiles(location), RunFolder(mirror_folder(location), location)
    try:
        exists = files.stat("run.json") is not None
        if exists:
            folder.refresh()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"run {location}", f"cannot be read ({reason})", "check the storage") from None
    if not exists:
        raise UserError(f"run {location}", "is not there (it has no run.json)", "give the URI of a run")
    return folder
