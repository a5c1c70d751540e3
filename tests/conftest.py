"""What all tests share: the reference data, and what to do when a tool is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)
ROOT = Path(__file__).resolve().parent.parent


def missing(tool: str, reason: str) -> None:
    """Skip because a tool is missing, or fail where PBT_DISENT_REQUIRE names it."""
    if tool in os.environ.get("PBT_DISENT_REQUIRE", "").split(","):
        pytest.fail(f"{reason}, and PBT_DISENT_REQUIRE asks for {tool}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of real frames and of metric values computed with the field's reference implementation."""
    folder = Path(os.environ.get("PBT_DISENT_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        missing("reference", f"no reference data in {folder} (PBT_DISENT_REFERENCE names the folder)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that has its driver beside it."""
    path = shutil.which("chromium")
    if path is None or shutil.which("chromedriver") is None:
        missing("browser", "Chromium and its driver are not installed (apt-get install chromium chromium-driver)")
    return str(path)


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a profile of its own, its console on record."""
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(Path(chromium).with_name("chromedriver"))))
    yield driver
    driver.quit()
