"""The folder of a run: its names, its birth, and finding it again.

run.json config.yaml lease.json lineage.jsonl rounds.jsonl clock.jsonl spool.jsonl
rounds/<path>/generation-0000.json   superseded/   blobs/   labels/labels.parquet   model/
scores.json report.html mlflow.db mlartifacts/
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import yaml

from pbt_disent.config import Config, validate
from pbt_disent.errors import UserError
from pbt_disent.store.files import write_atomically
from pbt_disent.types import Json

__all__ = ["FORMAT", "RunFolder", "create_run", "find_run", "newest_run"]

FORMAT = 1


class RunFolder:
    """The paths in a run folder, and what its two descriptive files say.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @property
    def name(self) -> str:
        """The run's name: the folder's."""
        return self.path.name

    @property
    def blobs(self) -> Path:
        """Checkpoints and arrays by digest."""
        return self.path / "blobs"

    @property
    def labels(self) -> Path:
        """The label table."""
        return self.path / "labels" / "labels.parquet"

    @property
    def model(self) -> Path:
        """The final model."""
        return self.path / "model"

    @property
    def scores(self) -> Path:
        """The final scores."""
        return self.path / "scores.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def config(self) -> Config:
        """Return the resolved config of the run."""
        return validate(yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8")))

    def write_config(self, config: Config) -> None:
        """Write the resolved config, whole or not at all."""
        write_atomically(self.path / "config.yaml", yaml.safe_dump(config.dump(), sort_keys=False).encode())

    def description(self) -> Json:
        """Return what `run.json` says."""
        description: Json = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        return description

    def describe(self, **details: object) -> None:
        """Add to `run.json`."""
        known = self.description() if (self.path / "run.json").exists() else {}
        content = json.dumps({"format": FORMAT, "name": self.name, **known, **details}, indent=1, sort_keys=True)
        write_atomically(self.path / "run.json", (content + "\n").encode())


def create_run(config: Config, preset: str, root: Path, name: str | None) -> RunFolder:
    """Create a new run folder.

    Args:
        config: resolved.
        preset: where it came from, for people to read.
        root: folder of all runs.
        name: of the run; by default the preset's name and the first free number.

    Raises:
        UserError: the name is taken, or the folder cannot be written.
    """
    names = [name] if name else (f"{preset}-{number}" for number in itertools.count(1))
    try:
        root.mkdir(parents=True, exist_ok=True)
        for candidate in names:
            try:
                (root / candidate).mkdir()
            except FileExistsError:
                continue
            folder = RunFolder(root / candidate)
            folder.write_config(config)
            folder.describe(preset=preset, config_digest=config.digest)
            return folder
    except OSError as error:
        raise UserError(
            f"run folder {root}", f"must be writable ({error.strerror})", "choose another with --runs"
        ) from None
    raise UserError(f"run {name!r}", f"exists already in {root}", "give another --name, or resume it")


def find_run(reference: str, root: Path) -> RunFolder:
    """Find a run by path, or by name under `root`.

    Raises:
        UserError: there is none, or the folder is no run of a format that this version knows.
    """
    path = next((path for path in (Path(reference), root / reference) if path.is_dir()), None)
    if path is None:
        known = sorted(entry.parent.name for entry in root.glob("*/run.json"))
        raise UserError(
            f"run {reference!r}",
            "is neither a folder nor a name in " + str(root),
            f"known: {', '.join(known) or 'none'}",
        )
    folder = RunFolder(path)
    try:
        description = folder.description()
    except (OSError, ValueError):
        raise UserError(
            f"folder {path}", "is no run folder (it has no readable run.json)", "give the path of a run"
        ) from None
    if description.get("format") != FORMAT:
        raise UserError(
            f"run {path} of format {description.get('format')}",
            f"must have format {FORMAT}",
            "use the version that wrote it",
        )
    return folder


def newest_run(root: Path) -> RunFolder:
    """Return the run that was created last.

    Raises:
        UserError: there is none.
    """
    found = sorted(root.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(f"folder {root}", "holds no run", "start one with: pbt-disent run demo")
    return find_run(str(found[-1].parent), root)
