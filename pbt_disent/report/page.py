"""The report: one page that holds all it shows, readable without a network, on a phone, in light and in dark."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from pbt_disent.files import write_atomically
from pbt_disent.population.clock import read_clock, spent
from pbt_disent.report.agreement import agreements_of
from pbt_disent.report.found import found_latents
from pbt_disent.report.latents import FRAMES, view_model
from pbt_disent.report.page_model import explorer, model_parts
from pbt_disent.report.page_rounds import (
    agreement_parts,
    cost_parts,
    found_parts,
    number,
    population_parts,
    tree_parts,
)
from pbt_disent.report.run_reader import RunView, config_of, read_run
from pbt_disent.rounds.evaluation import HELD_OUT_TITLES
from pbt_disent.types import Json
from pbt_disent.units import duration

__all__ = ["render", "write_report"]


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder, of whatever the run has come to.

    Raises:
        UserError: the folder is no run.
    """
    path = run_folder / "report.html"
    write_atomically(path, render(read_run(run_folder)).encode())
    return path


def render(run: RunView) -> str:
    """Return the page of a run as HTML; equal runs give equal pages."""
    parts = resources.files("pbt_disent.report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (parts / name).read_text(encoding="utf-8")),
    )
    environment.filters |= {"count": _count, "number": number, "duration": _duration}
    environment.globals["parts"] = {
        name: Markup((parts / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js", "decoder.js")
    }
    found = found_latents(run.folder / "labels" / "labels.parquet")
    seen = view_model(run, found)
    model = None if seen is None else model_parts(seen)
    script = None if seen is None else explorer(seen)
    return environment.get_template("page.html.j2").render(
        run=run,
        model=model,
        explorer=None if script is None else Markup(json.dumps(script, separators=(",", ":")).replace("<", "\\u003c")),
        order=model["latents"] if model else [],
        tree=tree_parts(run),
        found=found_parts(found),
        agreements=[agreement_parts(path, one) for path, one in agreements_of(run)],
        populations=[population_parts(run, view, index) for index, view in enumerate(run.rounds) if view.manifests],
        cost=cost_parts(run, spent(read_clock(run.folder))),
        truth=(run.scores or {}).get("true_factors"),
        told=_told(run),
        final=(run.scores or {}).get("final"),
        held_out=_held_out(run),
        finished=run.scores is not None,
        frames=FRAMES,
    )


def _told(run: RunView) -> bool:
    """Return whether the run was given labels, or pairs that were drawn by them."""
    config = config_of(run)
    return config is not None and (
        config.population.fitness.uses_labels or any(options.needs for options in config.objectives)
    )


def _held_out(run: RunView) -> Json | None:
    """Return the scores on images never trained on, each as name, value and interval, and how many these are."""
    scores = (run.scores or {}).get("held_out")
    if not scores:
        return None
    return {
        "images": scores["num_images"],
        "scores": [
            (name, scores[key], scores.get("intervals", {}).get(key))
            for key, name in HELD_OUT_TITLES.items()
            if scores.get(key) is not None
        ],
    }


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def _duration(seconds: object) -> str:
    return duration(seconds) if isinstance(seconds, int | float) else "unknown"
