"""Oracle codes: a known factor with known noise must be cut at its true boundaries, or not at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pbt_disent.config import RoundsConfig
from pbt_disent.rounds.segmentation import Segmentation
from pbt_disent.rounds.segmentation.density import Density
from pbt_disent.rounds.segmentation.gaps import Gaps
from pbt_disent.rounds.segmentation.mixture import Mixture
from pbt_disent.rounds.segmentation.quantile import Quantile
from pbt_disent.rounds.subset import choose_subset

GAPS, DENSITY, MIXTURE, QUANTILE = Gaps(), Density(), Mixture(), Quantile()
BY_GAPS, BY_DENSITY = RoundsConfig(segmentation=GAPS), RoundsConfig(segmentation=DENSITY)


def levels(count: int, repeats: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of `count` equally spaced levels with noise (standard deviation in gaps), and the levels."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(count), repeats))
    return truth + noise * np.clip(rng.standard_normal(len(truth)), -3, 3), truth


@pytest.mark.parametrize("rule", [GAPS, DENSITY, MIXTURE], ids=["gaps", "density", "mixture"])
@pytest.mark.parametrize("count", [4, 6, 10, 12])
@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_every_segment_holds_one_level(count: int, noise: float, rule: Segmentation) -> None:
    codes, truth = levels(count, 2000, noise)
    segments = rule.segment(codes, noise, several=True)
    assert len(segments) >= (count - 4 if rule is GAPS else count)
    for item in segments:
        assert len(np.unique(truth[item.members])) == 1
        assert len(item.members) == 2000
        assert item.low == codes[item.members].min()
        assert item.high == codes[item.members].max()


def test_the_boundary_lies_between_its_two_values() -> None:
    """Quirk 2 of the released code: one wrong image in, one right image out, at every boundary."""
    codes = np.concatenate([np.linspace(0, 0.1, 50), np.linspace(1, 1.1, 60), np.linspace(2, 2.1, 70)])
    for boundaries in (GAPS.boundaries(codes, 0.1, 10), DENSITY.boundaries(codes, 0.1, 10)):
        assert boundaries.tolist() == [49, 109]
    (middle,) = GAPS.segment(codes, 0.1, several=False)
    assert middle.members.tolist() == list(range(50, 110))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [1000, 30_000])
def test_density_leaves_codes_without_levels_whole(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for codes in (rng.uniform(-1.7, 1.7, count), rng.standard_normal(count), rng.laplace(size=count)):
        assert DENSITY.segment(codes, 0.2, several=True) == []
    blurred, _ = levels(8, count // 8, 0.35, seed)
    assert DENSITY.segment(blurred, 0.35, several=True) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_mixture_leaves_codes_without_levels_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for codes in (rng.uniform(-1.7, 1.7, 2000), rng.standard_normal(2000), rng.laplace(size=2000)):
        assert MIXTURE.segment(codes, 0.2, several=True) == []


def test_a_mixture_sees_levels_of_unequal_width_and_size() -> None:
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(0, 0.05, 900), rng.normal(1, 0.2, 300), rng.normal(3, 0.4, 1200)])
    sizes = [
        len(item.members) for item in sorted(MIXTURE.segment(codes, 0.05, several=True), key=lambda item: item.low)
    ]
    assert len(sizes) == 3
    assert np.abs(np.array(sizes) - [900, 300, 1200]).max() <= 5


def test_quantiles_are_parts_of_equal_size() -> None:
    codes = np.random.default_rng(0).permutation(np.linspace(0, 1, 503))
    segments = sorted(QUANTILE.segment(codes, 0.1, several=True), key=lambda item: item.low)
    assert [len(item.members) for item in segments] == [100, 101, 100, 101, 101]
    assert all(left.high < right.low for left, right in itertools.pairwise(segments))
    equal = np.array([0.0] * 90 + [1.0] * 10)
    assert [len(item.members) for item in QUANTILE.segment(equal, 0.1, several=True)] == [90, 10]


def test_gaps_alone_cut_continuous_codes_too() -> None:
    """The weakness of the published rule: among many random codes some gap is always large."""
    cuts = [GAPS.segment(np.random.default_rng(seed).uniform(size=3000), 0, several=True) for seed in range(20)]
    assert sum(bool(segments) for segments in cuts) >= 5


@pytest.mark.parametrize("rule", [GAPS, DENSITY, MIXTURE], ids=["gaps", "density", "mixture"])
@pytest.mark.parametrize("codes", [np.linspace(0, 1, 500), np.zeros(300), np.array([0.0, 1.0])])
def test_a_latent_without_levels_is_not_cut(codes: np.ndarray, rule: Segmentation) -> None:
    assert rule.segment(codes, 0.6, several=True) == []


def test_one_boundary_makes_two_segments_and_more_than_three_hide_the_ends() -> None:
    codes, _ = levels(2, 1000, 0.05)
    assert sorted(len(item.members) for item in GAPS.segment(codes, 0, several=False)) == [1000, 1000]
    codes, _ = levels(3, 1000, 0.05)
    assert len(GAPS.segment(codes, 0, several=False)) == 1
    assert len(GAPS.segment(codes, 0, several=True)) == 3
    codes, _ = levels(10, 1000, 0.05)
    assert len(GAPS.segment(codes, 0, several=True)) == 8


def test_cleaner_segments_come_first() -> None:
    rng = np.random.default_rng(0)
    spread = [0.01, 0.2, 0.05, 0.1, 0.01]
    codes = np.concatenate([i + width * rng.uniform(-1, 1, 500) for i, width in enumerate(spread)])
    segments = GAPS.segment(codes, 0, several=False)
    assert round(segments[0].low) == 2
    assert [item.score for item in segments] == sorted((item.score for item in segments), reverse=True)


def grid(noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes, their noise, and the factors of a full grid of 5 x 4 x 60; the third latent is continuous."""
    factors = np.stack(np.meshgrid(np.arange(5), np.arange(4), np.arange(60), indexing="ij"), -1).reshape(-1, 3)
    rng = np.random.default_rng(1)
    codes = factors + noise * np.clip(rng.standard_normal(factors.shape), -3, 3)
    codes[:, 2] = rng.uniform(size=len(codes))
    return codes, np.full(3, max(noise, 0.1)), factors


def test_in_the_subset_every_frozen_factor_has_one_value() -> None:
    codes, sigma, factors = grid(0.08)
    for choice in range(3):
        cut = choose_subset(codes, sigma, [0, 1, 2], BY_DENSITY, rank=choice)
        assert cut.reason is None
        assert sorted(cut.frozen) == [0, 1]
        assert len(cut.subset) == 60
        assert len(np.unique(factors[cut.subset, 0])) == len(np.unique(factors[cut.subset, 1])) == 1
        assert len(np.unique(factors[cut.subset, 2])) == 60
        for latent, (low, high) in cut.frozen.items():
            assert (low, high) == (codes[cut.subset, latent].min(), codes[cut.subset, latent].max())


def test_choices_differ() -> None:
    codes, sigma, _ = grid(0.08)
    subsets = {tuple(choose_subset(codes, sigma, [0, 1], BY_GAPS, rank=choice).subset) for choice in range(4)}
    assert len(subsets) == 4


def test_segments_are_counted_along_the_latent() -> None:
    codes, sigma, factors = grid(0.05)
    cut = choose_subset(codes, sigma, [0, 1], BY_DENSITY, rank=0)
    assert np.array_equal(cut.segments[:, 0], factors[:, 0])
    assert np.array_equal(cut.segments[:, 1], factors[:, 1])
    assert np.all(cut.segments[:, 2] == -1)


def test_a_single_latent_is_cut_by_its_cleanest_segment() -> None:
    codes, sigma, factors = grid(0.05)
    cut = choose_subset(codes, sigma, [1, 2], BY_DENSITY, rank=0)
    assert list(cut.frozen) == [1]
    assert len(cut.subset) == 300
    assert len(np.unique(factors[cut.subset, 1])) == 1


def test_each_reason_to_stop_is_named() -> None:
    codes, sigma, _ = grid(0.6)
    assert choose_subset(codes, sigma, [0, 1, 2], BY_DENSITY, rank=0).reason == "no learned latent has a boundary"
    assert choose_subset(codes, sigma, [], BY_GAPS, rank=0).reason == "no learned latent has a boundary"
    codes, sigma, _ = grid(0.08)
    assert "candidate subsets" in str(choose_subset(codes, sigma, [0, 1], BY_GAPS, rank=1000).reason)
    big = RoundsConfig(segmentation=DENSITY, min_subset_images=61)
    assert choose_subset(codes, sigma, [0, 1], big, rank=0).reason == "the subset has only 60 images"


PUBLISHED = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32, "hue": 10, "room scale": 8, "azimuth": 15}
"""Levels of the factors of dSprites and 3D Shapes."""


@pytest.mark.parametrize("rule", [GAPS, DENSITY], ids=["gaps", "density"])
@pytest.mark.parametrize("noise", [0.05, 0.1])
@pytest.mark.parametrize("count", sorted({*PUBLISHED.values(), 4}))
def test_every_published_factor_is_cut_purely(count: int, noise: float, rule: Segmentation) -> None:
    """Up to a noise/gap of 0.1 every segment holds one level, for the factors of both published data sets."""
    codes, truth = levels(count, 500, noise)
    segments = rule.segment(codes, noise, several=True)
    hidden = 2 * int(count / 15 + 1) if rule is GAPS else 0
    assert len(segments) >= max(count - hidden, 1)
    assert all(len(np.unique(truth[item.members])) == 1 for item in segments)


@pytest.mark.parametrize("count", sorted(set(PUBLISHED.values())))
def test_beyond_the_resolution_density_leaves_a_factor_whole_and_gaps_do_no_harm(count: int) -> None:
    """At noise/gap of 0.3 `density` cuts where it is sure or not at all; the other latents are cut as ever."""
    blurred, truth = levels(count, 200, 0.3)
    assert all(len(np.unique(truth[item.members])) <= 2 for item in DENSITY.segment(blurred, 0.3, several=True))
    clean = np.tile(np.arange(4), len(blurred) // 4 + 1)[: len(blurred)]
    codes = np.column_stack([blurred, clean + 0.05 * np.random.default_rng(0).standard_normal(len(blurred))])
    for rule in (GAPS, DENSITY):
        cut = choose_subset(codes, np.array([0.3, 0.05]), [0, 1], RoundsConfig(segmentation=rule), rank=0)
        assert cut.reason is None
        assert 1 in cut.frozen
        assert len(np.unique(clean[cut.subset])) == 1


def test_a_subset_that_models_cannot_be_ranked_by_is_not_chosen() -> None:
    codes, sigma, _ = grid(0.05)
    whole = choose_subset(codes, sigma, [0, 1, 2], BY_DENSITY, rank=0)
    size = len(whole.subset)
    assert choose_subset(codes, sigma, [0, 1, 2], BY_DENSITY, rank=0, min_images=size).reason is None
    refused = choose_subset(codes, sigma, [0, 1, 2], BY_DENSITY, rank=0, min_images=size + 1)
    assert refused.reason == f"the subset has only {size} images"
