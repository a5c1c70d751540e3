"""Log the records of a spool in MLflow, so that logging one twice changes nothing.

An experiment per data set; in it a run per round, and below that a run per member slot. Runs are found by a tag
before they are made, and metrics carry the time of their record: MLflow keeps one of equal points.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT as CONTEXT

from pbt_disent.errors import UserError
from pbt_disent.population.manifest import member_name
from pbt_disent.tracking.round_page import (
    FIGURE_FILE,
    DrawPopulation,
    committed_manifests,
    population_table,
    round_note,
)
from pbt_disent.tracking.tracking_store import TrackingStore
from pbt_disent.types import Json

__all__ = ["KEY", "ROUND_KEY", "TrackingClient"]

KEY = "pbt_disent.key"
"""The tag by which the run of a round or of a member is found again."""
ROUND_KEY = "pbt_disent.round_key"
"""The tag that the runs of a round and of its members share."""
_FIGURE_SECONDS, _FIGURE_SHARE = 60.0, 0.002
"""A round's figure is drawn again after so long at the earliest, and takes at most this share of the time."""
_LOG = logging.getLogger(__name__)


@dataclass
class _RoundRuns:
    """The MLflow runs of one round.

    Args:
        run_id: The run of the round.
        members: The run of each member.
        running: Whether MLflow shows them as running.
        next_figure: The monotonic time from which the figure may be drawn again, or -inf if there is none yet.
    """

    run_id: str
    members: dict[int, str] = field(default_factory=dict)
    running: bool = True
    next_figure: float = -math.inf


@dataclass
class _RunData:
    """What is logged of one run in one call."""

    metrics: list[Metric] = field(default_factory=list)
    params: Json = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, record: Json, metrics: dict[str, float], params: Json, tags: dict[str, str]) -> None:
        """Add what a generation's record says of the run."""
        time, step = record["time"], record["generation"]
        self.metrics += [Metric(name, value, time, step) for name, value in metrics.items()]
        self.params |= params
        self.tags |= tags


class TrackingClient:
    """Logs one run of this package in one store.

    Args:
        store: The store.
        run_folder: The folder of the run, in which the files that records name lie.
        run: The first record of the spool, which names the run.
        draw_population: Draws the population of a round for the round's page; None for no figure.
    """

    def __init__(
        self, store: TrackingStore, run_folder: Path, run: Json, draw_population: DrawPopulation | None = None
    ) -> None:
        self._store = store
        self._run_folder = run_folder
        self._run = run
        self._draw_population = draw_population
        self._client = MlflowClient(tracking_uri=store.uri)
        self._experiment: str | None = None
        self._rounds: dict[str, _RoundRuns] = {}
        self._logged_tags: dict[str, dict[str, str]] = {}

    def log(self, records: Sequence[Json]) -> None:
        """Log a record, or generations of one round together.

        What MLflow refuses as invalid is left out, with a warning.

        Args:
            records: The records, all of one round if there are several.

        Raises:
            Exception: Whatever MLflow raises when the store cannot be reached, or not written.
        """
        try:
            self._log_batch(records)
        except MlflowException as error:
            if error.error_code not in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}:
                raise
            self._rounds.clear()
            self._logged_tags.clear()
            self._experiment = None
            for record in records:
                self._log_again(record)

    def _log_again(self, record: Json) -> None:
        """Log one record with nothing cached: somebody may have deleted a run by hand."""
        try:
            self._log_batch([record])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            _LOG.warning("MLflow refused %s: %s", record["key"], error.message)

    def _log_batch(self, records: Sequence[Json]) -> None:
        record = records[-1]
        match record["kind"]:
            case "generation":
                self._log_generations(records)
            case "finished":
                self._log_finished(record)
            case "files":
                self._log_files(record)
            case "model":
                self._log_model(record)
            case "stopped":
                self._terminate(self._round_runs(record), "KILLED", record["time"])

    def _log_generations(self, records: Sequence[Json]) -> None:
        """Log generations of one round, in order: all of a member in one call, the latest of its tags."""
        last = records[-1]
        runs = self._round_runs(last)
        self._revive(runs)
        members: dict[int, _RunData] = {}
        population = _RunData()
        for record in records:
            for member in record["members"]:
                data = members.setdefault(member["member"], _RunData())
                data.add(record, member["metrics"], member["params"], member["tags"])
            best = "none" if record["best"] is None else member_name(record["best"])
            params = {**record["params"], "fitness": record["fitness"]}
            tags = {"generation": str(record["generation"]), "best_member": best}
            population.add(record, record["metrics"], params, tags)
        for number, data in members.items():
            self._log_run(self._member_run(runs, records[0], number), data)
        self._log_figure(runs, last)
        population.tags["mlflow.note.content"] = round_note(
            last,
            self._experiment_id(),
            runs.run_id,
            list(runs.members.values()),
            has_figure=runs.next_figure > -math.inf,
        )
        self._log_run(runs.run_id, population)

    def _log_figure(self, runs: _RoundRuns, record: Json, *, force: bool = False) -> None:
        """Put a figure of the population on the round's page, unless that has a recent one."""
        start = time.monotonic()
        if self._draw_population is None or (start < runs.next_figure and not force):
            return
        manifests = committed_manifests(self._run_folder, record)
        if not manifests:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FIGURE_FILE
            path.write_bytes(self._draw_population(manifests, record["fitness"]))
            self._client.log_artifact(runs.run_id, str(path))
        now = time.monotonic()
        runs.next_figure = now + max(_FIGURE_SECONDS, (now - start) / _FIGURE_SHARE)

    def _log_finished(self, record: Json) -> None:
        runs = self._round_runs(record)
        self._log_run(runs.run_id, _RunData(tags={"reason": record["reason"]}))
        manifests = committed_manifests(self._run_folder, record)
        if manifests:
            self._client.log_text(runs.run_id, population_table(manifests), "population.csv")
            self._log_figure(runs, record, force=True)
        self._terminate(runs, "FINISHED", record["time"])

    def _log_files(self, record: Json) -> None:
        runs = self._round_runs(record)
        for name, artifact_folder in record["files"]:
            path = self._run_folder / name
            if path.is_dir():
                self._client.log_artifacts(runs.run_id, str(path), artifact_folder or None)
            elif path.is_file():
                self._client.log_artifact(runs.run_id, str(path), artifact_folder or None)
            else:
                _LOG.warning("%s is gone and was not sent to MLflow", path)

    def _log_model(self, record: Json) -> None:
        from pbt_disent.tracking.models import log_model, register_model

        run = self._client.get_run(self._round_runs(record).run_id)
        try:
            logged = log_model(self._client, run, self._run_folder / record["folder"], record["generation"])
        except UserError as error:
            _LOG.warning("the model was not sent to MLflow: %s", error)
            return
        if record["registered_name"]:
            register_model(self._client, logged, record["registered_name"])

    def _log_run(self, run_id: str, data: _RunData) -> None:
        """Log all in one call; of the tags those that have changed since, which are a quarter of what it takes."""
        logged = self._logged_tags.get(run_id, {})
        changed = [RunTag(name, value) for name, value in data.tags.items() if logged.get(name) != value]
        params = [Param(name, str(value)) for name, value in data.params.items()]
        self._client.log_batch(run_id, metrics=data.metrics, params=params, tags=changed)
        self._logged_tags[run_id] = {**logged, **data.tags}

    def _round_key(self, record: Json) -> str:
        return f"{self._run['uid']}/{record['path']}/{record['identity'][:12]}"

    def _round_runs(self, record: Json) -> _RoundRuns:
        """Return the runs of the record's round, found or made."""
        key = self._round_key(record)
        if key not in self._rounds:
            existing = self._search_runs(key)
            parent = existing.pop(key, None) or self._create_round_run(key, record)
            runs = _RoundRuns(parent.info.run_id, running=parent.info.status == "RUNNING")
            runs.members = {int(run.data.tags["member"].lstrip("m")): run.info.run_id for run in existing.values()}
            self._rounds[key] = runs
        return self._rounds[key]

    def _search_runs(self, round_key: str) -> dict[str, Run]:
        """Return the runs of a round and of its members, by their keys."""
        runs: dict[str, Run] = {}
        query, token = f"tags.`{ROUND_KEY}` = '{round_key}'", None
        while True:
            page = self._client.search_runs([self._experiment_id()], query, page_token=token)
            runs |= {run.data.tags[KEY]: run for run in page}
            token = page.token
            if not token:
                return runs

    def _create_round_run(self, key: str, record: Json) -> Run:
        path = record["path"]
        tags = {KEY: key, ROUND_KEY: key, "kind": "round", "run": self._run["name"], "round": path, **self._run["tags"]}
        name = f"{self._run['name']} round {path}"
        run = self._client.create_run(self._experiment_id(), start_time=record["time"], tags=tags, run_name=name)
        data = self._run["data"]
        if data:
            dataset = _dataset(data, record.get("data") or {})
            self._client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag(CONTEXT, "training")])])
        return run

    def _member_run(self, runs: _RoundRuns, record: Json, member: int) -> str:
        """Return the run of a member, found or made."""
        if member not in runs.members:
            round_key = self._round_key(record)
            tags = {
                KEY: f"{round_key}/{member_name(member)}",
                ROUND_KEY: round_key,
                "mlflow.parentRunId": runs.run_id,
                "kind": "member",
                "run": self._run["name"],
                "round": record["path"],
                "member": member_name(member),
            }
            # MLflow lists the latest start first: members stand in order when each starts 1 ms before the one above.
            start = record["time"] - member
            name = f"{record['path']} {member_name(member)}"
            run = self._client.create_run(self._experiment_id(), start_time=start, tags=tags, run_name=name)
            runs.members[member] = run.info.run_id
        return runs.members[member]

    def _experiment_id(self) -> str:
        """Return the id of the data set's experiment, found, restored or made."""
        if self._experiment is None:
            name = self._run["experiment"]
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                # The tag opens the experiment on the pages for training runs, not on those for chats and traces.
                self._experiment = self._client.create_experiment(
                    name,
                    artifact_location=self._store.artifacts,
                    tags={"mlflow.experimentKind": "custom_model_development"},
                )
            else:
                if experiment.lifecycle_stage == "deleted":
                    self._client.restore_experiment(experiment.experiment_id)
                self._experiment = experiment.experiment_id
        return self._experiment

    def _revive(self, runs: _RoundRuns) -> None:
        """Show a round as running again that was stopped, or finished and then extended."""
        if not runs.running:
            for run_id in (runs.run_id, *runs.members.values()):
                self._client.update_run(run_id, status="RUNNING")
            runs.running = True

    def _terminate(self, runs: _RoundRuns, status: str, time: int) -> None:
        for run_id in (*runs.members.values(), runs.run_id):
            self._client.set_terminated(run_id, status, time)
        runs.running = False


def _dataset(data: Json, part: Json) -> Dataset:
    """Return the images of a round as an MLflow dataset: the whole set, or the part of it that the round trains on."""
    merged = {**data, **part}
    subset = merged.get("subset")
    digest = merged["fingerprint"][:12] + (f"-{subset[:12]}" if subset else "")
    profile = {name: merged.get(name) for name in ("num_images", "shape", "fingerprint", "subset")}
    return Dataset(merged["name"], digest, "local", "{}", profile=json.dumps(profile))
