"""Run a study with its controls, cell by cell, and print its table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import exit_code_of, replace_section
from pbt_disent.errors import UserError, nearest

__all__ = ["build_parser", "main", "run"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m studies``."""
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="objectives or robustness")
    parser.add_argument("--arms", metavar="A,B", help="these arms only")
    parser.add_argument("--seeds", metavar="N,M", help="these seeds only")
    parser.add_argument("--workers", type=int, metavar="N", help="cells at a time (default: one per CPU)")
    parser.add_argument(
        "--folder", type=Path, default=Path("docs/studies"), metavar="FOLDER", help="of the results (%(default)s)"
    )
    parser.add_argument("--table", action="store_true", help="run nothing: make the table of the results there are")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="also put it, in brief, between its marks in this file"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (failed), 2 (bad input) or 130 (stopped)."""
    options = build_parser().parse_args(arguments)
    return exit_code_of("studies", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Run the cells that have no result yet, write the table beside the results, and print it."""
    from pbt_disent.machine import usable_cpus
    from pbt_disent.report.svg import figure_bytes
    from studies.cells import finished, run_cells
    from studies.contract import STUDIES

    study = STUDIES[options.study]()
    arms = _chosen(options.arms, study.arms, "arm")
    seeds = [int(seed) for seed in _chosen(options.seeds, [str(seed) for seed in study.seeds], "seed")]
    cells = study.cells(arms, seeds)
    results = options.folder / f"{options.study}.jsonl"
    if options.table:
        done = finished(cells, results)
    else:
        print(f"{len(cells) - len(finished(cells, results))} of {len(cells)} cells to run; results in {results}")
        done = run_cells(
            study.run,
            cells,
            results,
            workers=options.workers or usable_cpus(),
            on_done=lambda cell, result: print(f"{cell.arm}, seed {cell.seed}: done", flush=True),
        )
    table = study.table(done)
    options.folder.mkdir(parents=True, exist_ok=True)
    results.with_suffix(".md").write_text(table, encoding="utf-8")
    if study.figure is not None and done:
        results.with_suffix(".png").write_bytes(figure_bytes(study.figure(done), "png"))
    if options.into is not None:
        replace_section(options.into, "--into", f"study:{options.study}", study.brief(done) if study.brief else table)
    print(table)
    return 0


def _chosen(given: str | None, known: Sequence[str], kind: str) -> list[str]:
    if given is None:
        return list(known)
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"{kind} {name!r}", f"is no {kind} of this study", nearest(name, known))
    return names
