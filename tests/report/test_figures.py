from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from pbt_disent.report.export import write_figures
from pbt_disent.report.figures import (
    ACCENT,
    figure_bytes,
    hyperparameter_figure,
    inline_svg,
    lineage_figure,
    score_figure,
    searched_hyperparameters,
    segments_figure,
)
from pbt_disent.report.pictures import png, strip
from pbt_disent.report.run_view import ancestors, winner
from pbt_disent.store.run_folder import RunFolder
from tests.simulated import simulate


def segments(figure: Figure) -> dict[bool, set[tuple[tuple[float, float], ...]]]:
    """Return the line segments of a figure, those in the winner's colour under True."""
    found: dict[bool, set[tuple[tuple[float, float], ...]]] = {True: set(), False: set()}
    for lines in figure.axes[0].findobj(LineCollection):
        chosen = to_hex(lines.get_colors()[0]) == ACCENT
        found[chosen] |= {tuple((float(x), float(y)) for x, y in part) for part in lines.get_segments()}
    return found


def test_lines_run_from_parent_to_child_and_the_winners_stand_out() -> None:
    manifests = simulate(members=6, generations=5)
    way = ancestors(manifests, winner(manifests))
    drawn = segments(score_figure(manifests, "UDR"))
    expected = {
        ((float(m.generation - 1), manifests[m.generation - 1].members[r.parent].score), (float(m.generation), r.score))
        for m in manifests[1:]
        for r in m.members
        if r.parent is not None
    }
    assert drawn[True] | drawn[False] == expected
    scores = [(float(step.generation), manifests[step.generation].members[step.member].score) for step in way]
    assert drawn[True] == set(pairwise(scores))
    rows = segments(lineage_figure(manifests))[True]
    steps = [(float(step.generation), float(step.member)) for step in way]
    assert rows == set(pairwise(steps))


def test_generations_are_counted_from_one_and_values_as_they_are() -> None:
    axes = score_figure(simulate(members=3, generations=4), "UDR").axes[0]
    assert [axes.xaxis.get_major_formatter()(place, 0) for place in (0, 3)] == ["1", "4"]
    values = segments_figure(np.linspace(-1, 1, 50), np.zeros(50, dtype=np.int64))
    (axes,) = values.axes
    values.canvas.draw()
    assert {label.get_text() for label in axes.get_xticklabels()} >= {"0.0", "0.3"}


def test_members_without_a_score_leave_a_gap() -> None:
    manifests = simulate(members=4, generations=3, failing=[(1, 0)])
    drawn = segments(score_figure(manifests, "UDR"))
    ends = {point for part in drawn[True] | drawn[False] for point in part}
    assert ends <= {(float(m.generation), r.score) for m in manifests for r in m.members if r.score is not None}
    assert lineage_figure(manifests).axes[0].collections, "a cross stands for it in the lineage"


def test_only_searched_hyperparameters_are_drawn() -> None:
    manifests = simulate(members=4, generations=2)
    assert searched_hyperparameters(manifests) == ["beta", "lr"]
    assert hyperparameter_figure(manifests, "lr").axes[0].get_yscale() == "log"


def test_one_generation_and_no_score_at_all_can_be_drawn() -> None:
    (alone,) = simulate(members=3, generations=1, failing=[(0, 0), (0, 1), (0, 2)])
    for figure in (score_figure([alone], "UDR"), hyperparameter_figure([alone], "lr"), lineage_figure([alone])):
        assert figure_bytes(figure, "png").startswith(b"\x89PNG")


def test_figures_are_the_same_bytes_each_time() -> None:
    manifests = simulate(members=4, generations=2)
    for kind in ("png", "svg"):
        one, two = (figure_bytes(score_figure(manifests, "UDR"), kind) for _ in range(2))
        assert one == two


def test_inline_svg_takes_the_pages_colours_and_refers_to_nothing() -> None:
    text = inline_svg(score_figure(simulate(members=4, generations=3), "UDR"), "c1", 'a "quoted" <name>')
    assert text.startswith("<svg viewBox=")
    assert 'aria-label="a &quot;quoted&quot; &lt;name&gt;"' in text
    assert "var(--accent)" in text
    assert "var(--ink)" in text
    assert "://" not in text
    assert "<metadata" not in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(name.startswith("c1-") for name in ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]*)', text)) <= set(ids)


def test_strips_are_rows_of_pictures_with_a_gap() -> None:
    images = np.stack([np.full((1, 2, 3), level) for level in (0.0, 0.25, 0.5, 1.0)])
    flat = strip(images)
    assert flat.shape == (2, 4 * 3 + 3, 1)
    assert flat[0, :, 0].tolist() == [0, 0, 0, 128, 64, 64, 64, 128, 128, 128, 128, 128, 255, 255, 255]
    folded = strip(images, rows=2)
    assert folded.shape == (5, 7, 1)
    assert folded[[0, 3], :, 0].tolist() == [[0, 0, 0, 128, 64, 64, 64], [128, 128, 128, 128, 255, 255, 255]]


def test_png_files_hold_the_pixels_enlarged(tmp_path: Path) -> None:
    sheet = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    (tmp_path / "a.png").write_bytes(png(sheet, zoom=2))
    read = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(read, sheet.repeat(2, axis=0).repeat(2, axis=1))


def test_all_figures_of_a_run_as_files(finished_run: RunFolder, tmp_path: Path) -> None:
    written = {path.name for path in write_figures(finished_run.path, tmp_path / "out")}
    assert {"0-score.png", "0-score.svg", "0-leaf1-1-lineage.svg", "final-beta.png", "traversal-f0.png"} <= written
    assert "reconstructions.png" in written
    assert written == {path.name for path in (tmp_path / "out").iterdir()}


def test_figures_of_an_unfinished_run(fresh_run: RunFolder, commit: Callable[..., object], tmp_path: Path) -> None:
    commit(fresh_run.path, "0", reason=None, members=3, generations=1)
    written = {path.name for path in write_figures(fresh_run.path, tmp_path / "out")}
    assert written == {f"0-{name}.{kind}" for name in ("score", "beta", "lr", "lineage") for kind in ("png", "svg")}
