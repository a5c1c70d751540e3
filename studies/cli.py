"""Run a study with its controls, cell by cell, and print its table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import check_section, exit_code_of, replace_section
from pbt_disent.errors import UserError, nearest

__all__ = ["build_parser", "main", "run"]

EXAMPLES = """\
examples:
  python -m studies objectives                                run the cells without a result
  python -m studies robustness --arms fixed,pbt-vae --seeds 1
  python -m studies objectives --table --into docs/objectives.md
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m studies``."""
    parser = argparse.ArgumentParser(
        prog="python -m studies",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="STUDY", help="objectives or robustness")
    parser.add_argument("--arms", metavar="A,B", help="only these arms")
    parser.add_argument("--seeds", metavar="N,M", help="only these seeds")
    parser.add_argument("--workers", type=int, metavar="N", help="cells at a time (default: one per CPU)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("docs/studies"),
        metavar="FOLDER",
        help="the folder of the results (default: %(default)s)",
    )
    parser.add_argument("--table", action="store_true", help="run nothing: make the table of the results so far")
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="also put the table, in brief, between its marks in this page"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (failed), 2 (bad input) or 130 (stopped)."""
    options = build_parser().parse_args(arguments)
    return exit_code_of("studies", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Run the cells that have no result yet, write the table beside the results, and print it."""
    from pbt_disent.machine import usable_cpus
    from pbt_disent.report.figures import figure_bytes
    from studies.study import STUDIES, finished, run_cells

    study = STUDIES[options.study]()
    arms = _selected("arm", options.arms, study.arms)
    seeds = [int(seed) for seed in _selected("seed", options.seeds, [str(seed) for seed in study.seeds])]
    section = f"study:{options.study}"
    if options.into is not None:
        check_section(options.into, "--into", section)
    cells = study.cells(arms, seeds)
    log = options.folder / f"{options.study}.jsonl"
    results = finished(cells, log)
    if not options.table:
        print(f"{len(cells) - len(results)} of {len(cells)} cells to run; results in {log}")
        results = run_cells(
            study.run,
            cells,
            log,
            workers=options.workers or usable_cpus(),
            on_done=lambda cell, result: print(f"{cell.arm}, seed {cell.seed}: done", flush=True),
        )
    table = study.table(results)
    options.folder.mkdir(parents=True, exist_ok=True)
    log.with_suffix(".md").write_text(table, encoding="utf-8")
    if study.figure is not None and results:
        log.with_suffix(".png").write_bytes(figure_bytes(study.figure(results), "png"))
    if options.into is not None:
        replace_section(options.into, "--into", section, study.summary(results) if study.summary else table)
    print(table)
    return 0


def _selected(kind: str, text: str | None, known: Sequence[str]) -> list[str]:
    """Return the names in a list separated by commas; all known ones without a list."""
    if text is None:
        return list(known)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"{kind} {name!r}", f"is no {kind} of this study", nearest(name, known))
    return names
