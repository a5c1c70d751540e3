from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.population.events import GenerationCommitted
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.tracking.spool import Spool
from pbt_disent.tracking.uploader import Uploader, sync
from pbt_disent.tracking.writer import MlflowWriter
from tests.simulated import simulate
from tests.tracking.servers import wait_for_writers

Play = Callable[..., None]
PATIENCE = 60.0


def client(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path, query: str = "") -> list[Run]:
    store = client(folder)
    experiment = store.get_experiment_by_name("pbt-disent/dots")
    assert experiment is not None
    return list(store.search_runs([experiment.experiment_id], query, order_by=["attributes.run_name ASC"]))


def history(folder: Path, run: Run, metric: str) -> list[tuple[int, float]]:
    points = client(folder).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def passes(folder: Path, run: Run) -> list[tuple[int, float]]:
    kind = "population" if run.data.tags["kind"] == "round" else "lineage"
    return history(folder, run, f"{kind}/image_passes")


def test_a_population_is_a_parent_and_a_child_per_slot_with_the_generation_as_step(
    ready_folder: Path, play: Play
) -> None:
    manifests = simulate(members=4, generations=3, failing=[(1, 2)])
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        assert str(ready_folder) in writer.description
        play(writer, manifests)
    (parent,) = runs(ready_folder, "tags.kind = 'round'")
    assert (parent.info.run_name, parent.info.status) == ("one round 0", "FINISHED")
    assert parent.data.params == {
        "members": "4",
        "replicas": "2",
        "num_images": "40",
        "image_passes_per_generation": "1000",
        "fitness": "udr",
    }
    tags = parent.data.tags
    assert (tags["round"], tags["run"], tags["reason"], tags["seed"]) == ("0", "one", "converged", "7")
    assert tags["data_digest"] == "ab" * 32
    assert history(ready_folder, parent, "fitness/best") == [
        (m.generation, m.best.score) for m in manifests if m.best is not None
    ]
    assert [d.dataset.name for d in parent.inputs.dataset_inputs] == ["dots"]
    children = runs(ready_folder, "tags.kind = 'member' and tags.round = '0'")
    assert [child.info.run_name for child in children] == ["0 m00", "0 m01", "0 m02", "0 m03"]
    for number, child in enumerate(children):
        records = [m.members[number] for m in manifests]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        assert history(ready_folder, child, "hp/beta") == [
            (g, r.hyperparameters["beta"]) for g, r in enumerate(records)
        ]
        scored = [(g, r.score) for g, r in enumerate(records) if r.score is not None]
        assert history(ready_folder, child, "fitness/score") == scored
        assert float(child.data.params["init/beta"]) == records[0].hyperparameters["beta"]
        assert child.data.params["fixed/batch_size"] == "128.0"
        last = records[-1]
        assert child.data.tags["operation"] == last.operation
        assert child.data.tags["parent"] == f"m{last.parent:02d}"
    assert history(ready_folder, children[2], "fitness/score")[-1][0] == 2
    assert len(history(ready_folder, children[2], "fitness/score")) == 2, "a member without a score has no point there"


def test_rounds_are_kept_apart_and_their_population_is_a_table(ready_folder: Path, play: Play) -> None:
    first, leaf = simulate(members=3, generations=2), simulate("0/leaf1/1", members=3, generations=1)
    folder = ready_folder / "rounds" / "0"
    folder.mkdir(parents=True)
    for manifest in first:
        (folder / f"generation-{manifest.generation:04d}.json").write_bytes(manifest.to_bytes())
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, first)
        play(writer, leaf, reason="max_generations")
    names = [run.info.run_name for run in runs(ready_folder, "tags.kind = 'round'")]
    assert names == ["one round 0", "one round 0/leaf1/1"]
    assert len(runs(ready_folder, "tags.round = '0/leaf1/1' and tags.kind = 'member'")) == 3
    parent = runs(ready_folder, "tags.kind = 'round' and tags.round = '0'")[0]
    table = Path(client(ready_folder).download_artifacts(parent.info.run_id, "population.csv")).read_text().splitlines()
    assert table[0] == "generation,member,operation,parent,status,score,batch_size,beta,lr"
    assert len(table) == 1 + 2 * 3
    record = first[1].members[2]
    assert table[-1].split(",")[:5] == ["1", "2", record.operation, str(record.parent), "ok"]
    assert float(table[-1].split(",")[5]) == record.score


def test_every_round_names_the_images_that_it_trains_on(ready_folder: Path, play: Play) -> None:
    parts = {"0": (None, 40), "0/leaf1/1": ("cd" * 32, 12)}
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        for path, (subset, images) in parts.items():
            data = DataIdentity(name="dots", fingerprint="ab" * 32, subset=subset, num_images=images)
            play(writer, [one.model_copy(update={"data": data}) for one in simulate(path, members=2, generations=1)])
    datasets = {}
    for run in runs(ready_folder, "tags.kind = 'round'"):
        (used,) = run.inputs.dataset_inputs
        profile = json.loads(used.dataset.profile)
        assert (used.dataset.name, profile["fingerprint"], profile["shape"]) == ("dots", "ab" * 32, [1, 8, 8])
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]
        datasets[run.data.tags["round"]] = (used.dataset.digest, profile["subset"], profile["num_images"])
    assert datasets == {"0": ("ab" * 6, None, 40), "0/leaf1/1": ("ab" * 6 + "-" + "cd" * 6, "cd" * 32, 12)}


def test_sending_everything_again_changes_nothing(ready_folder: Path, play: Play) -> None:
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, simulate(members=3, generations=3))
    before = [(run.info.run_id, run.data.metrics, run.data.tags) for run in runs(ready_folder)]
    (ready_folder / "spool.ack").unlink()
    sync(ready_folder)
    after = runs(ready_folder)
    assert [(run.info.run_id, run.data.metrics, run.data.tags) for run in after] == before
    assert all(len(passes(ready_folder, run)) == 3 for run in after)


def test_a_resumed_run_adds_only_what_is_new(ready_folder: Path, play: Play) -> None:
    manifests = simulate(members=3, generations=4)
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, manifests[:2], reason=None)
    assert {run.info.status for run in runs(ready_folder)} == {"KILLED"}
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, manifests, reason="converged", done=2)
    all_runs = runs(ready_folder)
    assert len(all_runs) == 4
    assert {run.info.status for run in all_runs} == {"FINISHED"}
    assert all([step for step, _ in passes(ready_folder, run)] == [0, 1, 2, 3] for run in all_runs)
    kinds = [record.content["kind"] for record in Spool(ready_folder).records(0)]
    assert kinds == ["run", "generation", "generation", "stopped", "generation", "generation", "finished"]


def test_a_generation_that_a_crash_kept_out_of_the_spool_is_noted_on_resume(ready_folder: Path, play: Play) -> None:
    manifests = simulate(members=3, generations=3)
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, manifests[:1], reason=None)
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, manifests, done=2)
    parent = runs(ready_folder, "tags.kind = 'round'")[0]
    assert [step for step, _ in history(ready_folder, parent, "population/image_passes")] == [0, 1, 2]


def test_files_go_to_the_round_that_was_last(ready_folder: Path, play: Play) -> None:
    (ready_folder / "report.html").write_text("<p>found</p>")
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, simulate(members=3, generations=1))
        play(writer, simulate("final", members=3, generations=1))
        writer.finish()
    store = client(ready_folder)
    by_round = {
        run.data.tags["round"]: {entry.path for entry in store.list_artifacts(run.info.run_id)}
        for run in runs(ready_folder, "tags.kind = 'round'")
    }
    assert by_round == {"0": set(), "final": {"report.html", "config.yaml"}}


def test_the_caller_never_waits(run_folder: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, release, delivered = threading.Event(), threading.Event(), threading.Event()

    def upload(_self: Uploader, _should_continue: object) -> None:
        stuck.set()
        release.wait(PATIENCE)
        delivered.set()

    monkeypatch.setattr(Uploader, "upload", upload)
    writer = MlflowWriter(run_folder, None, "one", "dots")
    play(writer, simulate(members=3, generations=1), reason=None)
    assert stuck.wait(PATIENCE)
    play(writer, simulate(members=56, generations=2), reason=None)
    left = writer.close(timeout=0.2)
    assert not delivered.is_set()
    assert left.records == len(list(Spool(run_folder).records(0)))
    release.set()


@pytest.mark.slow
def test_a_dead_server_costs_nothing_but_delay(ready_folder: Path, play: Play) -> None:
    dead = "http://127.0.0.1:9"
    writer = MlflowWriter(ready_folder, dead, "one", "dots")
    play(writer, simulate(members=3, generations=2))
    left = writer.close(timeout=6)
    wait_for_writers()
    assert left.records == 3
    assert left.failure is not None
    assert "\n" not in left.failure
    with pytest.raises(PbtDisentError, match="lacks 3 records"):
        sync(ready_folder, dead)
    assert sync(ready_folder, f"sqlite:///{ready_folder}/mlflow.db").label.startswith("sqlite")
    assert len(runs(ready_folder)) == 4
    assert all(len(passes(ready_folder, run)) == 2 for run in runs(ready_folder))


def test_what_mlflow_refuses_is_left_out_and_the_rest_goes_on(
    ready_folder: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = simulate(members=2, generations=2)
    bad = second.members[0].model_copy(update={"hyperparameters": {"not/../allowed": 1.0}})
    broken = second.model_copy(update={"members": (bad, second.members[1])})
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, [first], reason=None)
        writer.notify(GenerationCommitted(broken, replayed=False))
        play(writer, simulate("final", members=2, generations=1))
    assert "MLflow refused generation:0:" in caplog.text
    assert writer.pending().records == 0
    assert len(runs(ready_folder, "tags.round = 'final'")) == 3


def test_a_run_that_somebody_deleted_is_made_again(ready_folder: Path, play: Play) -> None:
    manifests = simulate(members=2, generations=2)
    writer = MlflowWriter(ready_folder, None, "one", "dots")
    play(writer, manifests[:1], reason=None)
    until = time.monotonic() + PATIENCE
    while writer.pending().records and time.monotonic() < until:
        time.sleep(0.05)
    for run in runs(ready_folder):
        client(ready_folder).delete_run(run.info.run_id)
    play(writer, manifests, done=1)
    assert writer.close(PATIENCE).records == 0
    parent = runs(ready_folder, "tags.kind = 'round'")[0]
    assert [step for step, _ in history(ready_folder, parent, "population/image_passes")] == [1]


def test_sync_asks_for_a_password_that_it_was_not_told(ready_folder: Path, play: Play) -> None:
    writer = MlflowWriter(ready_folder, "http://ann:s3cret@127.0.0.1:9", "one", "dots")
    play(writer, simulate(members=2, generations=1))
    writer.close(timeout=0)
    assert "s3cret" not in (ready_folder / "spool.jsonl").read_text()
    with pytest.raises(UserError, match=r"recorded at http://\*\*\*@127.0.0.1:9; set MLFLOW_TRACKING_URI"):
        sync(ready_folder)


def test_sync_needs_a_run_that_was_tracked(run_folder: Path) -> None:
    with pytest.raises(UserError, match=r"has no record for MLflow"):
        sync(run_folder)


def test_sync_waits_for_nobody(ready_folder: Path, play: Play) -> None:
    with MlflowWriter(ready_folder, None, "one", "dots") as writer:
        play(writer, simulate(members=2, generations=1))
    (ready_folder / "spool.ack").write_text(json.dumps({}))
    with Spool(ready_folder).sending(), pytest.raises(UserError, match="another process"):
        sync(ready_folder)


def test_a_file_store_is_refused_before_the_run_begins(run_folder: Path) -> None:
    with pytest.raises(UserError, match="file store"):
        MlflowWriter(run_folder, f"file://{run_folder}", "one", "dots")
    assert not (run_folder / "spool.jsonl").exists()
