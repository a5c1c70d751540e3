"""What a study of ablations compares, and its tables: every arm in full, or each beside its ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from pbt_disent.types import Json
from studies.cells import Cell

__all__ = ["COLUMNS", "Claim", "Description", "brief", "table"]

COLUMNS = (
    ("mig", False, 1, 2),
    ("mig_sup", False, 1, 2),
    ("dci", False, 1, 2),
    ("error", True, 1000, 2),
    ("tc_mean", True, 1, 3),
    ("tc_sample", True, 1, 3),
    ("information", False, 1, 1),
)
"""Figure, whether lower is better, what it is multiplied by, and digits."""
NAMES = {
    "mig": "MIG",
    "mig_sup": "MIG-sup",
    "dci": "DCI",
    "tc_mean": "TC(mean)",
    "tc_sample": "TC(sample)",
    "accuracy": "accuracy",
    "off_capacity": "distance from the capacity",
}
"""What a claim may be about."""
UNITS = (
    "median over seeds, the worst in brackets; error is the mean squared error per pixel in thousandths; "
    "total correlations in nats"
)


class Claim(BaseModel):
    """That one arm has more or less of something than another, seed by seed.

    Args:
        arm: of the objective.
        against: its ablation; `arm` itself where two quantities of one model are compared.
        lower: the quantity is lower in `arm`; else higher.
        quantity: a figure of a cell.
        other: the figure of `against`, where it has another name.
        says: what the paper says, in a phrase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    against: str
    quantity: str
    other: str | None = None
    lower: bool = False
    says: str


class Description(BaseModel):
    """The study as it is described in objectives.yaml.

    Args:
        revision: counts changes of the code that make earlier results void.
        seeds: of every arm.
        images: image passes of every model.
        data: name and options of the world.
        shared: settings and hyperparameters of every arm that does not give its own.
        arms: by name, an objective section and what it is told.
        claims: what the arms are compared on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    seeds: tuple[int, ...]
    images: int
    data: Json
    shared: Json
    arms: dict[str, Json]
    claims: tuple[Claim, ...] = ()

    def cells(self, arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """Return the cells of the given arms and seeds, seed by seed."""
        return [Cell(arm, seed, self._description(arm)) for seed in seeds for arm in arms]

    def _description(self, arm: str) -> Json:
        own = self.arms[arm]
        return {
            "revision": self.revision,
            "images": self.images,
            "data": self.data,
            "objective": {**self.shared, **own["objective"]},
            "supervision": own.get("supervision", {}),
        }


def table(described: Description, results: Mapping[Cell, Json]) -> str:
    """Return what was measured for each arm, and then what came of each claim, as Markdown."""
    by_arm = _by_arm(results)
    lines = [
        f"{described.images:,} image passes per model; {UNITS}; information in nats.",
        "",
        "| arm | seeds | MIG | MIG-sup | DCI | error | TC(mean) | TC(sample) | information |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in described.arms:
        if seen := list(by_arm.get(arm, {}).values()):
            cells = [_median_and_worst(seen, *column) for column in COLUMNS]
            lines.append(f"| {arm} | {len(seen)} | {' | '.join(cells)} |")
    lines += [
        "",
        "| arm | against | claim | figure | with | without | seeds that show it | error, with to without |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in described.claims:
        own, other = by_arm.get(claim.arm, {}), by_arm.get(claim.against, {})
        if seeds := sorted(own.keys() & other.keys()):
            lines.append(_claim_row(claim, [own[seed] for seed in seeds], [other[seed] for seed in seeds]))
    return "\n".join(lines) + "\n"


def brief(described: Description, results: Mapping[Cell, Json]) -> str:
    """Return one row for each arm that claims something: its figures above those of its ablation, as Markdown."""
    by_arm = _by_arm(results)
    lines = [
        f"{described.images:,} image passes per model; {UNITS}. The second line of a cell is the ablation.",
        "",
        "| objective<br>ablation | on how many seeds it has | MIG | MIG-sup | DCI | error | TC(mean) | TC(sample) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in dict.fromkeys(claim.arm for claim in described.claims):
        claims = [claim for claim in described.claims if claim.arm == arm]
        own, other = by_arm.get(arm, {}), by_arm.get(claims[0].against, {})
        if not own or not other:
            continue
        sides = [own] if claims[0].against == arm else [own, other]
        cells = ["<br>".join(_median_and_worst(list(s.values()), *column) for s in sides) for column in COLUMNS[:6]]
        shown = "<br>".join(_count(claim, own, other) for claim in claims)
        names = "<br>".join([arm, claims[0].against][: len(sides)])
        lines.append(f"| {names} | {shown} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _count(claim: Claim, own: Mapping[int, Json], other: Mapping[int, Json]) -> str:
    seeds = sorted(own.keys() & other.keys())
    shown = _shown(claim, [own[seed] for seed in seeds], [other[seed] for seed in seeds])
    figure = NAMES[claim.quantity] + (" than unrotated" if claim.other else "")
    return f"{'less' if claim.lower else 'more'} {figure}: {shown.sum()} of {len(seeds)}"


def _by_arm(results: Mapping[Cell, Json]) -> dict[str, dict[int, Json]]:
    by_arm: dict[str, dict[int, Json]] = {}
    for cell, result in results.items():
        by_arm.setdefault(cell.arm, {})[cell.seed] = result
    return by_arm


def _shown(claim: Claim, own: Sequence[Json], other: Sequence[Json]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return for each seed whether it shows the claim."""
    with_term = np.array([result[claim.quantity] for result in own])
    without = np.array([result[claim.other or claim.quantity] for result in other])
    return with_term < without if claim.lower else with_term > without


def _median_and_worst(seen: Sequence[Json], key: str, lower: bool, scale: float, digits: int) -> str:
    values = [scale * result[key] for result in seen if result[key] is not None]
    if not values:
        return "none"
    worst = max(values) if lower else min(values)
    return f"{np.median(values):.{digits}f} ({worst:.{digits}f})"


def _claim_row(claim: Claim, own: Sequence[Json], other: Sequence[Json]) -> str:
    with_term = np.array([result[claim.quantity] for result in own])
    without = np.array([result[claim.other or claim.quantity] for result in other])
    shown = _shown(claim, own, other).sum()
    errors = np.median([a["error"] / b["error"] for a, b in zip(own, other, strict=True)])
    figures = f"{np.median(with_term):.3f} | {np.median(without):.3f} | {shown} of {len(own)} | {errors:.2f}"
    against = "itself" if claim.arm == claim.against else claim.against
    return f"| {claim.arm} | {against} | {claim.says} | {claim.quantity} | {figures} |"
