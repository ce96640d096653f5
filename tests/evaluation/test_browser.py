"""The page of an evaluation in a real browser."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from aura import page
from aura.evaluation.result import Result, Windows, write
from aura.tasks.figures import confusion_figure
from aura.tasks.scores import mean_intervals

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture
def tab():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the browser tests need playwright: pip install playwright"
    )
    if BROWSER is None:
        pytest.skip("the browser tests need chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 900, "height": 700})
        browser.close()


def report(out: Path) -> Path:
    result = Result()
    right, people = np.arange(30) % 3 > 0, [f"s{i % 4}" for i in range(30)]
    intervals = mean_intervals({"accuracy": right.astype(float)}, people)
    for name in ("imu", "mocap"):
        figures = {"accuracy": float(right.mean()), "chance/accuracy": 0.1, "n": 30.0, "pool": 10.0}
        result.add(name, figures, intervals, Windows([str(i) for i in range(30)], people, {"accuracy": right}))
    matrix = np.random.default_rng(0).integers(0, 5, (10, 10))
    result.notes.append("LEAK: 2 of 4 subjects were in training")
    table = page.table([["class", "recall"], *([f"class {i}", "0.500"] for i in range(40))])
    picture = page.picture(confusion_figure(matrix, [f"class {i}" for i in range(10)]), "confusion matrix")
    result.parts += [page.heading("imu"), page.details("by class", table), picture]
    write(result, {"task": "zeroshot", "recipe": "quickstart", "shards": {"data/synthetic:val": "0" * 64}}, out)
    return out / "report.html"


def test_the_report_in_a_browser(tab, tmp_path):
    complaints: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    file = report(tmp_path)
    tab.goto(file.as_uri())
    assert tab.title() == "zeroshot: quickstart"
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert tab.get_by_text("LEAK: 2 of 4 subjects were in training").is_visible()
    cells = tab.locator("table").first.locator("tr").all_inner_texts()
    assert any(row.startswith("imu\tn 30, pool 10\t0.667 (") for row in cells)
    assert any("chance" in row and "0.1000" in row for row in cells)
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    # Tables wider than the window scroll by themselves, the page does not.
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert not tab.get_by_text("class 39").is_visible()
    tab.get_by_text("by class").click()
    assert tab.get_by_text("class 39").is_visible()
