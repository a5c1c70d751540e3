"""The reference values of the metrics, loaded once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FILES = ("metric_vectors", "metric_vectors_2")
TRAIN = 10_000


@dataclass(frozen=True)
class Case:
    """One representation with its factors, in halves, and what the reference computed from it."""

    name: str
    codes: np.ndarray[Any, Any]
    factors: np.ndarray[Any, Any]
    test_codes: np.ndarray[Any, Any]
    test_factors: np.ndarray[Any, Any]
    expected: dict[str, Any]


@dataclass(frozen=True)
class RankingCase:
    """Codes and information of several models, and the rankings the reference computed from them."""

    codes: np.ndarray[Any, Any]
    information: np.ndarray[Any, Any]
    raw: dict[str, np.ndarray[Any, Any]]
    expected: dict[str, Any]


def _files(reference: Path) -> list[tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]]:
    pairs = []
    for name in FILES:
        with np.load(reference / f"{name}.npz", allow_pickle=False) as arrays:
            pairs.append((json.loads((reference / f"{name}.json").read_text()), dict(arrays)))
    return pairs


@pytest.fixture(scope="session")
def cases(reference: Path) -> list[Case]:
    return [
        Case(
            entry["case"],
            arrays[f"{i}_codes"][:TRAIN],
            arrays[f"{i}_factors"][:TRAIN],
            arrays[f"{i}_codes"][TRAIN:],
            arrays[f"{i}_factors"][TRAIN:],
            entry["expected"],
        )
        for values, arrays in _files(reference)
        for i, entry in values["metrics"].items()
    ]


@pytest.fixture(scope="session")
def rankings(reference: Path) -> list[RankingCase]:
    return [
        RankingCase(
            arrays[f"udr{i}_representations"],
            arrays[f"udr{i}_kl"],
            {kind: arrays[f"udr{i}_raw_{kind}"] for kind in ("lasso", "spearman")},
            entry,
        )
        for values, arrays in _files(reference)
        for i, entry in values["udr"].items()
    ]
