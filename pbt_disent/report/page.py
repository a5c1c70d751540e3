"""The report: one page that holds all it shows, readable without a network, on a phone, in light and in dark."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from pbt_disent.files import write_atomically
from pbt_disent.population.clock import read_clock, run_usage
from pbt_disent.report.agreement import agreement_context, agreements_of
from pbt_disent.report.model_view import FRAMES, explorer_program, model_context, view_model
from pbt_disent.report.page_rounds import (
    cost_context,
    format_number,
    learned_latents_context,
    population_context,
    round_tree,
)
from pbt_disent.report.run_view import RunView, config_of, read_learned_latents, read_run
from pbt_disent.rounds.evaluation import HELD_OUT_TITLES
from pbt_disent.types import Json
from pbt_disent.units import duration

__all__ = ["render", "write_report"]


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder, of whatever the run has come to.

    Args:
        run_folder: The folder of the run.

    Returns:
        The path of the page.

    Raises:
        UserError: The folder is no run.
    """
    path = run_folder / "report.html"
    write_atomically(path, render(read_run(run_folder)).encode())
    return path


def render(run: RunView) -> str:
    """Return the page of a run as HTML; equal runs give equal pages."""
    assets = resources.files("pbt_disent.report")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (assets / name).read_text(encoding="utf-8")),
    )
    environment.filters |= {"count": _format_count, "number": format_number, "duration": _format_duration}
    environment.globals["assets"] = {
        name: Markup((assets / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js", "decoder.js")
    }
    scores = run.scores or {}
    learned = read_learned_latents(run.folder)
    view = view_model(run, learned)
    model = None if view is None else model_context(view)
    program = None if view is None else explorer_program(view)
    return environment.get_template("page.html.j2").render(
        run=run,
        model=model,
        program=None if program is None else _json_for_script(program),
        latents=model["latents"] if model else [],
        tree=round_tree(run),
        learned_latents=learned_latents_context(learned),
        agreements=[agreement_context(path, agreement) for path, agreement in agreements_of(run)],
        populations=[population_context(view, index) for index, view in enumerate(run.rounds) if view.manifests],
        cost=cost_context(run, run_usage(read_clock(run.folder))),
        true_factors=scores.get("true_factors"),
        supervised=_is_supervised(run),
        final=scores.get("final"),
        held_out=_held_out_context(scores.get("held_out")),
        finished=run.scores is not None,
        frames=FRAMES,
    )


def _json_for_script(value: Json) -> Markup:
    """Return JSON that can stand in a ``<script>`` element."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _is_supervised(run: RunView) -> bool:
    """Return whether the run used labels, or pairs that were drawn by them."""
    config = config_of(run)
    return config is not None and (
        config.population.fitness.uses_labels or any(options.needs for options in config.objectives)
    )


def _held_out_context(scores: Json | None) -> Json | None:
    """Return the scores on images never trained on, each as name, value and interval, and how many these are."""
    if not scores:
        return None
    return {
        "num_images": scores["num_images"],
        "scores": [
            (name, scores[key], scores.get("intervals", {}).get(key))
            for key, name in HELD_OUT_TITLES.items()
            if scores.get(key) is not None
        ],
    }


def _format_count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def _format_duration(seconds: object) -> str:
    return duration(seconds) if isinstance(seconds, int | float) else "unknown"
