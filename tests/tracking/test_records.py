from __future__ import annotations

import pytest

from pbt_disent.population.events import RoundStarted
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord, member_interval, score_text
from pbt_disent.tracking.records import finished_record, generation_record, trace_origins, varying_hyperparameters
from pbt_disent.tracking.round_page import round_note
from tests.simulated import simulate

BASE = {"checkpoints": (), "codes": (), "image_passes": 500, "error": None}


def member(number: int, score: float | None, operation: str = "continue", parent: int | None = None) -> MemberRecord:
    good = score is not None
    return MemberRecord(
        member=number,
        operation=operation,
        parent=number if operation == "continue" else parent,
        hyperparameters={"lr": 0.01 * (number + 1)},
        status="ok" if good else "nan",
        score=score,
        replica_scores=(score - 0.1, score + 0.1) if score is not None else (),
        information=((2.0, 0.5), (1.5, 1.5)) if good else (),
        losses=({"elbo": 10.0}, {"elbo": 12.0}) if good else (),
        objective="betatcvae",
        **BASE,
    )


def manifest(generation: int, *members: MemberRecord, replaced: int = 0) -> Manifest:
    operations = ["exploit"] * replaced + ["continue"] * (len(members) - replaced)
    following = tuple(
        Assignment(
            member=i,
            operation=operations[i],
            parent=i,
            origins=(None,),
            hyperparameters={"lr": 0.1},
            objective="betatcvae",
        )
        for i in range(len(members))
    )
    return Manifest(
        round="0", identity="f" * 64, generation=generation, members=members, next=following, image_passes=3000
    )


def test_members_are_told_with_score_rank_and_means_over_their_replicas() -> None:
    generation = manifest(2, member(0, 0.3), member(1, None), member(2, 0.7, "exploit", 0), replaced=1)
    record = generation_record(1234, generation, None, {0: "m00", 1: "m01", 2: "m00"}, 1.0)
    assert (record["time"], record["generation"], record["best"]) == (1234, 2, 2)
    good, bad, best = record["members"]
    assert good["metrics"] == {
        "hp/lr": 0.01,
        "lineage/parent": 0.0,
        "lineage/exploited": 0.0,
        "lineage/image_passes": 500.0,
        "fitness/score": 0.3,
        "lineage/rank": 2.0,
        "replicas/score_0": 0.3 - 0.1,
        "replicas/score_1": 0.3 + 0.1,
        "loss/elbo": 11.0,
        "latents/learned": 1.5,
        "latents/information": 2.75,
    }
    assert bad["metrics"] == {
        "hp/lr": 0.02,
        "lineage/parent": 1.0,
        "lineage/exploited": 0.0,
        "lineage/image_passes": 500.0,
    }
    lineage = [best["metrics"][f"lineage/{name}"] for name in ("parent", "exploited", "rank")]
    assert lineage == [0.0, 1.0, 1.0]
    ancestry = {"operation": "exploit", "parent": "m00", "origin": "m00"}
    assert best["tags"] == {"status": "ok", "objective": "betatcvae", "rank": "1", **ancestry}
    assert (bad["tags"]["status"], bad["tags"]["rank"]) == ("nan", "none")


def test_the_population_is_told_in_numbers() -> None:
    generation = manifest(0, member(0, 0.3), member(1, None), member(2, 0.7), member(3, 0.4), replaced=1)
    record = generation_record(1, generation, None, dict.fromkeys(range(4), "x"), 1.0)
    assert record["metrics"] == {
        "population/image_passes": 3000.0,
        "population/replaced": 1.0,
        "population/failed": 1.0,
        "fitness/best": 0.7,
        "fitness/median": 0.4,
        "fitness/worst": 0.3,
    }


def test_start_values_are_params_of_the_first_generation_only() -> None:
    started = RoundStarted("0", 1, 2, 9, 40, 1000, UDRFitness(), 0)
    first = generation_record(1, manifest(0, member(0, 0.3, "start")), started, {0: "m00"}, 1.0)
    later = generation_record(1, manifest(1, member(0, 0.3)), started, {0: "m00"}, 1.0)
    assert first["members"][0]["params"] == {"init/lr": "0.01"}
    assert later["members"][0]["params"] == {}
    expected = {"members": 1, "replicas": 2, "num_images": 40, "image_passes_per_generation": 1000}
    assert first["params"] == later["params"] == expected
    assert first["members"][0]["tags"]["parent"] == "none"


def test_what_stays_is_a_param_and_what_varies_a_metric() -> None:
    plain = manifest(0, member(0, 0.3, "start"), member(1, 0.4, "start"))
    members = [
        member.model_copy(update={"hyperparameters": {**member.hyperparameters, "batch": 64.0}})
        for member in plain.members
    ]
    first = plain.model_copy(update={"members": tuple(members)})
    varying = varying_hyperparameters(first, set())
    assert varying == {"lr"}
    record = generation_record(1, first, None, {0: "m00", 1: "m01"}, 1.0, varying=varying)["members"][1]
    assert record["params"] == {"init/lr": "0.02", "fixed/batch": "64.0"}
    assert {name for name in record["metrics"] if name.startswith("hp/")} == {"hp/lr"}
    assert varying_hyperparameters(plain.model_copy(update={"members": plain.members[:1]}), varying) == {"lr"}, (
        "what varied once stays a metric"
    )


def test_the_load_of_the_machine_stands_among_the_population_s_numbers() -> None:
    load = {"system/cpu_utilization_percentage": 93.0, "system/odd": float("nan")}
    metrics = generation_record(1, manifest(0, member(0, 0.3)), None, {0: "m00"}, 1.0, system_metrics=load)["metrics"]
    assert metrics["system/cpu_utilization_percentage"] == 93.0
    assert "system/odd" not in metrics


def test_origins_follow_the_weights() -> None:
    start = trace_origins({}, manifest(0, member(0, 0.1, "start"), member(1, 0.2, "start"), member(2, 0.3, "start")))
    assert start == {0: "m00", 1: "m01", 2: "m02"}
    swapped = trace_origins(
        start, manifest(1, member(0, 0.1, "exploit", 2), member(1, 0.2), member(2, 0.3, "exploit", 0))
    )
    assert swapped == {0: "m02", 1: "m01", 2: "m00"}, "parents are those of the generation before, all at once"
    restarted = trace_origins(
        swapped, manifest(2, member(0, 0.1), member(1, 0.2, "restart"), member(2, 0.1, "exploit", 1))
    )
    assert restarted == {0: "m02", 1: "m01@2", 2: "m01"}


def test_keys_tell_generations_of_superseded_rounds_apart() -> None:
    generation = manifest(1, member(0, 0.3))
    other = generation.model_copy(update={"identity": "e" * 64})
    key, other_key = (generation_record(1, each, None, {0: "m00"}, 1.0)["key"] for each in (generation, other))
    assert key != other_key
    assert (
        finished_record(1, generation, "converged", "udr")["key"]
        != finished_record(1, other, "converged", "udr")["key"]
    )
    assert generation_record(2, generation, None, {0: "m00"}, 1.0)["key"] == key, "the time is no part of the key"


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_note_of_a_round_says_how_sure_its_best_score_is(replicas: int) -> None:
    (generation,) = simulate(members=3, generations=1, replicas=replicas)
    started = RoundStarted("0", 3, replicas, 9, 40, 1000, UDRFitness(), 0)
    record = generation_record(1, generation, started, dict.fromkeys(range(3), "m00"), 1.0)
    interval = member_interval(generation, generation.best, UDRFitness())
    assert (interval is None) == (replicas == 1)
    assert generation.best is not None
    score = score_text(generation.best.score or 0.0, interval)
    assert f": udr {score} at best (" in round_note(record, "1", "run", [], has_figure=False)
