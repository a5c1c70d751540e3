from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from pbt_disent.config import validate
from pbt_disent.errors import UserError
from pbt_disent.population.journal import read_manifests
from pbt_disent.report.page import write_report
from pbt_disent.report.run_view import winner
from pbt_disent.store.run_folder import RunFolder

VOID = {"meta", "link", "img", "input", "br", "hr", "path", "use"}


class Page(HTMLParser):
    """The parts of a page that the tests ask for; fails where elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"p", "li", "dt", "dd", "th", "td", "h1", "h2", "h3", "figcaption"}:
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def words(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture(scope="module")
def page(finished_run: RunFolder) -> Page:
    path = write_report(finished_run.path)
    assert path == finished_run.report
    return Page(path.read_text(encoding="utf-8"))


def test_every_section_is_there_and_every_link_leads_somewhere(page: Page) -> None:
    sections = [attributes["id"] for attributes in page.all("section") if "id" in attributes]
    assert sections == [
        "learned",
        "explorer",
        "factors",
        "rounds",
        "segments",
        "populations",
        "round-0",
        "round-1",
        "round-2",
        "cost",
        "configuration",
    ]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)


def test_it_holds_all_that_it_shows(page: Page, finished_run: RunFolder) -> None:
    text = finished_run.report.read_text(encoding="utf-8")
    assert "://" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not [attributes for attributes in page.all("script") if "src" in attributes]
    assert [attributes["href"] for attributes in page.all("link")] == ["data:,"]
    pictures = page.all("img")
    animations = [picture for picture in pictures if "data-src" in picture]
    shown = [picture for picture in pictures if "src" in picture]
    assert len(shown) == 10 + 3 + 2, "images to start from, strips, reconstructions and samples"
    assert len(animations) == 3
    assert all(str(picture["src"]).startswith("data:image/png;base64,") for picture in shown)
    assert all(str(picture["data-src"]).startswith("data:image/gif;base64,") for picture in animations)
    assert all(picture["alt"] for picture in pictures)
    assert len(text) < 15e6


def test_every_figure_can_be_read_aloud(page: Page) -> None:
    figures = page.all("svg")
    assert len(figures) == 3 * 4 + 3, "score, beta, lr and lineage of three rounds; three latents that were found"
    assert all(figure["role"] == "img" and figure["aria-label"] for figure in figures)
    assert page.all("html") == [{"lang": "en"}]
    assert all("tabindex" in part for part in page.all("div") if part.get("class") == "scroll")


def test_latents_stand_by_information_with_the_factors_that_they_know(page: Page) -> None:
    text = words(page)
    assert "A model of 3 latents, 2 of them in use." in text
    assert text.index("f1 2.50 nats") < text.index("f0 1.25 nats") < text.index("1 more, which carries next to nothing")
    assert "Best latent for x, by a gap of 0.70." in text
    assert "Best latent for y <b>, by a gap of 0.05." in text, "names are text, not markup"
    assert "Knows 30 % of y <b>, 10 % of x." in text
    assert "Knows 80 % of x." in text


def test_the_rounds_say_what_they_were_cut_from_and_why_they_ended(page: Page, finished_run: RunFolder) -> None:
    text = words(page)
    assert "0 96 images. 4 generations, best UDR" in text
    assert "the best score stopped moving. Learned f0, f1." in text
    assert "0/leaf1/1 96 images, f0 held still. 1 generation, best" in text
    assert "nothing was learned." in text
    best = winner(read_manifests(finished_run.path / "rounds" / "0"))
    assert best is not None
    assert f"member {best.member} in generation {best.generation + 1}." in text, "counted from 1"
    assert "Leaf run 0/leaf1 ended the greatest depth, 1, is reached" in text
    assert [item["style"] for item in page.all("li") if "style" in item] == ["--depth:0", "--depth:1", "--depth:0"]


def test_the_cost_adds_up(page: Page, finished_run: RunFolder) -> None:
    text = words(page)
    row = f"0 6 12 48,000 8,000 {2000 * replaced_before_the_end(finished_run):,} 0 2.0 min 1.7 min"
    assert row in text, "6 members of 2 models; four generations in the winner's line"
    assert "final 4 4 12,000" in text
    assert "all 68,000" in text


def replaced_before_the_end(run: RunFolder) -> int:
    manifests = read_manifests(run.path / "rounds" / "0")
    return sum(one.operation != "continue" for manifest in manifests[:-1] for one in manifest.next)


def test_time_is_told_apart_from_what_came_to_nothing(page: Page) -> None:
    text = words(page)
    assert (
        "The run took 2.5 min in 2 processes: 1.7 min of training, 20 s of scoring and committing, 20 s between" in text
    )
    assert "and 10 s (3,000 passes) in generations that a stop kept from being committed." in text


def test_what_the_rounds_found_stands_once_with_its_segments(page: Page) -> None:
    text = words(page)
    assert text.count("f1 of round 0. 96 images, 2 segments.") == 1, "both leaf runs begin with it"
    assert text.count("f0 of round 0. 96 images, not cut.") == 1
    assert "f2 of round 0/leaf1/1. 12 images, not cut." in text
    assert re.search(r"Follows f1 of round 0 \(2 segments\), of which it knows \d+ %\.", text)


def test_equal_runs_give_equal_pages(page: Page, finished_run: RunFolder) -> None:
    first = finished_run.report.read_bytes()
    assert write_report(finished_run.path).read_bytes() == first


def test_a_run_in_which_nothing_has_happened(fresh_run: RunFolder) -> None:
    page = Page(write_report(fresh_run.path).read_text(encoding="utf-8"))
    text = words(page)
    assert "This run has not finished: there is no final model yet." in text
    assert "No round has begun." in text
    assert not page.all("script")


def test_a_run_within_its_first_round(fresh_run: RunFolder, commit: Callable[..., object]) -> None:
    commit(fresh_run.path, "0", reason=None, members=4, generations=2)
    page = Page(write_report(fresh_run.path).read_text(encoding="utf-8"))
    assert "2 generations, best UDR" in words(page)
    assert "not finished." in words(page)
    assert len(page.all("svg")) == 4


def test_a_run_that_learned_nothing(fresh_run: RunFolder, commit: Callable[..., object]) -> None:
    commit(fresh_run.path, "0", reason="nothing_learned", members=2, generations=1)
    fresh_run.scores.write_text('{"format": 1, "final": null, "true_factors": null}')
    assert "ended without a model" in words(Page(write_report(fresh_run.path).read_text(encoding="utf-8")))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be a run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_colours_meet_wcag_aa_in_light_and_dark() -> None:
    css = (resources.files("pbt_disent.report") / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    themes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in blocks]
    assert len(themes) == 2
    for theme in themes:
        for ground in (theme["paper"], theme["card"]):
            assert all(contrast(theme[name], ground) >= 4.5 for name in ("ink", "quiet", "accent"))
            assert contrast(theme["line"], ground) >= 3


@pytest.mark.parametrize(
    ("section", "supervised"),
    [
        ({}, False),
        ({"method": "pbt-vae"}, True),
        ({"objective": "adagvae"}, True),
        ({"final": {"objective": "adagvae"}}, False),
    ],
)
def test_the_page_says_whether_the_true_factors_took_part(
    finished_run: RunFolder, tmp_path: Path, section: dict[str, object], supervised: bool
) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(finished_run.path, copy.path)
    copy.write_config(validate(section))
    text = words(Page(write_report(copy.path).read_text(encoding="utf-8")))
    assert ("Some of the true factors took part in the run, as supervision." in text) == supervised
    assert ("The true factors took no part in the run." in text) != supervised
