from __future__ import annotations

from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from pbt_disent.models import LatentModel
from pbt_disent.report import model_view
from pbt_disent.report.page import write_report
from pbt_disent.store.run_folder import RunFolder

pytestmark = pytest.mark.browser
PIXELS = """
const canvas = document.querySelector('#explorer canvas'), copy = document.createElement('canvas');
[copy.width, copy.height] = [canvas.width, canvas.height];
const context = copy.getContext('2d', {willReadFrequently: true});
context.drawImage(canvas, 0, 0);
return [...context.getImageData(0, 0, copy.width, copy.height).data];
"""
AXE = """
const done = arguments[arguments.length - 1];
axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(found => done(
  found.violations.map(one => one.id + ': ' + one.nodes.map(node => node.html.slice(0, 90)).join(' | '))));
"""


@pytest.fixture(scope="module")
def report(finished_run: RunFolder) -> Path:
    return write_report(finished_run.path)


def show(browser: webdriver.Chrome, report: Path, *, width: int, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(report.as_uri())


def picture(browser: webdriver.Chrome) -> np.ndarray:
    """Return the grey levels (H, W) of the picture that the page has decoded, once it is painted."""
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    return np.array(browser.execute_script(PIXELS)).reshape(32, 32, 4)[:, :, 0]


def code(browser: webdriver.Chrome) -> list[float]:
    """Return the values that the three sliders show, by index of the latent."""
    sliders = [browser.find_element(By.ID, f"slider-{index}") for index in range(3)]
    return [float(str(slider.get_attribute("aria-valuetext"))) for slider in sliders]


def decoded(run: RunFolder, values: list[float]) -> np.ndarray:
    return np.rint(255 * LatentModel.load(run.model).decode(np.array([values]))[0, 0])


def focus(browser: webdriver.Chrome, element: WebElement) -> None:
    browser.execute_script("arguments[0].closest('details')?.setAttribute('open', '')", element)


def test_sliders_moved_by_keyboard_show_what_the_model_decodes(
    browser: webdriver.Chrome, report: Path, finished_run: RunFolder
) -> None:
    show(browser, report, width=1000)
    np.testing.assert_allclose(picture(browser), decoded(finished_run, code(browser)), atol=2)
    seen = [picture(browser)]
    for index, key in ((0, Keys.HOME), (1, Keys.END), (2, Keys.HOME)):
        slider = browser.find_element(By.ID, f"slider-{index}")
        focus(browser, slider)
        slider.send_keys(key)
        assert code(browser)[index] == pytest.approx(
            float(str(slider.get_attribute("min" if key == Keys.HOME else "max"))), abs=0.01
        )
        np.testing.assert_allclose(picture(browser), decoded(finished_run, code(browser)), atol=2)
        seen.append(picture(browser))
    assert all(np.any(one != other) for one, other in pairwise(seen))
    assert browser.get_log("browser") == []


def test_the_picture_starts_from_any_image_and_goes_back_there(
    browser: webdriver.Chrome, report: Path, finished_run: RunFolder
) -> None:
    show(browser, report, width=1000)
    first = code(browser)
    starts = browser.find_elements(By.CSS_SELECTOR, ".start")
    starts[3].click()
    chosen = code(browser)
    assert chosen != first
    assert [start.get_attribute("aria-pressed") for start in starts].index("true") == 3
    np.testing.assert_allclose(picture(browser), decoded(finished_run, chosen), atol=2)
    browser.find_element(By.CSS_SELECTOR, ".random").click()
    assert code(browser) != chosen
    browser.find_element(By.CSS_SELECTOR, ".reset").click()
    assert code(browser) == chosen


def test_an_animation_moves_when_asked_to_and_stops(browser: webdriver.Chrome, report: Path) -> None:
    show(browser, report, width=1000)
    button = browser.find_element(By.CSS_SELECTOR, ".animate")
    animation = browser.find_element(By.ID, str(button.get_attribute("aria-controls")))
    assert not animation.is_displayed()
    button.send_keys(Keys.ENTER)
    assert animation.is_displayed()
    assert str(animation.get_attribute("src")).startswith("data:image/gif")
    button.send_keys(Keys.ENTER)
    assert not animation.is_displayed()


def test_without_a_decoder_sliders_show_what_was_decoded_before(
    browser: webdriver.Chrome, finished_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_view, "decoder_program", lambda _: None)
    from pbt_disent.report.page import render
    from pbt_disent.report.run_view import read_run

    page = tmp_path / "report.html"
    page.write_text(render(read_run(finished_run.path)), encoding="utf-8")
    show(browser, page, width=1000)
    mover = browser.find_element(By.CSS_SELECTOR, ".mover")
    shown = "return document.querySelector('.mover canvas').toDataURL()"
    slider, output = mover.find_element(By.TAG_NAME, "input"), mover.find_element(By.TAG_NAME, "output")
    slider.send_keys(Keys.HOME)
    low, first = output.text, browser.execute_script(shown)
    slider.send_keys(Keys.END)
    high, last = output.text, browser.execute_script(shown)
    assert float(low) < float(high)
    assert first != last
    assert not browser.find_elements(By.ID, "explorer")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000])
def test_it_keeps_the_rules_for_accessible_pages(
    browser: webdriver.Chrome, report: Path, width: int, scheme: str
) -> None:
    show(browser, report, width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    browser.execute_script((resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    assert browser.execute_async_script(AXE) == []


def test_figures_follow_the_readers_light_or_dark(browser: webdriver.Chrome, report: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        show(browser, report, width=1000, scheme=scheme)
        script = "const style = name => getComputedStyle(document.querySelector(name));"
        script += "return [style('body').backgroundColor, style('svg text').fill]"
        seen[scheme] = browser.execute_script(script)
    assert seen["light"][0] != seen["dark"][0]
    assert seen["light"][1] == "rgb(28, 33, 40)"
    assert seen["dark"][1] == "rgb(232, 234, 237)"
