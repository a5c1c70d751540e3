"""Execute a prepared run to its end, from wherever its record stands, and write its model and its scores."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pbt_disent.api.preparing import Prepared
from pbt_disent.files import storage_failure, write_atomically
from pbt_disent.models import LatentModel
from pbt_disent.models.latent_names import kept_names
from pbt_disent.population.events import Event, GenerationCommitted, Observer, Observers
from pbt_disent.population.executor import Executor, InProcessExecutor
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.safekeeping import Safekeeping
from pbt_disent.rounds.chosen import chosen_intervals
from pbt_disent.rounds.held_out import score_held_out
from pbt_disent.rounds.method import Result, run_method, with_sound_models
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import GrowingLog
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import Json

__all__ = ["Launch", "Outcome", "execute", "in_process"]

Launch = Callable[[WorkerContext, Callable[[Executor], Result]], Result]


@dataclass(frozen=True)
class Outcome:
    """A finished run: its rounds, its model (none where nothing was learned), and the scores that were written.

    `told` says whether the run was given labels or pairs.
    """

    result: Result
    model: LatentModel | None
    scores: Json
    told: bool = False


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
                together=prepared.together,
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
        raise storage_failure(error) from error


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
