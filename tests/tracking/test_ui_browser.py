"""MLflow's own pages on a population, as somebody sees them who follows the links that we leave there."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pbt_disent.config import validate
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.report.export import population_picture
from pbt_disent.store.runs import create_run
from pbt_disent.tracking.writer import MlflowWriter
from tests.simulated import simulate
from tests.tracking.servers import Server, running

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PATIENCE = 90.0


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """A server with one round of eight members over four generations, its members' lineage and its note."""
    root = tmp_path_factory.mktemp("pages")
    run = create_run(validate({"seed": 7}), "test", root, "shown")
    run.describe(data={"name": "dots", "fingerprint": "ab" * 32, "shape": [1, 8, 8], "num_images": 40})
    shutil.copy(empty_store, root / "mlflow.db")
    manifests = simulate(members=8, generations=4)
    folder = run.path / "rounds" / "0"
    folder.mkdir(parents=True)
    for manifest in manifests:
        (folder / f"generation-{manifest.generation:04d}.json").write_bytes(manifest.to_bytes())
    with running(Server(root)) as server:
        with MlflowWriter(run.path, server.uri, "shown", "dots", draw_population=population_picture) as writer:
            from pbt_disent.population.events import GenerationCommitted, RoundFinished, RoundStarted

            writer.notify(RoundStarted("0", 8, 2, 4, 40, 1000, UDRFitness(), 0))
            for manifest in manifests:
                writer.notify(GenerationCommitted(manifest, replayed=False))
            writer.notify(RoundFinished("0", "converged"))
        assert writer.pending().records == 0
        yield server


@pytest.fixture(scope="module")
def round_run(population: Server) -> dict[str, str]:
    """The round's run: its id, and the addresses in its note."""
    query = json.dumps({"experiment_ids": ["1"], "filter": "tags.kind = 'round'"}).encode()
    address = f"{population.uri}/api/2.0/mlflow/runs/search"
    request = urllib.request.Request(address, query, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        (run,) = json.load(answer)["runs"]
    return {"id": run["info"]["run_id"]}


def wait(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], object]) -> object:
    return WebDriverWait(browser, PATIENCE, poll_frequency=0.5).until(condition)


def failures(browser: webdriver.Chrome) -> list[str]:
    """Return errors of the console, but for what MLflow 3.17 asks for on a server without accounts."""
    own = ("users/current", "ResizeObserver", "AG Grid")
    messages = [str(entry["message"]) for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    return [message for message in messages if not any(part in message for part in own)]


def note_links(browser: webdriver.Chrome, population: Server, run_id: str) -> dict[str, str]:
    browser.set_window_size(1500, 1400)
    browser.get(f"{population.uri}/#/experiments/1/runs/{run_id}")
    wait(browser, lambda b: b.find_elements(By.LINK_TEXT, "parallel coordinates"))
    names = ("best first", "charts", "parallel coordinates")
    return {name: str(browser.find_element(By.LINK_TEXT, name).get_attribute("href")) for name in names}


def test_a_round_s_note_shows_its_picture_and_leads_to_its_members(
    browser: webdriver.Chrome, population: Server, round_run: dict[str, str]
) -> None:
    links = note_links(browser, population, round_run["id"])
    shown = "return [...document.images].some(one => one.src.includes('population.png') && one.naturalWidth > 300)"
    assert wait(browser, lambda b: b.execute_script(shown))
    browser.get(links["best first"])
    browser.refresh()
    wait(browser, lambda b: "8 matching runs" in b.find_element(By.TAG_NAME, "body").text)
    assert failures(browser) == []


def test_parallel_coordinates_show_start_values_against_fitness(
    browser: webdriver.Chrome, population: Server, round_run: dict[str, str]
) -> None:
    links = note_links(browser, population, round_run["id"])
    browser.get("about:blank")
    browser.get(links["parallel coordinates"])
    wait(browser, lambda b: "Comparing 8 Runs" in b.find_element(By.TAG_NAME, "body").text)
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".parcoords, .parcoords-container, g.parcoords"))
    labels = "return [...document.querySelectorAll('.axis-title')].map(one => one.textContent)"
    assert wait(browser, lambda b: b.execute_script(labels)) == ["init/beta", "init/lr", "fitness/score"]
    assert failures(browser) == []


def test_members_are_found_by_their_lineage(browser: webdriver.Chrome, population: Server) -> None:
    from pbt_disent.tracking.records import trace_origins

    last = simulate(members=8, generations=4)
    origins: dict[int, str] = {}
    for manifest in last:
        origins = trace_origins(origins if manifest.generation else {}, manifest)
    founder = max(set(origins.values()), key=list(origins.values()).count)
    expected = {f"0 m{member:02d}" for member, origin in origins.items() if origin == founder}
    assert 1 < len(expected) < 8
    query = quote(f"tags.round = '0' and tags.origin = '{founder}'") + "&orderByKey=metrics.%60fitness%2Fscore%60"
    browser.set_window_size(1500, 1400)
    browser.get("about:blank")
    browser.get(f"{population.uri}/#/experiments/1/runs?workflowType=machine_learning&searchFilter={query}")
    body = ""
    until = time.monotonic() + PATIENCE
    while not all(name in body for name in expected) and time.monotonic() < until:
        time.sleep(0.5)
        body = browser.find_element(By.TAG_NAME, "body").text
    assert f"{len(expected)} matching runs" in body, body
    assert {name for name in (f"0 m{member:02d}" for member in origins) if name in body} == expected
    assert failures(browser) == []
