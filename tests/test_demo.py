"""The demo as the README runs it, once, and everything that it is supposed to show."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pbt_disent import data
from pbt_disent.metrics import mig
from pbt_disent.models import LatentModel
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import Json

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", "pbt_disent", "run", "demo", "--set", "seed=1"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return RunFolder(folder / "runs" / "demo-1"), done.stdout


def events(run: RunFolder, kind: str) -> list[Json]:
    rows = [json.loads(line) for line in (run.path / "rounds.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == kind]


def test_it_says_what_it_will_cost_what_it_does_and_what_came_out(demo: tuple[RunFolder, str]) -> None:
    run, output = demo
    for words in ("image passes at most", "will take", "round 0:", "round 0/leaf1/1:", "round final:", "First round:"):
        assert words in output
    for words in ("against the true factors", str(run.labels), str(run.report), "Next    pbt-disent ui"):
        assert words in output


def test_each_frozen_factor_takes_one_value_in_the_subset(demo: tuple[RunFolder, str]) -> None:
    run, _ = demo
    (cut,) = events(run, "cut")
    table = pd.read_parquet(run.labels)
    world = data.load(run.config().data.name, **run.config().data.options)
    factors = world.factors(np.arange(len(world)))
    assert factors is not None
    subset = table.loc[table["level"] == 1, "image"].unique()
    assert len(subset) == cut["num_images"]
    assert len(cut["frozen"]) >= 1
    top = table[table["level"] == 0].pivot_table(index="image", columns="latent", values="value")
    for latent, (low, high) in cut["frozen"].items():
        codes = top[int(latent)].to_numpy()
        assert np.all((codes[subset] >= np.float32(low)) & (codes[subset] <= np.float32(high)))
        varying = [k for k in range(factors.shape[1]) if len(np.unique(factors[:, k])) > 1]
        shares = mig(codes[:, None], factors[:, varying])
        factor = varying[int(np.argmax(shares.mutual_information[0] / shares.factor_entropy))]
        share = np.bincount(factors[subset, factor]).max() / len(subset)
        assert share >= 0.95, f"latent {latent} was frozen, but {world.factor_names[factor]} varies: {share:.2f}"


def test_it_learns_two_factors_in_latents_of_their_own(demo: tuple[RunFolder, str]) -> None:
    run, _ = demo
    world = data.load(run.config().data.name, **run.config().data.options)
    images = np.arange(len(world))
    factors = world.factors(images)
    assert factors is not None
    varying = [k for k in range(factors.shape[1]) if len(np.unique(factors[:, k])) > 1]
    result = mig(LatentModel.load(run.model).encode(world.images(images)), factors[:, varying])
    learned = result.latent_of_factor[result.per_factor >= 0.4]
    assert len(set(learned.tolist())) >= 2, result.per_factor
    printed = {row["factor"]: row["gap"] for row in json.loads(run.scores.read_text())["true_factors"]["per_factor"]}
    assert printed == pytest.approx(
        {world.factor_names[k]: gap for k, gap in zip(varying, result.per_factor.tolist(), strict=True)}
    )


def test_mlflow_holds_rounds_members_generations_and_artifacts(demo: tuple[RunFolder, str]) -> None:
    run, _ = demo
    config = run.config()
    client = MlflowClient(tracking_uri=f"sqlite:///{run.path}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name LIKE 'pbt-disent/%'")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [mlflow_run for mlflow_run in runs if "mlflow.parentRunId" not in mlflow_run.data.tags]
    assert len(parents) == 3
    children = [mlflow_run for mlflow_run in runs if "mlflow.parentRunId" in mlflow_run.data.tags]
    assert len(children) == 2 * config.population.size + config.final.size
    assert {mlflow_run.info.status for mlflow_run in runs} == {"FINISHED"}
    for child in children:
        parent = next(
            mlflow_run for mlflow_run in parents if mlflow_run.info.run_id == child.data.tags["mlflow.parentRunId"]
        )
        history = client.get_metric_history(child.info.run_id, "fitness/score")
        steps = [point.step for point in history]
        assert steps == list(range(len(steps)))
        final = parent.data.tags["round"] == "final"
        leaf = parent.data.tags["round"] == "0/leaf1/1"
        generations = config.final.generations if final else config.rounds.leaf_max_generations
        assert len(steps) == (generations if final or leaf else config.population.max_generations)
    last = next(mlflow_run for mlflow_run in parents if mlflow_run.data.tags["round"] == "final")
    artifacts = {entry.path for entry in client.list_artifacts(last.info.run_id)}
    assert {"report.html", "labels"} <= artifacts
    (kept,) = client.search_logged_models([experiment.experiment_id])
    assert (kept.source_run_id, kept.status.value) == (last.info.run_id, "READY")


@pytest.mark.browser
def test_the_ui_shows_the_population(demo: tuple[RunFolder, str], browser: webdriver.Chrome) -> None:
    run, _ = demo
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pbt_disent", "ui", str(run.path), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        url = next(match.group() for line in server.stdout if (match := re.search(r"http://127\.0\.0\.1:\S+", line)))
        browser.set_window_size(1500, 1000)
        browser.get(url)
        wait = WebDriverWait(browser, 90)
        wait.until(lambda page: "demo-1 round 0" in page.find_element(By.TAG_NAME, "body").text)
        first = "//*[text()='demo-1 round 0']/ancestor::*[@role='row'][1]//button"
        wait.until(lambda page: page.find_elements(By.XPATH, first))
        browser.execute_script("arguments[0].click()", browser.find_element(By.XPATH, first))
        names = [f"0 m{member:02d}" for member in range(run.config().population.size)]
        wait.until(lambda page: all(name in page.find_element(By.TAG_NAME, "body").text for name in names))
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert server.returncode in {0, 130}
