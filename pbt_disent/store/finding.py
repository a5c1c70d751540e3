"""Finding a run again: by its path or URI, by its name, or as the newest."""

from __future__ import annotations

from pathlib import Path

from pbt_disent.errors import UserError
from pbt_disent.store.filesystem import RemoteFiles, below, is_uri
from pbt_disent.store.mirror import working_folder
from pbt_disent.store.run_folder import FORMAT, RunFolder

__all__ = ["find_run", "newest_run"]


def find_run(reference: str, root: Path | str) -> RunFolder:
    """Find a run by path or URI, or by name under `root`.

    Raises:
        UserError: there is none, or the folder is no run of a format that this version knows.
    """
    if is_uri(reference) or (is_uri(root) and not Path(reference).is_dir()):
        folder = _remote_run(reference if is_uri(reference) else below(root, reference))
    else:
        folder = RunFolder(_local_run(reference, Path(root)))
    try:
        description = folder.description()
    except (OSError, ValueError):
        raise UserError(
            f"folder {folder.location}", "is no run folder (it has no readable run.json)", "give the path of a run"
        ) from None
    if description.get("format") != FORMAT:
        raise UserError(
            f"run {folder.location} of format {description.get('format')}",
            f"must have format {FORMAT}",
            "use the version that wrote it",
        )
    return folder


def _local_run(reference: str, root: Path) -> Path:
    path = next((path for path in (Path(reference), root / reference) if path.is_dir()), None)
    if path is None:
        known = sorted(entry.parent.name for entry in root.glob("*/run.json"))
        raise UserError(
            f"run {reference!r}",
            "is neither a folder nor a name in " + str(root),
            f"known: {', '.join(known) or 'none'}",
        )
    return path


def _remote_run(location: str) -> RunFolder:
    """Open a run in an object store, with its mirror as the store has it now."""
    files, folder = RemoteFiles(location), RunFolder(working_folder(location), location)
    try:
        there = files.look("run.json") is not None
        if there:
            folder.refresh()
    except OSError as error:
        raise UserError(
            f"run {location}", f"cannot be read ({error.strerror or error})", "see to the storage"
        ) from None
    if not there:
        raise UserError(f"run {location}", "is not there (it has no run.json)", "give the URI of a run")
    return folder


def newest_run(root: Path | str) -> RunFolder:
    """Return the run that was created last.

    Raises:
        UserError: there is none.
    """
    if is_uri(root):
        raise UserError(f"--runs {root}", "holds runs in no order of age", "name one")
    found = sorted(Path(root).glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"folder {root}", "holds no run", "start one with: pbt-disent run demo")
    return find_run(str(found[-1].parent), root)
