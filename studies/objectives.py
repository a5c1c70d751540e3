"""What each objective claims, against its own ablation on a rendered world: `python -m studies objectives`.

A cell trains one model with the code that trains a run's members, then scores it on all images of its set.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict

from pbt_disent import data as data_module
from pbt_disent.config import SupervisionConfig
from pbt_disent.data.base import ImageData
from pbt_disent.data.selection import split
from pbt_disent.data.storage import materialise
from pbt_disent.metrics import MetricInputs, gaussian_total_correlation, reconstruction_error, score
from pbt_disent.models import LatentModel
from pbt_disent.models.contract import load_options
from pbt_disent.models.encoding import to_unit
from pbt_disent.models.objectives.strkm import StRKM
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.member import Trainer
from pbt_disent.training.supervision import labelled_factors, store_supervision, with_classes
from pbt_disent.training.tasks import TaskKey, TrainTask, WorkerContext
from pbt_disent.types import FloatArray, IntArray, Json, UInt8Array
from studies.study import STUDIES, Cell, Results, Study

__all__ = ["COLUMNS", "AblationDesign", "Claim", "format_summary", "format_table", "run_cell", "study"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

HELD_OUT = 0.1
"""The share of the images that are not trained on; labels are predicted on them."""
ACTIVE_VARIANCE = 0.01
"""The variance of a latent's means above which it enters the total correlations: passive latents are correlated at no
cost."""

COLUMNS = (
    ("mig", False, 1, 2),
    ("mig_sup", False, 1, 2),
    ("dci", False, 1, 2),
    ("error", True, 1000, 2),
    ("tc_mean", True, 1, 3),
    ("tc_sample", True, 1, 3),
    ("information", False, 1, 1),
)
"""The figures of the table: name, whether lower is better, what it is multiplied by, and digits."""
NAMES = {
    "mig": "MIG",
    "mig_sup": "MIG-sup",
    "dci": "DCI",
    "tc_mean": "TC(mean)",
    "tc_sample": "TC(sample)",
    "accuracy": "accuracy",
    "off_capacity": "distance from the capacity",
}
"""The figures that a claim may be about."""
UNITS = (
    "median over seeds, the worst in brackets; error is the mean squared error per pixel in thousandths; "
    "total correlations in nats"
)


class Claim(BaseModel):
    """The claim that one arm has more or less of something than another, seed by seed.

    Args:
        arm: The arm with the objective.
        against: Its ablation; `arm` itself where two figures of one model are compared.
        figure: The figure of a cell that is compared.
        other_figure: The figure of `against`, where it has another name.
        lower: Whether the figure is claimed to be lower in `arm`, instead of higher.
        text: What the paper says, in a phrase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    against: str
    figure: str
    other_figure: str | None = None
    lower: bool = False
    text: str


class AblationDesign(BaseModel):
    """The design of the study, as objectives.yaml describes it.

    Args:
        revision: The number of changes of the code that made earlier results void.
        seeds: The seeds of every arm.
        image_passes: The image passes of every model.
        data: The name and options of the world.
        shared: The settings and hyperparameters of every arm that does not give its own.
        arms: By name, the objective of each arm and its supervision.
        claims: The claims for which arms are compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    seeds: tuple[int, ...]
    image_passes: int
    data: Json
    shared: Json
    arms: dict[str, Json]
    claims: tuple[Claim, ...] = ()

    def cells(self, arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
        """Return the cells of some arms and seeds, seed by seed."""
        return [Cell(arm, seed, self._description(arm)) for seed in seeds for arm in arms]

    def _description(self, arm: str) -> Json:
        section = self.arms[arm]
        return {
            "revision": self.revision,
            "image_passes": self.image_passes,
            "data": self.data,
            "objective": {**self.shared, **section["objective"]},
            "supervision": section.get("supervision", {}),
        }


@STUDIES.register("objectives")
def study() -> Study:
    """Return the study that objectives.yaml describes."""
    design = AblationDesign.model_validate(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")))
    return Study(
        tuple(design.arms),
        design.seeds,
        design.cells,
        run_cell,
        lambda results: format_table(design, results),
        summary=lambda results: format_summary(design, results),
    )


def run_cell(cell: Cell) -> Json:
    """Train one model and return its figures.

    Returns:
        The figures by name: `mig`, `mig_sup`, `dci` (disentanglement), `error` (mean squared error per pixel of values
        in 0 to 1), `tc_mean` and `tc_sample` (Gaussian total correlation of means and of samples over latents whose
        means vary, in nats), `information` (nats over all latents), `active` (number of latents whose means vary), and
        what belongs to one objective alone.

    Raises:
        RuntimeError: The model diverged.
    """
    world = data_module.load(cell.description["data"]["name"], **cell.description["data"]["options"])
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        model, images = _train(cell, world, Path(temporary))
        factors = world.factors(np.arange(len(world)))
        assert factors is not None
        return {**_figures(model, images, factors), **_special_figures(cell, model, images, world, factors)}


def _train(cell: Cell, world: ImageData, folder: Path) -> tuple[LatentModel, UInt8Array]:
    description = cell.description
    supervision = SupervisionConfig.model_validate(description["supervision"])
    section = dict(description["objective"])
    options = with_classes(load_options(section.pop("name"), section), supervision, world).resolve(world.shape)
    stored = materialise(world, folder / "images")
    blobs = BlobStore(folder / "blobs")
    training, _ = split(len(world), HELD_OUT)
    context = WorkerContext(store=blobs.root, images_dir=str(stored.folder))
    task = TrainTask(
        key=TaskKey("study", 0, 0, (0,)),
        seed=cell.seed,
        objective=options,
        origins=(None,),
        hyperparameters=options.defaults,
        image_passes=description["image_passes"],
        subset=blobs.put_array(training.astype(np.int64)),
        probe=blobs.put_array(np.arange(min(len(world), 256))),
        supervision=store_supervision([options], supervision, world, training, blobs),
    )
    outcome = Trainer(context).train(task)
    if outcome.status != "ok":
        raise RuntimeError(f"arm {cell.arm}, seed {cell.seed}: the model diverged")
    return LatentModel.from_checkpoint(blobs.get(outcome.checkpoints[0])), stored.array


def _figures(model: LatentModel, images: UInt8Array, factors: IntArray) -> Json:
    posterior = model.posterior(images)
    varying = factors[:, np.ptp(factors, axis=0) > 0]
    scores = score(MetricInputs(posterior.codes, varying), ["mig", "mig_sup", "dci"], intervals=False)
    sigma = None if posterior.log_sigma is None else np.exp(posterior.log_sigma)
    correlation = gaussian_total_correlation(posterior.codes, sigma, minimum_variance=ACTIVE_VARIANCE)
    reconstructions = model.decode(posterior.codes)
    return {
        "mig": scores["mig"].values["score"],
        "mig_sup": scores["mig_sup"].values["score"],
        "dci": scores["dci"].values["disentanglement"],
        "error": reconstruction_error(images / np.float32(255), reconstructions).score,
        "tc_mean": correlation.score,
        "tc_sample": correlation.sampled,
        "information": float(posterior.information.sum()),
        "active": int((posterior.codes.var(axis=0) > ACTIVE_VARIANCE).sum()),
    }


def _special_figures(cell: Cell, model: LatentModel, images: UInt8Array, world: ImageData, factors: IntArray) -> Json:
    if isinstance(model.objective, StRKM):
        return _frame_figures(model.objective, images, factors)
    if model.name == "annealed":
        capacity = model.objective.values["capacity"]
        return {"off_capacity": abs(float(model.posterior(images).information.sum()) - capacity)}
    if model.name == "ssdgm":
        supervision = SupervisionConfig.model_validate(cell.description["supervision"])
        columns = labelled_factors(supervision, world, enumerated=True)
        _, held_out = split(len(world), HELD_OUT)
        predicted = np.rint(model.encode(images[held_out])[:, : len(columns)])
        return {"accuracy": float((predicted == factors[held_out][:, columns]).mean())}
    return {}


def _frame_figures(objective: StRKM, images: UInt8Array, factors: IntArray) -> Json:
    """Return the scores of the codes on the frame before its eigen-rotation, and how orthonormal the frame is."""
    frame = objective.frame.columns.double()
    with torch.no_grad():
        parts = np.array_split(np.arange(len(images)), len(images) // 256 + 1)
        features = [objective.encoder(to_unit(images[part], "cpu")) for part in parts]
    unrotated = ((torch.cat(features) - objective.centre).double() @ frame).numpy()
    varying = factors[:, np.ptp(factors, axis=0) > 0]
    scores = score(MetricInputs(unrotated, varying), ["mig", "mig_sup", "dci"], intervals=False)
    return {
        "unrotated_mig": scores["mig"].values["score"],
        "unrotated_mig_sup": scores["mig_sup"].values["score"],
        "unrotated_dci": scores["dci"].values["disentanglement"],
        "unrotated_tc_mean": gaussian_total_correlation(unrotated).score,
        "not_orthonormal": float((frame.T @ frame - torch.eye(frame.shape[1], dtype=frame.dtype)).abs().max()),
    }


def format_table(design: AblationDesign, results: Results) -> str:
    """Return the figures of each arm, and then the outcome of each claim, as Markdown."""
    by_arm = _by_arm(results)
    lines = [
        f"{design.image_passes:,} image passes per model; {UNITS}; information in nats.",
        "",
        "| arm | seeds | MIG | MIG-sup | DCI | error | TC(mean) | TC(sample) | information |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in design.arms:
        if arm_results := list(by_arm.get(name, {}).values()):
            cells = [_median_and_worst(arm_results, *column) for column in COLUMNS]
            lines.append(f"| {name} | {len(arm_results)} | {' | '.join(cells)} |")
    lines += [
        "",
        "| arm | against | claim | figure | with | without | seeds that show it | error, with to without |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for claim in design.claims:
        arm, ablation = by_arm.get(claim.arm, {}), by_arm.get(claim.against, {})
        if seeds := sorted(arm.keys() & ablation.keys()):
            lines.append(_claim_row(claim, [arm[seed] for seed in seeds], [ablation[seed] for seed in seeds]))
    return "\n".join(lines) + "\n"


def format_summary(design: AblationDesign, results: Results) -> str:
    """Return one row for each arm that claims something, its figures above those of its ablation, as Markdown."""
    by_arm = _by_arm(results)
    lines = [
        f"{design.image_passes:,} image passes per model; {UNITS}. The second line of a cell is the ablation.",
        "",
        "| objective<br>ablation | on how many seeds it has | MIG | MIG-sup | DCI | error | TC(mean) | TC(sample) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(claim.arm for claim in design.claims):
        claims = [claim for claim in design.claims if claim.arm == name]
        arm, ablation = by_arm.get(name, {}), by_arm.get(claims[0].against, {})
        if not arm or not ablation:
            continue
        compared = [arm] if claims[0].against == name else [arm, ablation]
        cells = [
            "<br>".join(_median_and_worst(list(by_seed.values()), *column) for by_seed in compared)
            for column in COLUMNS[:6]
        ]
        counts = "<br>".join(_count_seeds(claim, arm, ablation) for claim in claims)
        names = "<br>".join([name, claims[0].against][: len(compared)])
        lines.append(f"| {names} | {counts} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _count_seeds(claim: Claim, arm: Mapping[int, Json], ablation: Mapping[int, Json]) -> str:
    seeds = sorted(arm.keys() & ablation.keys())
    _, _, holds = _compare(claim, [arm[seed] for seed in seeds], [ablation[seed] for seed in seeds])
    figure = NAMES[claim.figure] + (" than unrotated" if claim.other_figure else "")
    return f"{'less' if claim.lower else 'more'} {figure}: {holds.sum()} of {len(seeds)}"


def _by_arm(results: Results) -> dict[str, dict[int, Json]]:
    by_arm: dict[str, dict[int, Json]] = {}
    for cell, result in results.items():
        by_arm.setdefault(cell.arm, {})[cell.seed] = result
    return by_arm


def _compare(claim: Claim, arm: Sequence[Json], ablation: Sequence[Json]) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return the figures of both arms, and whether the claim holds, by seed."""
    with_term = np.array([result[claim.figure] for result in arm])
    without = np.array([result[claim.other_figure or claim.figure] for result in ablation])
    return with_term, without, with_term < without if claim.lower else with_term > without


def _median_and_worst(results: Sequence[Json], key: str, lower: bool, scale: float, digits: int) -> str:
    values = [scale * result[key] for result in results if result[key] is not None]
    if not values:
        return "none"
    worst = max(values) if lower else min(values)
    return f"{np.median(values):.{digits}f} ({worst:.{digits}f})"


def _claim_row(claim: Claim, arm: Sequence[Json], ablation: Sequence[Json]) -> str:
    with_term, without, holds = _compare(claim, arm, ablation)
    errors = np.median([a["error"] / b["error"] for a, b in zip(arm, ablation, strict=True)])
    figures = f"{np.median(with_term):.3f} | {np.median(without):.3f} | {holds.sum()} of {len(arm)} | {errors:.2f}"
    against = "itself" if claim.arm == claim.against else claim.against
    return f"| {claim.arm} | {against} | {claim.text} | {claim.figure} | {figures} |"
