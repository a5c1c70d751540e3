"""What all tests share: the reference data, and what to do when a tool is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver

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
def google_objects() -> Iterator[str]:
    """A server on 127.0.0.1 that speaks Google's storage API; used as `objects` is."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    endpoint = f"127.0.0.1:{server._api._httpd.server_port}"
    yield "gs://anonymous@bucket/{}?scheme=http&endpoint_override=" + endpoint
    server.stop()


@pytest.fixture(scope="session")
def objects() -> Iterator[str]:
    """An S3-compatible server on 127.0.0.1; ``objects.format("a/b")`` is the URI of a place in its bucket."""
    import logging

    from moto.server import ThreadedMotoServer
    from pyarrow.fs import S3FileSystem

    variables = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_override": f"{host}:{port}", "scheme": "http", "region": "us-east-1"}
    S3FileSystem(allow_bucket_creation=True, **options).create_dir("bucket")
    yield "s3://bucket/{}?" + "&".join(f"{name}={value}" for name, value in options.items())
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


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
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(Path(chromium).with_name("chromedriver"))))
    yield driver
    driver.quit()
