"""The verb replay: what it makes of a lineage, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.cli.replay import replay
from pbt_disent.config import Config, load_config
from pbt_disent.errors import UserError
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.lineage import lineage_events
from pbt_disent.population.manifest import member_interval, score_text
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run
from tests.simulated import simulate


@pytest.fixture
def source(tmp_path: Path) -> RunFolder:
    """A run of which there is a lineage of two rounds."""
    config = load_config("demo", ["seed=5", "budget=100000", "population.replicas=3"])
    folder = create_run(config, "demo", tmp_path / "runs", "source")
    rounds = (("0", 3), ("final", 1))
    rows = [row for path, models in rounds for one in simulate(path, replicas=models) for row in lineage_events(one)]
    (folder.path / "lineage.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def call(source: RunFolder, lineage: str | None = None, **more: Any) -> int:
    return replay(lineage or str(source.path), runs=str(source.path.parent), **more)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    """The runs that would have been executed."""
    folders: list[RunFolder] = []
    monkeypatch.setattr("pbt_disent.cli.run.execute_run", lambda folder, seconds: folders.append(folder) or 0)
    return folders


def made(begun: list[RunFolder]) -> Config:
    (folder,) = begun
    return folder.config()


def test_a_run_of_one_member_follows_the_winner_of_the_final_round(
    source: RunFolder, begun: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(source) == 0
    config, before = made(begun), source.config()
    assert begun[0].name == "source-replay-1"
    assert (config.method, config.seed, config.population.replicas, config.budget) == ("replay", 5, 1, None)
    assert config.population.image_passes_per_generation == before.final.image_passes_per_generation
    assert config.objectives == before.objectives
    assert config.replay is not None
    assert config.replay.source == "source, round final"
    best = max((m.best for m in simulate("final", replicas=1) if m.best), key=lambda record: record.score or 0)
    assert config.replay.schedule[-1] == best.hyperparameters
    said = capsys.readouterr().out
    assert f"member {best.member} of round final" in said
    assert f"score {best.score:.3f}, " in said, "a single model has no interval"


def test_another_round_more_replicas_and_changes(
    source: RunFolder, begun: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    call(source, round_path="0", replicas=4, name="mine", changes=["seed=9"], cpus="1")
    config = made(begun)
    scored = [(one, one.best) for one in simulate("0", replicas=3) if one.best is not None]
    generation, best = max(scored, key=lambda pair: pair[1].score or 0)
    interval = member_interval(generation, best, UDRFitness())
    assert interval is not None
    assert f"score {score_text(best.score or 0, interval)}, " in capsys.readouterr().out
    assert begun[0].name == "mine"
    assert (config.seed, config.population.replicas, config.resources.cpus) == (9, 4, 1)
    assert config.population.image_passes_per_generation == source.config().population.image_passes_per_generation


def test_a_lineage_alone_needs_a_config(source: RunFolder, begun: list[RunFolder], tmp_path: Path) -> None:
    file = tmp_path / "lineage.jsonl"
    file.write_text((source.path / "lineage.jsonl").read_text() + '{"event": "sco')
    with pytest.raises(UserError, match=r"lies in no run, so its data are not known; name a config with --config$"):
        call(source, lineage=str(file))
    call(source, lineage=str(file), config="demo")
    assert made(begun).replay is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"round_path": "0/leaf1/1"}, r"^round 0/leaf1/1: trains on a part of the images"),
        ({"replicas": 0}, r"^--replicas 0: must be at least 1; leave it out$"),
        ({"lineage": "nowhere"}, r"^run 'nowhere': is neither a folder nor a name"),
        ({"changes": ["population.sise=3"]}, r"^key 'population\.sise': is unknown"),
    ],
)
def test_bad_input_is_one_line(source: RunFolder, begun: list[RunFolder], more: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        call(source, **more)
    assert begun == []


def test_a_final_round_that_was_taught_cannot_be_replayed(source: RunFolder, begun: list[RunFolder]) -> None:
    source.write_config(load_config(source.config().dump(), ["final.objective=adagvae"]))
    with pytest.raises(UserError, match=r"^round final: trained betatcvae, which learned from the labels"):
        call(source)
    call(source, round_path="0")


def test_what_is_no_lineage_is_named(source: RunFolder, begun: list[RunFolder]) -> None:
    (source.path / "lineage.jsonl").write_text("no\nlineage\n")
    with pytest.raises(UserError, match=r"lineage\.jsonl: must be the lineage of a run, JSON by lines"):
        call(source)


def test_only_the_verb_makes_such_a_config() -> None:
    with pytest.raises(UserError, match="use pbt-disent replay"):
        load_config("demo", ["method=replay"])
    with pytest.raises(UserError, match="use pbt-disent replay"):
        load_config("demo", ["replay={source: x, schedule: [{lr: 1}]}"])
