"""Read a run folder for the report: whatever is there, of a run that has finished or has not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pbt_disent.config import Config, read_yaml, validate
from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.files import read_json_lines
from pbt_disent.population.fitness import Fitness, load_fitness
from pbt_disent.population.journal import read_manifests
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.run_folder import check_format
from pbt_disent.types import Json

__all__ = ["RoundView", "RunView", "config_of", "parent_path", "read_run", "stored_images"]


@dataclass(frozen=True)
class RoundView:
    """One round.

    Args:
        path: of the round.
        manifests: its generations; none if it has only begun.
        events: its rows in the log of rounds, by event; of several the last.
    """

    path: str
    manifests: list[Manifest]
    events: dict[str, Json] = field(default_factory=dict)

    @property
    def image_passes(self) -> int:
        """The image passes paid, over all models."""
        return self.manifests[-1].image_passes if self.manifests else 0

    @property
    def fitness(self) -> Fitness:
        """What the round ranks by, as its log says."""
        document = self.events.get("started", {}).get("fitness")
        return load_fitness(document) if isinstance(document, dict) else Fitness()

    def fact_of(self, event: str, name: str) -> object:
        """Return what the log of rounds says under a name in the row of an event; none if nothing."""
        return self.events.get(event, {}).get(name)


@dataclass(frozen=True)
class RunView:
    """One run.

    Args:
        folder: of the run.
        info: the contents of ``run.json``.
        config: the text of ``config.yaml``; empty if there is none.
        rounds: in the order in which they began.
        leaves: for each leaf run (``0/leaf1``) that has ended, the row that says why.
        scores: the contents of ``scores.json``; none before the end.
    """

    folder: Path
    info: Json
    config: str
    rounds: list[RoundView]
    leaves: dict[str, Json]
    scores: Json | None

    @property
    def image_passes(self) -> int:
        """The image passes paid, over all rounds."""
        return sum(view.image_passes for view in self.rounds)


def read_run(folder: Path) -> RunView:
    """Read a run.

    Raises:
        UserError: the folder is no run of the format that this version knows.
        PbtDisentError: a manifest cannot be read.
    """
    info = _document(folder / "run.json")
    if info is None:
        raise UserError(f"run {folder}", "must be a run folder (it has no readable run.json)", "give the run's path")
    check_format(info, folder)
    events: dict[str, dict[str, Json]] = {}
    for row in read_json_lines(folder / "rounds.jsonl"):
        events.setdefault(str(row.get("path", "")), {})[str(row.get("event", ""))] = row
    base = folder / "rounds"
    on_disk = {str(path.parent.relative_to(base)) for path in base.glob("**/generation-0000.json")}
    begun = [path for path, rows in events.items() if "started" in rows or path in on_disk]
    paths = begun + sorted(on_disk - set(begun))
    rounds = [RoundView(path, read_manifests(base / path), events.get(path, {})) for path in paths]
    config = folder / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    leaves = {path: rows["leaf_stopped"] for path, rows in events.items() if "leaf_stopped" in rows}
    return RunView(folder, info, text, rounds, leaves, _document(folder / "scores.json"))


def config_of(run: RunView) -> Config | None:
    """Return the config of a run; none where another version wrote it."""
    try:
        return validate(read_yaml(run.config))
    except (UserError, yaml.YAMLError):
        return None


def stored_images(run: RunView) -> StoredImages | None:
    """Return the images of a run, if they still lie beside it."""
    fingerprint = str((run.info.get("data") or {}).get("fingerprint", ""))[:16]
    try:
        return StoredImages.open(run.folder.resolve().parent / ".images" / fingerprint)
    except UserError:
        return None


def parent_path(path: str) -> str | None:
    """Return the round that a round was cut from: ``0/leaf1/2`` from ``0/leaf1/1``, that from ``0``; none for ``0``."""
    *stem, last = path.split("/")
    if not stem:
        return None
    if last.isdigit() and int(last) > 1:
        return "/".join([*stem, str(int(last) - 1)])
    return "/".join(stem[:-1]) or None


def _document(path: Path) -> Json | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None
