"""Execute a prepared run to its end, from wherever its record stands, and write its model and its scores."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pbt_disent.api.preparing import PreparedRun
from pbt_disent.files import storage_failure, write_atomically
from pbt_disent.models import LatentModel
from pbt_disent.models.latent_model import saved_latent_names
from pbt_disent.population.events import Event, GenerationCommitted, Observer, Observers
from pbt_disent.population.executor import Executor, Launcher
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.recovery import RecoveringExecutor
from pbt_disent.rounds.evaluation import score_held_out, selection_intervals
from pbt_disent.rounds.method import RunResult, run_method, with_restored_models
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import Json

__all__ = ["SCORES_FORMAT", "RunOutcome", "execute"]

SCORES_FORMAT = 2


@dataclass(frozen=True)
class RunOutcome:
    """A finished run.

    Args:
        result: The result of its rounds.
        model: The final model, or None where nothing was learned.
        scores: The scores that were written.
        is_supervised: Whether the run used labels or pairs of the data set.
    """

    result: RunResult
    model: LatentModel | None
    scores: Json
    is_supervised: bool = False


def execute(prepared: PreparedRun, observer: Observer, launcher: Launcher | None = None) -> RunOutcome:
    """Run the method, from wherever its record stands, then export and score the final model.

    Args:
        prepared: The run.
        observer: The observer that is notified of events.
        launcher: The launcher that brings up the workers. The default is the executor that the config names.

    Raises:
        UserError: Another driver is executing the run.
        Stopped: The run was stopped; executing it again goes on.
    """
    folder, config = prepared.folder, prepared.config
    launcher = config.resources.executor if launcher is None else launcher
    blobs, changed = BlobStore(folder.blobs), threading.Event()
    with _explain_storage_failures(), contextlib.ExitStack() as stack:
        lease = folder.lease()
        stack.callback(lease.release)
        stack.enter_context(folder.published(changed))
        observer = Observers([observer, _CommitSignal(changed)])
        journal = RoundJournal(folder.path, blobs, lease, folder.documents(lease.epoch))
        journal.collect_garbage([digest for digest in (*prepared.supervision.digests, prepared.ranking) if digest])

        def main(executor: Executor) -> RunResult:
            incidents = AppendOnlyLog(folder.path / "incidents.jsonl")
            recovering = RecoveringExecutor(executor, journal, blobs, incidents)
            setup = RunSetup(
                config=config,
                images=prepared.training_images,
                num_images=len(prepared.images) if prepared.training_images is None else len(prepared.training_images),
                objectives=prepared.objectives_by_label,
                supervision=prepared.supervision,
                data=prepared.identity,
                image_shape=prepared.images.shape,
                blobs=blobs,
                journal=journal,
                log=AppendOnlyLog(folder.path / "rounds.jsonl"),
                executor=recovering,
                observer=observer,
                ranking=prepared.ranking,
                together=prepared.together,
            )
            result = run_method(setup, folder.labels)
            return with_restored_models(result, recovering.restore, prepared.held_out is not None)

        largest = max(config.population.first_size, config.final.size * config.final.oversize)
        result = launcher.launch(main, prepared.context, config.resources, folder.name, largest)
        model = _export(folder, blobs, result)
        intervals = selection_intervals(config, result, journal, blobs, prepared.images.array, prepared.ranking)
        scores = _scores(result, model, intervals)
        scores["held_out"] = score_held_out(config, result, blobs, prepared.images.array, prepared.held_out)
        write_atomically(folder.scores, (json.dumps(scores, indent=1, sort_keys=True) + "\n").encode())
    return RunOutcome(result, model, scores, is_supervised=bool(prepared.supervision_summary))


class _CommitSignal:
    """Sets an event whenever a generation is committed."""

    def __init__(self, committed: threading.Event) -> None:
        self._committed = committed

    def notify(self, event: Event) -> None:
        if isinstance(event, GenerationCommitted):
            self._committed.set()


@contextlib.contextmanager
def _explain_storage_failures() -> Iterator[None]:
    """Raise errors of the storage as messages in one line."""
    try:
        yield
    except OSError as error:
        raise storage_failure(error) from error


def _export(folder: RunFolder, blobs: BlobStore, result: RunResult) -> LatentModel | None:
    best = result.last.best
    if best is None:
        return None
    model = LatentModel.from_checkpoint(blobs.get(best.checkpoint), information=np.asarray(best.information))
    model.latents = saved_latent_names(folder.model, model.weights) or model.latents
    model.save(folder.model)
    return model


def _scores(result: RunResult, model: LatentModel | None, intervals: Json) -> Json:
    best = result.last.best
    first = result.first.best
    return {
        "format": SCORES_FORMAT,
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
            for leaf in result.leaf_runs
        ],
        "image_passes": result.image_passes,
        "true_factors": None,
    }
