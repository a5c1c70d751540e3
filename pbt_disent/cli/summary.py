"""What a run prints when it has ended: what was learned, how well, where it lies, what to type next."""

from __future__ import annotations

from pathlib import Path

from pbt_disent.api import RunOutcome
from pbt_disent.rounds.evaluation import HELD_OUT_TITLES
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import Json

__all__ = ["print_summary"]

"""The supervised metrics that `pbt-vae` ranks members by, as they are written."""


def print_summary(folder: RunFolder, outcome: RunOutcome, scores: Json, report: Path) -> None:
    """Print the rounds, the final model, where everything lies, and what to type next.

    Args:
        folder: The folder of the run.
        outcome: What the run has come to.
        scores: The contents of `scores.json`.
        report: The path of the report.
    """
    result = outcome.result
    print()
    print(
        f"First round: {result.first.generations} generations, {result.first.reason.replace('_', ' ')}"
        + (f", best {_score_text(folder, '0', result.first.best.score, scores['first'])}" if result.first.best else "")
        + _missing_interval(folder, scores["first"])
    )
    if result.first.reason == "nothing_learned":
        print(
            "The models of no member agreed on what they learned: there are no labels and no final round. What follows "
            "is the best model of the first round. Try more generations, other bounds of beta, or more images."
        )
    for leaf in result.leaf_runs:
        latents = " + ".join(str(len(level.latents)) for level in leaf.levels)
        print(f"Leaf run {leaf.number}: {latents or 'no'} learned latents by level; ended: {leaf.reason}")
    if outcome.model is None or result.last.best is None:
        print("No model was learned: no member ever had a score above zero. Try more generations or other images.")
    else:
        _print_model(folder, outcome, scores)
    print(f"Image passes paid: {result.image_passes:,}")
    if folder.labels.exists():
        print(f"Labels  {folder.labels}")
    if outcome.model is not None:
        print(f"Model   {folder.model}")
    print(f"Report  {report}")
    print(f"Next    pbt-disent ui {folder.path}      (the population in MLflow)")


def _score_text(folder: RunFolder, path: str, score: float, entry: Json) -> str:
    """Return a score with the name of what the members of a round were ranked by, and its interval."""
    config = folder.config()
    if config.method == "replay" and config.population.replicas == 1:
        return "a single model, not ranked"
    fitness = config.final.fitness if path == "final" else config.population.fitness
    interval = _interval_text(entry.get("interval"), entry.get("over"))
    return f"{fitness.title} {score:.3f}{interval}"


def _missing_interval(folder: RunFolder, entry: Json | None) -> str:
    """Return why the best score of the first round has no interval."""
    config = folder.config()
    if entry is None or entry.get("interval", ()) is not None or config.method == "replay":
        return ""
    fitness = config.population.fitness
    if fitness.uses_labels:
        return " (no interval: too few labelled images to score halves of them)"
    replicas, fewest = config.population.replicas, 3 if fitness.compares_replicas else 2
    if replicas >= fewest:
        return ""
    return f" (no interval: {fewest} models a member are needed to tell how much they differ, here are {replicas})"


def _print_model(folder: RunFolder, outcome: RunOutcome, scores: Json) -> None:
    model, best = outcome.model, outcome.result.last.best
    if model is None or best is None:
        return
    held_out_wanted = folder.config().data.held_out > 0
    print(
        f"Final model: {_score_text(folder, outcome.result.last.path, best.score, scores['final'])}"
        + (" on the images that it was chosen by" if held_out_wanted else "")
    )
    factors = (scores["true_factors"] or {}).get("per_factor", [])
    print("  latent  information" + ("  knows (share of the factor's entropy)" if factors else ""))
    for latent, name in enumerate(model.latents):
        ranked = sorted(((factor["shares"][latent], factor["factor"]) for factor in factors), reverse=True)[:2]
        shares = ", ".join(f"{factor} {share:.2f}" for share, factor in ranked if share >= 0.05)
        print(f"  {name:6} {best.information[latent]:7.2f} nats  {shares}")
    held_out = scores["held_out"]
    if held_out:
        intervals = held_out.get("intervals", {})
        parts = ", ".join(
            f"{name} {held_out[key]:.3f}{_interval_text(intervals.get(key))}"
            for key, name in HELD_OUT_TITLES.items()
            if held_out.get(key) is not None
        )
        print(f"  on {held_out['num_images']:,} images that were never trained on: {parts}")
    elif held_out_wanted:
        print("  too few images were held out to score it on them")
    if factors:
        gaps = ", ".join(f"{factor['factor']} {factor['gap']:.2f}" for factor in factors)
        mig, interval = scores["true_factors"]["mig"], _interval_text(scores["true_factors"].get("interval"))
        role = "of which the run was given some" if outcome.is_supervised else "which took no part in the run"
        print(f"  against the true factors, {role}: MIG {mig:.3f}{interval} ({gaps})")


def _interval_text(ends: list[float] | None, over: str | None = None) -> str:
    """Return the interval in which a score lies in 95 of 100 such samples, and what the samples are taken from."""
    if ends is None:
        return ""
    source = {None: "", "models": ", over models", "points": ", over images"}[over]
    return f" [{ends[0]:.3f} to {ends[1]:.3f}{source}]"
