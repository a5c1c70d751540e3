"""What a study offers to the command line: its cells, how one is run, and what is shown of the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from pbt_disent.registry import Registry
from pbt_disent.types import Json
from studies.cells import Cell

__all__ = ["STUDIES", "Study"]


@dataclass(frozen=True)
class Study:
    """One study.

    Args:
        arms: the names of its arms, in order.
        seeds: of every arm.
        cells: returns the cells of some arms and seeds, in the order in which they start.
        run: makes the result of one cell; a function of a module.
        table: returns the results as Markdown.
        figure: draws them; none where the table says all.
        brief: returns the few that belong on a page of other things; the table, where there are none.
    """

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: Callable[[Sequence[str], Sequence[int]], list[Cell]]
    run: Callable[[Cell], Json]
    table: Callable[[Mapping[Cell, Json]], str]
    figure: Callable[[Mapping[Cell, Json]], Figure] | None = None
    brief: Callable[[Mapping[Cell, Json]], str] | None = None


STUDIES: Registry[Callable[[], Study]] = Registry("study", "studies")
