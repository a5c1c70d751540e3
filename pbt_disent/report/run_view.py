"""A read-only view of a run folder, finished or not: its rounds, their lineage, and the latents that they learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pbt_disent.config import Config, read_yaml, validate
from pbt_disent.data.storage import StoredImages
from pbt_disent.errors import UserError
from pbt_disent.files import read_json_lines
from pbt_disent.population.fitness import Fitness, load_fitness
from pbt_disent.population.journal import read_manifests
from pbt_disent.population.manifest import Manifest, MemberRecord, best_of
from pbt_disent.store.run_folder import check_format
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = [
    "LearnedLatent",
    "LineageStep",
    "RoundView",
    "RunView",
    "ancestors",
    "config_of",
    "parent_path",
    "read_learned_latents",
    "read_run",
    "replacements",
    "stored_images",
    "winner",
]


@dataclass(frozen=True)
class RoundView:
    """One round of a run.

    Args:
        path: The path of the round, such as ``0/leaf1/1``.
        manifests: The manifests of its generations; empty if it has only begun.
        events: The rows about it in the log of rounds, by event; of several rows the last.
    """

    path: str
    manifests: list[Manifest]
    events: dict[str, Json] = field(default_factory=dict)

    @property
    def image_passes(self) -> int:
        """The image passes of all models of the round."""
        return self.manifests[-1].image_passes if self.manifests else 0

    @property
    def fitness(self) -> Fitness:
        """What the round ranks by, as its log says."""
        document = self.logged("started", "fitness")
        return load_fitness(document) if isinstance(document, dict) else Fitness()

    def logged(self, event: str, key: str) -> object:
        """Return what the log of rounds has under a key in the row of an event; None if nothing."""
        return self.events.get(event, {}).get(key)


@dataclass(frozen=True)
class RunView:
    """One run.

    Args:
        folder: The folder of the run.
        info: The contents of ``run.json``.
        config: The text of ``config.yaml``; empty if there is none.
        rounds: The rounds in the order in which they began.
        leaves: For each leaf run (``0/leaf1``) that has ended, the row of the log that says why.
        scores: The contents of ``scores.json``; None before the end of the run.
    """

    folder: Path
    info: Json
    config: str
    rounds: list[RoundView]
    leaves: dict[str, Json]
    scores: Json | None

    @property
    def image_passes(self) -> int:
        """The image passes of all rounds."""
        return sum(view.image_passes for view in self.rounds)


def read_run(folder: Path) -> RunView:
    """Read a run folder.

    Args:
        folder: The folder of the run.

    Raises:
        UserError: The folder is no run of the format that this version knows.
        PbtDisentError: A manifest cannot be read.
    """
    info = _read_json(folder / "run.json")
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
    return RunView(folder, info, text, rounds, leaves, _read_json(folder / "scores.json"))


def config_of(run: RunView) -> Config | None:
    """Return the config of a run; None where another version of this package wrote it."""
    try:
        return validate(read_yaml(run.config))
    except (UserError, yaml.YAMLError):
        return None


def stored_images(run: RunView) -> StoredImages | None:
    """Return the images of a run; None if they do not lie beside it any more."""
    fingerprint = str((run.info.get("data") or {}).get("fingerprint", ""))[:16]
    try:
        return StoredImages.open(run.folder.resolve().parent / ".images" / fingerprint)
    except UserError:
        return None


def parent_path(path: str) -> str | None:
    """Return the path of the round that a round was cut from; None for a round on all images.

    >>> [parent_path(path) for path in ("0/leaf1/2", "0/leaf1/1", "0")]
    ['0/leaf1/1', '0', None]
    """
    *stem, last = path.split("/")
    if not stem:
        return None
    if last.isdigit() and int(last) > 1:
        return "/".join([*stem, str(int(last) - 1)])
    return "/".join(stem[:-1]) or None


def _read_json(path: Path) -> Json | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@dataclass(frozen=True, order=True)
class LineageStep:
    """One member in one generation."""

    generation: int
    member: int


def winner(manifests: Sequence[Manifest]) -> LineageStep | None:
    """Return the best member of all generations, the earliest among equals; None if no member has a score."""
    best = best_of(manifests)
    return None if best is None else LineageStep(best[0], best[1].member)


def ancestors(manifests: Sequence[Manifest], last: LineageStep | None) -> list[LineageStep]:
    """Return the steps that the weights of a member went through, from a fresh start to `last`, in order of time."""
    steps: list[LineageStep] = []
    member = last.member if last else None
    for generation in range(last.generation if last else -1, -1, -1):
        if member is None:
            break
        steps.append(LineageStep(generation, member))
        member = manifests[generation].members[member].parent
    return steps[::-1]


def replacements(manifests: Sequence[Manifest]) -> list[tuple[int, MemberRecord]]:
    """Return every member that was replaced, with the generation in which its replacement began."""
    return [
        (manifest.generation, record)
        for manifest in manifests
        for record in manifest.members
        if record.operation in {"exploit", "restart"}
    ]


@dataclass(frozen=True)
class LearnedLatent:
    """A latent that a round learned, with the segments that it was cut into.

    Args:
        path: The path of the round.
        latent: The index of the latent in the best model of the round.
        images: The indices of the labelled images, an array (N,).
        values: The values of the latent, an array (N,).
        segments: The segment that each image is in, an array (N,), with -1 for none.
    """

    path: str
    latent: int
    images: IntArray
    values: FloatArray
    segments: IntArray

    @property
    def name(self) -> str:
        """The latent and its round in words."""
        return f"f{self.latent} of round {self.path}"

    @property
    def num_segments(self) -> int:
        """The number of segments."""
        return len(np.unique(self.segments[self.segments >= 0]))


def read_learned_latents(run_folder: Path) -> list[LearnedLatent]:
    """Read the label table of a run.

    Args:
        run_folder: The folder of the run.

    Returns:
        The learned latents in the order of the table, those of a round that several leaf runs share once; empty if
        there is no table.
    """
    try:
        table = pq.read_table(run_folder / "labels" / "labels.parquet")
    except (OSError, pa.ArrowInvalid):
        return []
    columns = {name: table.column(name).to_numpy() for name in ("image", "leaf", "latent", "value", "segment")}
    rounds = np.asarray(table.column("round").cast(pa.string()).to_pylist(), dtype=object)
    learned: dict[tuple[str, int], LearnedLatent] = {}
    for path, leaf, latent in dict.fromkeys(_label_columns(rounds, columns)):
        if (path, latent) not in learned:
            rows = (rounds == path) & (columns["leaf"] == leaf) & (columns["latent"] == latent)
            learned[path, latent] = LearnedLatent(
                path, latent, columns["image"][rows], columns["value"][rows], columns["segment"][rows]
            )
    return list(learned.values())


def _label_columns(rounds: npt.NDArray[Any], columns: dict[str, npt.NDArray[Any]]) -> list[tuple[str, int, int]]:
    """Return round, leaf run and latent where any of them changes, in the order of the table."""
    if not len(rounds):
        return []
    change = np.ones(len(rounds), dtype=bool)
    change[1:] = (rounds[1:] != rounds[:-1]) | np.any(
        [columns[name][1:] != columns[name][:-1] for name in ("leaf", "latent")], axis=0
    )
    rows = np.flatnonzero(change)
    return [(str(rounds[row]), int(columns["leaf"][row]), int(columns["latent"][row])) for row in rows]
