"""Names of latents: changed once, kept by the model with the same weights, and fit for columns and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.models import LatentModel, Objective
from pbt_disent.models.latent_names import check_names, default_names, kept_names, rename

Make = Callable[..., Objective]


@pytest.mark.parametrize("wrong", ["", "1", "a b", "a/b", "-a", "index", "log_sigma_f0", "x" * 65])
def test_what_is_no_name(wrong: str) -> None:
    with pytest.raises(UserError, match="latent name"):
        check_names(["f0", wrong])


def test_names_are_distinct_words_of_any_alphabet() -> None:
    check_names([*default_names(3), "Größe", "x-position_2"])
    with pytest.raises(UserError, match="is taken by latent 0"):
        check_names(["a", "b", "a"])


def test_two_latents_can_change_names_with_each_other(make: Make, tmp_path: Path) -> None:
    LatentModel(make()).save(tmp_path)
    assert rename(tmp_path, {0: "f1", 1: "f0"}) == ["f1", "f0", "f2", "f3"]
    assert LatentModel.load(tmp_path).latents == ["f1", "f0", "f2", "f3"]


def test_names_stay_with_the_weights(make: Make, tmp_path: Path) -> None:
    model = LatentModel(make(seed=0))
    assert kept_names(tmp_path, model.weights) is None
    model.save(tmp_path)
    rename(tmp_path, {2: "rotation"})
    assert kept_names(tmp_path, model.weights) == ["f0", "f1", "rotation", "f3"]
    assert kept_names(tmp_path, LatentModel(make(seed=1)).weights) is None


def test_a_latent_is_found_by_name_or_index(make: Make) -> None:
    model = LatentModel(make(), ["x", "y", "scale", "f3"])
    assert [model.index(one) for one in ("scale", "3", "f3", "0")] == [2, 3, 3, 0]
    for wrong in ("4", "scal", "-1"):
        with pytest.raises(UserError, match=f"latent '{wrong}'"):
            model.index(wrong)
