"""A population in MLflow as a script would write it, one call for each value: a peer of the benchmark.

It makes the same runs, with the same metrics, parameters and tags, and as few look-ups as such a script needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient

from pbt_disent.types import Json

__all__ = ["latest_metrics", "log_plainly"]


def log_plainly(uri: str, experiment: str, records: Sequence[Json]) -> None:
    """Write the generations of one population.

    Args:
        uri: of the store.
        experiment: its name; made if need be.
        records: `pbt_disent.tracking.records.generation_record`, in order.
    """
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    place = found.experiment_id if found else client.create_experiment(experiment)
    parent = client.create_run(place).info.run_id
    children = {
        one["member"]: client.create_run(
            place, tags={"mlflow.parentRunId": parent, "member": str(one["member"])}
        ).info.run_id
        for one in records[0]["members"]
    }
    for record in records:
        _log(client, parent, record, record["metrics"], record["params"], {"generation": str(record["generation"])})
        for one in record["members"]:
            _log(client, children[one["member"]], record, one["metrics"], one["params"], one["tags"])


def latest_metrics(uri: str, experiment: str) -> dict[str, dict[str, float]]:
    """Return the latest metrics of every member on record in an experiment, by the number in the member's tag."""
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    runs = client.search_runs([found.experiment_id], "tags.member != ''", max_results=1000)
    return {str(int(run.data.tags["member"].lstrip("m"))): dict(run.data.metrics) for run in runs}


def _log(client: MlflowClient, run: str, record: Json, metrics: Json, params: Json, tags: Json) -> None:
    for name, value in params.items():
        if record["generation"] == 0:
            client.log_param(run, name, value)
    for name, value in metrics.items():
        client.log_metric(run, name, value, record["time"], record["generation"])
    for name, value in tags.items():
        client.set_tag(run, name, value)
