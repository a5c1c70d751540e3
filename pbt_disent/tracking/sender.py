"""Send the records of a spool to MLflow, so that sending one twice changes nothing.

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
from pbt_disent.tracking.describe import PICTURE, Picture, committed, note, population_table
from pbt_disent.tracking.destination import Destination
from pbt_disent.tracking.records import member_name
from pbt_disent.types import Json

__all__ = ["KEY", "ROUND_KEY", "Sender"]

KEY = "pbt_disent.key"
ROUND_KEY = "pbt_disent.round_key"
_PICTURE_SECONDS, _PICTURE_SHARE = 60.0, 0.002
"""A round's picture is drawn again after so long at the earliest, and takes at most this share of the time."""
_LOG = logging.getLogger(__name__)


@dataclass
class _Round:
    """The MLflow runs of one round."""

    run_id: str
    members: dict[int, str] = field(default_factory=dict)
    running: bool = True
    redraw: float = -math.inf
    """When its picture may be drawn again; -inf if it has none."""


@dataclass
class _Batch:
    """What one run is told in one call."""

    metrics: list[Metric] = field(default_factory=list)
    params: Json = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, record: Json, metrics: dict[str, float], params: Json, tags: dict[str, str]) -> None:
        """Add what a generation's record says of the run."""
        time, step = record["time"], record["generation"]
        self.metrics += [Metric(name, value, time, step) for name, value in metrics.items()]
        self.params |= params
        self.tags |= tags


class Sender:
    """One store, one run of ours.

    Args:
        destination: the store.
        run_folder: where the files that records name lie.
        run: the spool's first record.
        picture: draws the population of a round for its note.
    """

    def __init__(self, destination: Destination, run_folder: Path, run: Json, picture: Picture | None = None) -> None:
        self._destination = destination
        self._folder = run_folder
        self._run = run
        self._picture = picture
        self._client = MlflowClient(tracking_uri=destination.uri)
        self._experiment: str | None = None
        self._rounds: dict[str, _Round] = {}
        self._tags: dict[str, dict[str, str]] = {}

    def send(self, records: Sequence[Json]) -> None:
        """Send a record, or generations of one round together; what MLflow refuses as invalid is logged and left out.

        Raises:
            Exception: whatever MLflow raises when the store cannot be reached, or not written.
        """
        try:
            self._dispatch(records)
        except MlflowException as error:
            if error.error_code not in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}:
                raise
            self._rounds.clear()
            self._tags.clear()
            self._experiment = None
            for record in records:
                self._send_again(record)

    def _send_again(self, record: Json) -> None:
        """Send one with nothing cached: somebody may have deleted a run by hand."""
        try:
            self._dispatch([record])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            _LOG.warning("MLflow refused %s: %s", record["key"], error.message)

    def _dispatch(self, records: Sequence[Json]) -> None:
        record = records[-1]
        match record["kind"]:
            case "generation":
                self._generations(records)
            case "finished":
                self._finished(record)
            case "files":
                self._files(record)
            case "model":
                self._model(record)
            case "closed":
                self._terminate(self._round(record), "KILLED", record["time"])

    def _generations(self, records: Sequence[Json]) -> None:
        """Send generations of one round, in order: of each member all in one call, of its tags the latest."""
        last = records[-1]
        runs = self._round(last)
        self._revive(runs)
        members: dict[int, _Batch] = {}
        whole = _Batch()
        for record in records:
            for member in record["members"]:
                batch = members.setdefault(member["member"], _Batch())
                batch.add(record, member["metrics"], member["params"], member["tags"])
            best = "none" if record["best"] is None else member_name(record["best"])
            params = {**record["params"], "fitness": record["fitness"]}
            whole.add(record, record["metrics"], params, {"generation": str(record["generation"]), "best_member": best})
        for number, batch in members.items():
            self._log(self._member(runs, records[0], number), batch)
        self._draw(runs, last)
        pictured = runs.redraw > -math.inf
        told = note(last, self._experiment_id(), runs.run_id, list(runs.members.values()), pictured=pictured)
        whole.tags["mlflow.note.content"] = told
        self._log(runs.run_id, whole)

    def _draw(self, runs: _Round, record: Json, *, at_once: bool = False) -> None:
        """Put a picture of the population beside its round, unless that has a young one."""
        begun = time.monotonic()
        if self._picture is None or (begun < runs.redraw and not at_once):
            return
        manifests = committed(self._folder, record)
        if not manifests:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PICTURE
            path.write_bytes(self._picture(manifests, record.get("fitness", "score")))
            self._client.log_artifact(runs.run_id, str(path))
        now = time.monotonic()
        runs.redraw = now + max(_PICTURE_SECONDS, (now - begun) / _PICTURE_SHARE)

    def _finished(self, record: Json) -> None:
        runs = self._round(record)
        tags = {"reason": record["reason"], **{f"summary.{name}": str(v) for name, v in record["summary"].items()}}
        self._log(runs.run_id, _Batch(tags=tags))
        manifests = committed(self._folder, record)
        if manifests:
            self._client.log_text(runs.run_id, population_table(manifests), "population.csv")
            self._draw(runs, record, at_once=True)
        self._terminate(runs, "FINISHED", record["time"])

    def _files(self, record: Json) -> None:
        runs = self._round(record)
        for name, target in record["files"]:
            path = self._folder / name
            if path.is_dir():
                self._client.log_artifacts(runs.run_id, str(path), target or None)
            elif path.is_file():
                self._client.log_artifact(runs.run_id, str(path), target or None)
            else:
                _LOG.warning("%s is gone and was not sent to MLflow", path)

    def _model(self, record: Json) -> None:
        from pbt_disent.tracking.logged_model import log_model, register

        run = self._client.get_run(self._round(record).run_id)
        try:
            logged = log_model(self._client, run, self._folder / record["folder"], record["generation"])
        except UserError as error:
            _LOG.warning("the model was not sent to MLflow: %s", error)
            return
        if record["register"]:
            register(self._client, logged, record["register"])

    def _log(self, run_id: str, batch: _Batch) -> None:
        """Send all in one call; of the tags those that have changed since, which are a quarter of what it takes."""
        known = self._tags.get(run_id, {})
        changed = [RunTag(name, value) for name, value in batch.tags.items() if known.get(name) != value]
        params = [Param(name, str(value)) for name, value in batch.params.items()]
        self._client.log_batch(run_id, metrics=batch.metrics, params=params, tags=changed)
        self._tags[run_id] = {**known, **batch.tags}

    def _round(self, record: Json) -> _Round:
        """Return the runs of the record's round, found or made."""
        key = f"{self._run['uid']}/{record['path']}/{record['identity'][:12]}"
        if key not in self._rounds:
            found = self._search(key)
            parent = found.pop(key, None) or self._create_round(key, record)
            runs = _Round(parent.info.run_id, running=parent.info.status == "RUNNING")
            runs.members = {int(run.data.tags["member"].lstrip("m")): run.info.run_id for run in found.values()}
            self._rounds[key] = runs
        return self._rounds[key]

    def _search(self, round_key: str) -> dict[str, Run]:
        found: dict[str, Run] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id()], f"tags.`{ROUND_KEY}` = '{round_key}'", page_token=token
            )
            found |= {run.data.tags[KEY]: run for run in page}
            token = page.token
            if not token:
                return found

    def _create_round(self, key: str, record: Json) -> Run:
        path = record["path"]
        tags = {KEY: key, ROUND_KEY: key, "kind": "round", "run": self._run["name"], "round": path, **self._run["tags"]}
        name = f"{self._run['name']} round {path}"
        run = self._client.create_run(self._experiment_id(), start_time=record["time"], tags=tags, run_name=name)
        data = self._run["data"]
        if data:
            dataset = _dataset(data, record.get("data") or {})
            self._client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag(CONTEXT, "training")])])
        return run

    def _member(self, runs: _Round, record: Json, member: int) -> str:
        if member not in runs.members:
            round_key = f"{self._run['uid']}/{record['path']}/{record['identity'][:12]}"
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
        if self._experiment is None:
            name = self._run["experiment"]
            found = self._client.get_experiment_by_name(name)
            if found is None:
                # The tag opens the experiment on the pages for training runs, not on those for chats and traces.
                self._experiment = self._client.create_experiment(
                    name,
                    artifact_location=self._destination.artifacts,
                    tags={"mlflow.experimentKind": "custom_model_development"},
                )
            else:
                if found.lifecycle_stage == "deleted":
                    self._client.restore_experiment(found.experiment_id)
                self._experiment = found.experiment_id
        return self._experiment

    def _revive(self, runs: _Round) -> None:
        """A round that was stopped, or finished and then extended, runs again."""
        if not runs.running:
            for run_id in (runs.run_id, *runs.members.values()):
                self._client.update_run(run_id, status="RUNNING")
            runs.running = True

    def _terminate(self, runs: _Round, status: str, time: int) -> None:
        for run_id in (*runs.members.values(), runs.run_id):
            self._client.set_terminated(run_id, status, time)
        runs.running = False


def _dataset(data: Json, part: Json) -> Dataset:
    """Return the images of a round as MLflow knows data: the whole set, or the part of it that the round trains on."""
    known = {**data, **part}
    subset = known.get("subset")
    digest = known["fingerprint"][:12] + (f"-{subset[:12]}" if subset else "")
    profile = {name: known.get(name) for name in ("images", "shape", "fingerprint", "subset")}
    return Dataset(known["name"], digest, "local", "{}", profile=json.dumps(profile))
