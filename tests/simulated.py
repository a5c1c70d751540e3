"""Populations that never trained, ruled by the real rule: what the tests of tracking and report look at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pbt_disent.config import Hyperparameter
from pbt_disent.population.exploit.truncation import Truncation
from pbt_disent.population.explore.perturb import Perturb
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.population.rule import decide, draw
from pbt_disent.seeds import Streams

SPACE = {
    "lr": Hyperparameter(default=1e-3, low=1e-4, high=1e-2, log=True),
    "beta": Hyperparameter(default=4, low=1, high=30, log=True),
}


def simulate(
    path: str = "0",
    *,
    members: int = 6,
    generations: int = 4,
    replicas: int = 2,
    seed: int = 0,
    failing: Sequence[tuple[int, int]] = (),
) -> list[Manifest]:
    """Return the manifests of a population whose score grows with training and falls with |ln(beta / 6)|."""
    streams = Streams(seed)
    none = (None,) * replicas
    plan = [
        Assignment(
            member=m,
            operation="start",
            parent=None,
            origins=none,
            hyperparameters=_start(streams, path, m),
            objective="betatcvae",
        )
        for m in range(members)
    ]
    history: list[Manifest] = []
    for generation in range(generations):
        records = [
            _record(assignment, generation, streams, replicas, (generation, assignment.member) in failing)
            for assignment in plan
        ]
        decisions = decide(
            [record.hyperparameters for record in records],
            [record.score for record in records],
            spaces=[SPACE] * len(records),
            exploit=Truncation(cutoff=0.34),
            explore=Perturb(),
            streams=streams,
            round_path=path,
            generation=generation,
        )
        plan = [
            Assignment(
                member=d.member,
                operation=d.operation,
                parent=d.parent,
                origins=none if d.parent is None else records[d.parent].checkpoints or none,
                hyperparameters=d.hyperparameters,
                objective="betatcvae",
            )
            for d in decisions
        ]
        paid = (history[-1].image_passes if history else 0) + sum(record.image_passes for record in records)
        history.append(
            Manifest(
                round=path,
                identity=f"{seed:064x}",
                generation=generation,
                members=tuple(records),
                next=tuple(plan),
                image_passes=paid,
            )
        )
    return history


def _start(streams: Streams, path: str, member: int) -> dict[str, float]:
    return {"batch_size": 128.0, **draw(SPACE, streams.generator(path, "draw", member))}


def _record(plan: Assignment, generation: int, streams: Streams, replicas: int, failing: bool) -> MemberRecord:
    generator = streams.generator("score", generation, plan.member)
    quality = (1 - math.exp(-(generation + 1) / 2)) * math.exp(-abs(math.log(plan.hyperparameters["beta"] / 6)))
    scores = tuple(float(quality + value) for value in generator.normal(0, 0.02, replicas))
    digest = f"{generation:02d}{plan.member:02d}"
    return MemberRecord(
        member=plan.member,
        operation=plan.operation,
        parent=plan.parent,
        hyperparameters=plan.hyperparameters,
        status="nan" if failing else "ok",
        score=None if failing else float(np.mean(scores)),
        replica_scores=() if failing else scores,
        checkpoints=() if failing else tuple(f"{digest}{replica}" for replica in range(replicas)),
        codes=(),
        information=() if failing else tuple((2.5, 1.5, 0.2, 0.001) for _ in range(replicas)),
        losses=() if failing else tuple({"elbo": 100.0 + r, "reconstruction": 90.0} for r in range(replicas)),
        image_passes=1000 * replicas,
        error="a loss is not finite" if failing else None,
        objective="betatcvae",
    )
