"""What the engine keeps in memory does not grow with the generations behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated import run_instantly
from pbt_disent.population.journal import RoundJournal, read_manifests
from pbt_disent.population.manifest import Manifest


def test_old_generations_are_outlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    commit = RoundJournal.commit

    def watched(self: RoundJournal, manifest: Manifest, history: Sequence[Manifest], *more: Any) -> None:
        seen.append([len(manifest.members) for manifest in history])
        commit(self, manifest, history, *more)

    monkeypatch.setattr(RoundJournal, "commit", watched)
    run_instantly(tmp_path, members=5, generations=6)
    assert seen == [[], [5], [5, 5], [5, 5, 5], [1, 5, 5, 5], [1, 1, 5, 5, 5]]
    assert [len(manifest.members) for manifest in read_manifests(tmp_path / "rounds/0")] == [5] * 6


def test_an_outline_knows_the_best_member_and_the_cost(tmp_path: Path) -> None:
    run_instantly(tmp_path, members=5, generations=2)
    whole = read_manifests(tmp_path / "rounds/0")[1]
    outline = whole.outline()
    assert outline.best == whole.best
    assert outline.image_passes == whole.image_passes
    assert outline.next == ()
    assert len(outline.members) == 1


def test_a_manifest_has_a_line_for_each_member_and_reads_back(tmp_path: Path) -> None:
    run_instantly(tmp_path, members=5, generations=1)
    content = (tmp_path / "rounds/0/generation-0000.json").read_bytes()
    (whole,) = read_manifests(tmp_path / "rounds/0")
    assert whole.to_bytes() == content
    lines = content.decode().splitlines()
    assert sum(line.startswith(' {"') and '"score"' in line for line in lines) == 5
