from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pbt_disent.report.page import write_report
from pbt_disent.store.run_folder import RunFolder

pytestmark = pytest.mark.browser


def show(browser: webdriver.Chrome, run: RunFolder, *, width: int, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(run.report.as_uri() if run.report.exists() else write_report(run.path).as_uri())


def test_a_slider_moved_by_keyboard_changes_the_picture(browser: webdriver.Chrome, finished_run: RunFolder) -> None:
    show(browser, finished_run, width=1000)
    mover = browser.find_element(By.CSS_SELECTOR, ".mover")
    assert mover.is_displayed()
    picture = "return document.querySelector('.mover canvas').toDataURL()"
    slider, output = mover.find_element(By.TAG_NAME, "input"), mover.find_element(By.TAG_NAME, "output")
    slider.send_keys(Keys.HOME)
    low, first = output.text, browser.execute_script(picture)
    slider.send_keys(Keys.END)
    high, last = output.text, browser.execute_script(picture)
    assert float(low) < float(high)
    assert first != last
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 1000])
def test_nothing_sticks_out_of_the_page(browser: webdriver.Chrome, finished_run: RunFolder, width: int) -> None:
    show(browser, finished_run, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_figures_follow_the_readers_light_or_dark(browser: webdriver.Chrome, finished_run: RunFolder) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        show(browser, finished_run, width=1000, scheme=scheme)
        script = "const style = name => getComputedStyle(document.querySelector(name));"
        script += "return [style('body').backgroundColor, style('svg text').fill]"
        seen[scheme] = browser.execute_script(script)
    assert seen["light"][0] != seen["dark"][0]
    assert seen["light"][1] == "rgb(28, 33, 40)"
    assert seen["dark"][1] == "rgb(232, 234, 237)"
