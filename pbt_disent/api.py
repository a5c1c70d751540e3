"""Runs from Python: prepare one, execute it anywhere, read what came out.

folder = create_run(load_config("demo"), "demo", Path("runs"), None)
outcome = execute(prepare(folder), in_process)
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pbt_disent import data as data_module
from pbt_disent.config import Config, load_config
from pbt_disent.data.base import ImageData
from pbt_disent.data.splits import split
from pbt_disent.data.storage import StoredImages, materialise
from pbt_disent.errors import UserError
from pbt_disent.models import OBJECTIVES, LatentModel, ResolvedObjective, resolve
from pbt_disent.models.latent_names import kept_names
from pbt_disent.population.engine import Kind
from pbt_disent.population.events import Event, GenerationCommitted, Observer, Observers
from pbt_disent.population.executor import Executor, InProcessExecutor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.population.safekeeping import Safekeeping
from pbt_disent.rounds.chosen import chosen_intervals
from pbt_disent.rounds.held_out import score_held_out
from pbt_disent.rounds.method import Result, run_method, with_sound_models
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.spending import check_budget
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.files import explained, write_atomically
from pbt_disent.store.log import GrowingLog
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.training.calibrate import choose_stacked
from pbt_disent.training.given import given_to, labelled_factors, ranking_labels, with_classes
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import IntArray, Json

__all__ = ["Outcome", "Prepared", "check", "execute", "extend", "in_process", "prepare"]

Launch = Callable[[WorkerContext, Callable[[Executor], Result]], Result]

EXTENDABLE = ("population.max_generations", "rounds.leaf_max_generations", "final.generations")
CHANGEABLE = ("resources.", "tracking.")


@dataclass(frozen=True)
class Prepared:
    """A run whose images lie on disk and whose objective is checked.

    Args:
        folder: of the run.
        config: resolved.
        data: the images with all that is known of them; true factors are for evaluation only.
        images: the same images, memory-mapped, without factors.
        objectives: complete and checked; several in a mixed population.
        device: what workers train on.
        given: digests of the labels and partners that the objective is told, by their names in `WorkerContext`.
        stacked: whether the replicas of a member train as one model.
    """

    folder: RunFolder
    config: Config
    data: ImageData
    images: StoredImages
    objectives: tuple[ResolvedObjective, ...]
    device: str = "cpu"
    given: dict[str, str] = field(default_factory=dict)
    stacked: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The objectives as the populations know them."""
        names = [one.name for one in self.objectives]
        kinds = []
        for index, (name, one) in enumerate(zip(names, self.objectives, strict=True)):
            label = name if names.count(name) == 1 else f"{name}-{names[:index].count(name) + 1}"
            defaults = one.complete({key: mutable.default for key, mutable in one.space.items()})
            fixed = self.config.method == "fixed"
            kinds.append(Kind(label, {}, defaults) if fixed else Kind(label, one.space, one.fixed))
        return tuple(kinds)

    @property
    def identity(self) -> DataIdentity:
        """The whole set of images, held-out ones included."""
        return DataIdentity(
            name=self.data.name, fingerprint=self.data.fingerprint, subset=None, images=len(self.images)
        )

    @property
    def training(self) -> IntArray | None:
        """Indices of the images that are trained on; none for all."""
        return split(len(self.images), self.config.data.held_out)[0] if self.config.data.held_out else None

    @property
    def held_out(self) -> IntArray | None:
        """Indices of the images that are never trained on; none where there are none."""
        return split(len(self.images), self.config.data.held_out)[1] if self.config.data.held_out else None

    @property
    def ranking(self) -> str | None:
        """Digest of the labels that members are ranked by; none where they are ranked without labels."""
        if self.config.method != "pbt-vae":
            return None
        return ranking_labels(self.config.supervision, self.data, self.training, BlobStore(self.folder.blobs))

    @property
    def reported(self) -> IntArray | None:
        """Indices of the images that true factors are compared on: neither trained on nor ranked by, where possible."""
        if self.held_out is not None or self.ranking is None or self.config.supervision.share == 1:
            return self.held_out
        labels = np.asarray(BlobStore(self.folder.blobs).get_array(self.ranking), dtype=np.int64)
        return np.flatnonzero((labels < 0).all(axis=1))

    @property
    def told(self) -> str:
        """One line on the labels that the objective learns from; empty where it learns from images alone."""
        supervision = self.config.supervision
        ranked = self.config.method == "pbt-vae"
        if not (self.given or ranked):
            return ""
        columns = labelled_factors(supervision, self.data, enumerated="labels" in self.given)
        names = ", ".join(self.data.factor_names[column] for column in columns)
        if ranked:
            return f"ranks by {supervision.metric} on the labels of {supervision.share:.0%} of the images: {names}"
        if "labels" in self.given:
            return f"learns from the labels of {supervision.share:.0%} of the images: {names}"
        return f"learns from pairs that agree in all but {supervision.differing} of: {names}"

    @property
    def context(self) -> WorkerContext:
        """What workers need to know."""
        return WorkerContext(
            store=self.folder.blobs,
            images=str(self.images.folder),
            objective=self.objectives[0].name,
            settings=self.objectives[0].settings,
            device=self.device,
            others=tuple((one.name, one.settings) for one in self.objectives[1:]),
            stacked=self.stacked,
            bf16=self.config.resources.precision == "bf16",
            compiled=self.config.resources.compile,
            **self.given,
        )


@dataclass(frozen=True)
class Outcome:
    """A finished run: its rounds, its model (none where nothing was learned), and the scores that were written.

    `told` says whether the run was given labels or pairs.
    """

    result: Result
    model: LatentModel | None
    scores: Json
    told: bool = False


def check(config: Config) -> tuple[ImageData, tuple[ResolvedObjective, ...]]:
    """Open the data and check the objectives against it, before anything is written.

    Raises:
        UserError: the data cannot be read, or the objective does not fit it.
    """
    data = data_module.load(config.data.name, **config.data.options)
    if len(data) < 2:
        raise UserError(f"data {config.data.name}", f"must have at least 2 images, not {len(data)}", "add images")
    if config.final.objective is not None:
        OBJECTIVES[config.final.objective.name]
    sections = [with_classes(one, config.supervision, data) for one in config.objectives]
    check_budget(config, len(split(len(data), config.data.held_out)[0]) if config.data.held_out else len(data))
    return data, tuple(resolve(section, data.shape) for section in sections)


def prepare(folder: RunFolder, *, progress: Callable[[int, int], None] | None = None, device: str = "cpu") -> Prepared:
    """Read or render the images into the memory-mapped store that all runs in the folder beside share, and check all.

    Args:
        folder: of the run.
        progress: called with images done and images in all.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: the data cannot be read, or the objective does not fit it.
    """
    config = folder.config()
    data, objectives = check(config)
    images = materialise(data, folder.path.parent / ".images" / data.fingerprint[:16], progress)
    folder.describe(
        data={"name": data.name, "fingerprint": data.fingerprint, "shape": list(data.shape), "images": len(data)}
    )
    prepared = Prepared(folder, config, data, images, objectives, device)
    blobs = BlobStore(folder.blobs)
    told = given_to([one.name for one in objectives], config.supervision, data, prepared.training, blobs)
    prepared = replace(prepared, given=told)
    return replace(prepared, stacked=_stacked(prepared))


def _stacked(prepared: Prepared) -> bool:
    """Return how replicas train, as `auto` found it when the run was prepared first; the run keeps to that."""
    folder, resources = prepared.folder, prepared.config.resources
    known = folder.description().get("replicas")
    if resources.replicas == "auto" and known is not None:
        return bool(known == "stacked")
    first = prepared.objectives[0]
    values = first.complete({name: mutable.default for name, mutable in first.space.items()})
    replicas = prepared.config.population.replicas
    stacked = choose_stacked(resources, prepared.context, len(prepared.images), values, replicas)
    folder.describe(replicas="stacked" if stacked else "looped")
    return stacked


def in_process(context: WorkerContext, main: Callable[[Executor], Result]) -> Result:
    """Launch without Ray: everything in this process, one task after another."""
    return main(InProcessExecutor(context))


def execute(prepared: Prepared, launch: Launch, observer: Observer) -> Outcome:
    """Run the method, from wherever its record stands, then export and score the final model.

    Args:
        prepared: the run.
        launch: brings up workers, calls back with their executor, and takes them down.
        observer: who watches.

    Raises:
        UserError: a living driver holds the run.
        Stopped: the run was stopped; executing again goes on.
    """
    folder, config = prepared.folder, prepared.config
    blobs, changed = BlobStore(folder.blobs), threading.Event()
    with _explained(), contextlib.ExitStack() as stack:
        lease = folder.lease()
        stack.callback(lease.release)
        stack.enter_context(folder.published(changed))
        observer = Observers([observer, _Bell(changed)])
        journal = RoundJournal(folder.path, blobs, lease, folder.documents(lease.epoch))
        journal.sweep([digest for digest in (*prepared.given.values(), prepared.ranking) if digest])

        def main(executor: Executor) -> Result:
            keeper = Safekeeping(executor, journal, blobs, GrowingLog(folder.path / "incidents.jsonl"))
            setup = RunSetup(
                config=config,
                images=prepared.training,
                size=len(prepared.images) if prepared.training is None else len(prepared.training),
                kinds=prepared.kinds,
                context={
                    "settings": [one.settings for one in prepared.objectives],
                    **prepared.given,
                },
                data=prepared.identity,
                blobs=blobs,
                journal=journal,
                log=GrowingLog(folder.path / "rounds.jsonl"),
                executor=keeper,
                observer=observer,
                ranking=prepared.ranking,
                shape=prepared.images.shape,
                stacked=prepared.stacked,
            )
            return with_sound_models(run_method(setup, folder.labels), keeper.sound, prepared.held_out is not None)

        result = launch(prepared.context, main)
        model = _export(folder, blobs, result)
        intervals = chosen_intervals(config, result, journal, blobs, prepared.images.array, prepared.ranking)
        scores = _scores(result, model, intervals)
        scores["held_out"] = score_held_out(config, result, blobs, prepared.images.array, prepared.held_out)
        write_atomically(folder.scores, (json.dumps(scores, indent=1, sort_keys=True) + "\n").encode())
    return Outcome(result, model, scores, told=bool(prepared.told))


class _Bell:
    """Rings whenever a generation is committed."""

    def __init__(self, bell: threading.Event) -> None:
        self._bell = bell

    def notify(self, event: Event) -> None:
        if isinstance(event, GenerationCommitted):
            self._bell.set()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say in one line why the storage does not do."""
    try:
        yield
    except OSError as error:
        raise explained(error) from error


def _export(folder: RunFolder, blobs: BlobStore, result: Result) -> LatentModel | None:
    best = result.last.best
    if best is None:
        return None
    model = LatentModel.from_checkpoint(blobs.get(best.checkpoint), information=np.asarray(best.information))
    model.latents = kept_names(folder.model, model.weights) or model.latents
    model.save(folder.model)
    return model


def _scores(result: Result, model: LatentModel | None, intervals: Json) -> Json:
    best = result.last.best
    first = result.first.best
    return {
        "format": 1,
        "first": None if first is None else {"reason": result.first.reason, "score": first.score, **intervals["first"]},
        "final": None
        if best is None or model is None
        else {
            "round": result.last.path,
            "reason": result.last.reason,
            "score": best.score,
            "information": list(best.information),
            "latents": model.latents,
            "hyperparameters": best.hyperparameters,
            **intervals["final"],
        },
        "leaves": [
            {"leaf": leaf.number, "levels": [len(level.latents) for level in leaf.levels], "reason": leaf.reason}
            for leaf in result.leaves
        ],
        "images": result.images,
        "true_factors": None,
    }


def extend(folder: RunFolder, overrides: list[str]) -> Config:
    """Change a run's config before it is resumed, where that cannot change what is on record.

    Numbers of generations may grow; resources and tracking may change.

    Raises:
        UserError: any other change.
    """
    before = folder.config()
    if not overrides:
        return before
    after = load_config(folder.path / "config.yaml", overrides)
    old, new = _flat(before.dump()), _flat(after.dump())
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or key.startswith(CHANGEABLE):
            continue
        given = f"--set {key}={new.get(key)}"
        if key not in EXTENDABLE:
            raise UserError(given, "may not change in a resumed run", "start a new run with it")
        if old.get(key) is not None and (new.get(key) is None or new[key] < old[key]):
            raise UserError(given, f"may only grow beyond {old[key]}", "start a new run with it")
    folder.write_config(after)
    folder.describe(config_digest=after.digest)
    return after


def _flat(tree: Json, prefix: str = "") -> Json:
    flat: Json = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
