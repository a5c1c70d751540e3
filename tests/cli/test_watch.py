from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pbt_disent.cli import main
from pbt_disent.cli.snapshot import Snapshot, WatchedFolder
from pbt_disent.cli.watch_table import draw, headline
from pbt_disent.config import validate
from pbt_disent.population.clock import Clock
from pbt_disent.population.events import GenerationCommitted, Phase, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.manifest import Manifest, member_interval
from pbt_disent.store.lease import Lease
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.simulated import simulate


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run(validate({"population": {"size": 4, "max_generations": 5}}), "test", tmp_path / "runs", "one")


def log(run: RunFolder, **row: object) -> None:
    with (run.path / "rounds.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def begin(run: RunFolder, manifests: Sequence[Manifest]) -> None:
    first = manifests[0]
    log(run, event="started", path=first.round, identity=first.identity, num_images=96, fitness={"name": "udr"})


def commit(run: RunFolder, manifest: Manifest) -> None:
    folder = run.path / "rounds" / manifest.round
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"generation-{manifest.generation:04d}.json").write_bytes(manifest.to_bytes())


def text(run: RunFolder) -> str:
    from rich.console import Console

    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        folder = WatchedFolder(run)
        console.print(draw(folder, folder.read()))
    return console.export_text()


def test_a_run_is_watched_from_its_start_to_its_end(run: RunFolder) -> None:
    folder, manifests = WatchedFolder(run), simulate(members=4, generations=2, failing=[(1, 2)])
    assert folder.read().state == "starting"
    lease = Lease(run.path / "lease.json")
    clock = Clock(run.path)
    clock.__enter__()
    assert folder.read().state == "running"
    begin(run, manifests)
    clock.notify(RoundStarted("0", 4, 2, 5, 96, 1000, UDRFitness(), 0))
    for manifest in manifests:
        commit(run, manifest)
        clock.notify(Phase("0", manifest.generation, "trained"))
        clock.notify(GenerationCommitted(manifest, replayed=False))
    seen = folder.read()
    assert seen.rounds == {"0": manifests}
    assert (seen.current, seen.ended) == (["0"], {})
    shown = text(run)
    best = manifests[-1].best
    assert best is not None
    assert "one: running, rpu-vae on sprites" in shown
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("0 ")]
    assert row[:5] == ["0", "96", "2/5", "udr", f"{best.score:.3f}"]
    rows = [line.split() for line in shown.splitlines() if line.strip().startswith("m0")]
    assert rows[0][0] == f"m{best.member:02d}", "the best member stands first"
    assert rows[-1][:3] == ["m02", "none", "nan"]
    reason = {"event": "finished", "path": "0", "reason": "max_generations", "generations": 2}
    log(run, **reason)
    clock.notify(RoundFinished("0", "max_generations"))
    assert folder.read().ended == {"0": "max_generations"}
    clock.__exit__(None, None, None)
    lease.release()
    assert folder.read().state == "stopped"
    assert f"go on with: pbt-disent resume {run.path}" in headline(folder, folder.read())
    run.scores.write_text("{}")
    assert folder.read().state == "finished"
    again = Lease(run.path / "lease.json")
    assert folder.read().state == "running", "a finished run may be extended"
    again.release()


def test_scores_are_shown_with_their_intervals(run: RunFolder) -> None:
    (manifest,) = simulate(members=4, generations=1, replicas=3)
    begin(run, [manifest])
    commit(run, manifest)
    shown = text(run)
    interval = member_interval(manifest, manifest.best, UDRFitness())
    assert manifest.best is not None
    assert interval is not None
    low, high = f"{interval.low:.3f}", f"{interval.high:.3f}"
    assert f" {manifest.best.score:.3f} [{low} to {high}] " in shown
    assert f" {manifest.best.score:.3f}  {low} to {high} " in shown
    assert "95 %" in shown


def test_progress_within_a_generation_and_what_is_left(run: RunFolder) -> None:
    manifests = simulate(members=4, generations=1)
    lease = Lease(run.path / "lease.json")
    now = [0.0]
    clock = Clock(run.path, lambda: now[0])
    clock.__enter__()
    begin(run, manifests)
    clock.notify(RoundStarted("0", 4, 2, 5, 96, 1000, UDRFitness(), 0))
    now[0] = 10.0
    clock.notify(TaskDone("0", 0, 8000))
    commit(run, manifests[0])
    clock.notify(Phase("0", 0, "trained"))
    clock.notify(GenerationCommitted(manifests[0], replayed=False))
    now[0] = 20.0
    wanted = sum(record.image_passes for record in manifests[0].members)
    clock.notify(TaskDone("0", 1, wanted // 4))
    seen = WatchedFolder(run).read()
    assert seen.usage.current_image_passes == wanted // 4
    assert seen.seconds_left is not None
    assert seen.seconds_left > 0
    assert "training, 25%" in text(run)
    lease.release()


def test_rounds_side_by_side_each_have_a_table_and_a_progress(run: RunFolder) -> None:
    lease = Lease(run.path / "lease.json")
    now = [0.0]
    clock = Clock(run.path, lambda: now[0])
    clock.__enter__()
    wanted = 0
    for path in ("0/leaf1/1", "0/leaf2/1"):
        manifests = simulate(path, members=12, generations=1)
        begin(run, manifests)
        clock.notify(RoundStarted(path, 12, 2, 5, 96, 1000, UDRFitness(), 0))
        commit(run, manifests[0])
        clock.notify(GenerationCommitted(manifests[0], replayed=False))
        wanted = sum(record.image_passes for record in manifests[0].members)
    now[0] = 10.0
    clock.notify(TaskDone("0/leaf1/1", 1, wanted // 4))
    clock.notify(TaskDone("0/leaf2/1", 1, wanted // 2))
    assert WatchedFolder(run).read().current == ["0/leaf1/1", "0/leaf2/1"]
    shown = text(run)
    assert "training, 25%" in shown
    assert "training, 50%" in shown
    assert "round 0/leaf1/1, generation 1, 4 more" in shown
    assert "round 0/leaf2/1, generation 1, 4 more" in shown
    lease.release()


def test_a_round_begun_anew_on_other_inputs_is_read_anew(run: RunFolder) -> None:
    folder = WatchedFolder(run)
    first = simulate(members=4, generations=2)
    begin(run, first)
    for manifest in first:
        commit(run, manifest)
    assert len(folder.read().rounds["0"]) == 2
    other = simulate(members=4, generations=1)[0].model_copy(update={"identity": "f" * 64})
    for file in (run.path / "rounds" / "0").iterdir():
        file.unlink()
    begin(run, [other])
    commit(run, other)
    assert folder.read().rounds["0"] == [other]


def test_without_a_terminal_each_generation_is_a_line(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = simulate(members=4, generations=2)
    lease = Lease(run.path / "lease.json")
    begin(run, manifests)
    commit(run, manifests[0])

    was_read, read = threading.Event(), WatchedFolder.read

    def read_and_tell(folder: WatchedFolder) -> Snapshot:
        seen = read(folder)
        was_read.set()
        return seen

    monkeypatch.setattr(WatchedFolder, "read", read_and_tell)

    def finish() -> None:
        was_read.wait(60)
        commit(run, manifests[1])
        log(run, event="finished", path="0", reason="converged", generations=2)
        run.scores.write_text("{}")
        lease.release()

    thread = threading.Thread(target=finish)
    thread.start()
    assert main(["watch", str(run.path), "--interval", "0.1"]) == 0
    thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("one: running")
    assert lines[1] == "round 0: 96 images"
    assert [line.split(":")[0] for line in lines[2:4]] == ["  0 generation 1", "  0 generation 2"]
    assert lines[4] == "round 0 ended: converged"
    assert lines[5].startswith("one: finished")


def test_a_run_that_nobody_works_on_ends_the_watch(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    Lease(run.path / "lease.json").release()
    assert main(["watch", "one", "--runs", str(run.path.parent)]) == 1
    assert "one: stopped" in capsys.readouterr().out
    assert main(["watch", "--once", "--runs", str(run.path.parent)]) == 0
    assert "one: stopped" in capsys.readouterr().out


def test_a_run_that_a_service_starts_again_is_starting_and_not_stopped(run: RunFolder) -> None:
    Lease(run.path / "lease.json").release()
    served = [True]
    folder = WatchedFolder(run, lambda: served[0], "pbt-disent resume one --address http://head:8265")
    assert folder.read().state == "starting"
    served[0] = False
    seen = folder.read()
    assert seen.state == "stopped"
    assert headline(folder, seen).endswith("go on with: pbt-disent resume one --address http://head:8265")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["two"], ["run 'two'", "known: one"]),
        (["one", "--interval", "0"], ["--interval 0", "at least 0.1"]),
        (["--address", "http://127.0.0.1:9"], ["needs the name of a run"]),
        (["one", "--address", "http://127.0.0.1:9"], ["does not answer"]),
    ],
)
def test_bad_input_is_one_line(
    run: RunFolder, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", *arguments, "--runs", str(run.path.parent)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(word in line for word in words), line
