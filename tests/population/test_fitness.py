"""What members are ranked by: what the options of UDR prefer, and that true factors beat mixed ones by every metric."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.metrics import mig, udr
from pbt_disent.population.fitness import FITNESS, MemberCodes, MemberScore

POINTS, LATENTS = 400, 6
FACTORS = np.random.default_rng(0).standard_normal((POINTS, LATENTS))
ROTATION = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])


def member(number: int, models: list[np.ndarray], learned: int) -> MemberCodes:
    """Return a member whose models hold something in their first `learned` latents only."""
    codes = np.stack(models).astype(np.float32)
    information = np.array([[2.0] * learned + [0.0] * (LATENTS - learned) for _ in models])
    return MemberCodes(number, codes, information)


def rank(members: list[MemberCodes], **options: str) -> list[MemberScore]:
    return FITNESS["udr"].model_validate(options).score(members, [])


def test_coverage_prefers_six_shared_factors_to_one() -> None:
    members = [member(0, [FACTORS] * 2, 1), member(1, [FACTORS, -FACTORS[:, ::-1]], LATENTS)]
    plain, weighted = rank(members), rank(members, weight="coverage")
    assert plain[0].score == pytest.approx(plain[1].score, abs=1e-3)
    assert weighted[0].score == pytest.approx(plain[0].score / LATENTS, abs=1e-3)
    assert weighted[1].score == pytest.approx(plain[1].score, abs=1e-3)


def test_the_default_is_the_published_score() -> None:
    noisy = FACTORS + 0.5 * np.random.default_rng(1).standard_normal(FACTORS.shape)
    (scored,) = rank([member(4, [FACTORS, noisy], LATENTS)])
    expected = udr(np.stack([FACTORS, noisy]).astype(np.float32), np.full((2, LATENTS), 2.0), threshold=0.01)
    assert (scored.member, scored.replica_scores) == (4, tuple(expected.model_scores))


@pytest.mark.parametrize("weight", ["agreement", "coverage", "matching"])
def test_single_models_are_ranked_by_the_population(weight: str) -> None:
    """Three models that found the factors agree with each other; two that mix them agree with nobody."""
    rng = np.random.default_rng(2)
    mixed = [FACTORS @ np.linalg.qr(rng.standard_normal((LATENTS, LATENTS)))[0] for _ in range(2)]
    good = [FACTORS[:, rng.permutation(LATENTS)] * rng.choice([-1, 1], LATENTS) for _ in range(3)]
    members = [member(index, [codes], LATENTS) for index, codes in enumerate([*mixed, *good])]
    scores = [score.score for score in rank(members, against="population", weight=weight)]
    assert min(scores[2:]) > max(scores[:2]) + 0.2


def test_members_of_different_size_are_not_compared() -> None:
    other = MemberCodes(1, FACTORS[None, :, :3].astype(np.float32), np.full((1, 3), 2.0))
    with pytest.raises(ValueError, match="different numbers of latents"):
        rank([member(0, [FACTORS], LATENTS), other], against="population")


@pytest.mark.parametrize("metric", ["mig", "nmig", "dci"])
def test_aligned_codes_rank_first_by_labels(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.column_stack([rng.integers(4, size=600), rng.integers(5, size=600), np.zeros(600, dtype=np.int64)])
    aligned = labels[:, :2] + 0.05 * rng.standard_normal((600, 2))
    codes = [np.stack([aligned, aligned @ ROTATION]), np.stack([aligned @ ROTATION] * 2)]
    members = [MemberCodes(i, replicas.astype(np.float32), np.ones((2, 2))) for i, replicas in enumerate(codes)]
    probe_labels = [[(np.arange(600), labels)]]
    first, second = FITNESS[metric]().score(members, probe_labels)
    assert first.replica_scores[0] > first.replica_scores[1] + 0.2
    assert first.score == pytest.approx(np.mean(first.replica_scores))
    assert first.score > second.score
    assert ("bins" in FITNESS[metric].model_fields) == (metric != "dci")
    if metric != "dci":
        assert FITNESS[metric].model_validate({"bins": 2}).score(members, probe_labels)[0].score != first.score
    if metric == "mig":
        assert first.replica_scores[0] == pytest.approx(mig(codes[0][0].astype(np.float32), labels[:, :2]).score)
