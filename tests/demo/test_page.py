"""The page in a real browser, and as a Space."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml

from aura.demo.figures import LEFT, RIGHT, WIDTH
from aura.demo.space import write_space
from tests.evaluation.test_browser import ARGUMENTS, BROWSER
from tests.ports import free_port
from tests.train.runs import LIMIT_S
from tools import demo

ROOT = Path(__file__).parents[2]
SOON = 300_000  # ms


@pytest.fixture(scope="module")
def served(demo_run, demo_shards, tmp_path_factory):
    """The address of the page, the process of the command that serves it, and what that says."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install gradio pandas")
    pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright: pip install playwright")
    if BROWSER is None:
        pytest.skip("the browser tests need chromium: apt-get install chromium")
    port = free_port()
    log = tmp_path_factory.mktemp("page") / "log"
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--model", str(demo_run), "--max-mb", "1"]
    command += ["--samples", f"{demo_shards}:train", "--port", str(port)]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(log.parent)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
        )
    try:
        until = time.monotonic() + LIMIT_S
        while "the page is at" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/", process, log
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(LIMIT_S)
    assert not list(log.parent.glob("aura-demo-*")), "uploads are left"


@pytest.fixture
def page(served):
    return served[0]


def test_the_page_in_a_browser(page, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    times = np.arange(200) / 50
    table = tmp_path / "still.csv"
    np.savetxt(table, np.c_[times, np.tile([0, 0, 1.0], (200, 1))], delimiter=",", header="time,x,y,z", comments="")
    (tmp_path / "words.csv").write_text("x,y,z\n1,2,3\n1,two,3\n")
    (tmp_path / "large.csv").write_bytes(b"1,2,3\n" * 400_000)
    asked: list[str] = []
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.set_default_timeout(SOON)
        expect.set_options(timeout=SOON)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(page)
        told, shown = tab.locator("#what-told"), tab.locator("#what-shown")
        go = tab.get_by_role("button", name="What is it doing?", exact=True)

        # A sample: its answer, and one time for signals, body and video.
        words = tab.get_by_label("Activities, in any words")
        expect(words).to_have_value(re.compile("jumping jack, .*walk"))
        words.fill("walking, sitting\n<b>waving</b>")
        go.click()
        expect(shown.locator(".aura-sheet")).to_have_count(2)
        answer = told.locator(".aura-answer").inner_text()
        assert answer.rpartition(":")[0] in ("walking", "sitting", "<b>waving</b>")
        marker, sheet = shown.locator(".aura-marker"), shown.locator(".aura-sheet").last
        before = (marker.bounding_box() or {})["x"], sheet.evaluate("e => e.style.backgroundPosition")
        shown.locator(".aura-slider").fill("2")
        after = (marker.bounding_box() or {})["x"], sheet.evaluate("e => e.style.backgroundPosition")
        axis = shown.locator(".aura-time-axis").bounding_box() or {}
        assert after[0] - before[0] == pytest.approx(axis["width"] * (WIDTH - LEFT - RIGHT) / WIDTH * 2 / 4, abs=2)
        assert before[1] == "0% 0%"
        assert after[1] != before[1]
        expect(shown.locator(".aura-now")).to_contain_text("2.00 s: ")
        assert shown.locator("img").evaluate("e => e.decode().then(() => e.naturalWidth > 1000)")
        shown.get_by_role("button", name="Play", exact=True).click()
        expect(shown.locator(".aura-now")).not_to_contain_text("2.00 s: ")
        words.fill("walking")
        go.click()
        expect(told.get_by_role("alert")).to_contain_text("two or more activities")
        words.fill("walking, sitting")

        # Files: one in g that is not said to be, one that is no table, one that is too large.
        tab.get_by_label("a file", exact=True).first.check()
        picker = tab.locator("input[type=file]").first
        picker.set_input_files(table)
        expect(tab.locator("a[href$='/still.csv']")).to_be_visible()
        go.click()
        expect(told.locator(".aura-warned")).to_contain_text("is it in g? See “Acceleration in”")
        expect(told.locator(".aura-answer")).to_contain_text("%")
        expect(shown.locator(".aura-sheet")).to_have_count(0)
        tab.get_by_label("Remove").or_(tab.get_by_label("Clear")).first.click()
        picker.set_input_files(tmp_path / "words.csv")
        expect(tab.locator("a[href$='/words.csv']")).to_be_visible()
        go.click()
        expect(told.get_by_role("alert")).to_contain_text("'two', in line 3")
        expect(shown.locator(".aura-player")).to_have_count(0)
        tab.get_by_label("Remove").or_(tab.get_by_label("Clear")).first.click()
        picker.set_input_files(tmp_path / "large.csv")
        expect(tab.get_by_text("exceed the maximum allowed size of 1.0 Mb")).to_be_visible()
        go.click()
        expect(told.get_by_role("alert")).to_contain_text("choose a file first, of at most 1 MB")

        tab.get_by_role("tab", name="Search", exact=True).click()
        tab.get_by_label("What to look for").fill("a person walks")
        tab.get_by_role("button", name="Search", exact=True).click()
        expect(tab.locator("#search-shown figure")).to_have_count(6)
        expect(tab.locator("#search-told")).to_contain_text("windows of 36 samples were compared")

        tab.get_by_role("tab", name="Offset", exact=True).click()
        tab.get_by_role("button", name="Find the offset", exact=True).click()
        expect(tab.locator("#offset-told")).to_contain_text("whole windows of 2 s")
        assert tab.locator("#offset-shown img").evaluate("e => e.decode().then(() => e.naturalWidth > 1000)")
        browser.close()
    assert faults == []
    # Nothing from elsewhere, and neither way to share the page.
    assert [url for url in asked if not url.startswith((page, "data:", "blob:"))] == []


def test_what_is_served(page):
    with urllib.request.urlopen(page, timeout=LIMIT_S) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    with urllib.request.urlopen(f"{page}config", timeout=LIMIT_S) as answer:
        config = json.load(answer)
    assert config["analytics_enabled"] is False
    assert all(event["api_visibility"] == "private" for event in config["dependencies"])
    # The server itself, not the browser alone, refuses what is too large.
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n'
        + b"1" * (2 << 20)
        + b"\r\n--x--\r\n"
    )
    request = urllib.request.Request(
        f"{page}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(request, timeout=LIMIT_S)


def test_ctrl_c_ends_it_while_a_page_is_open(served):
    """The last to use the page: it is gone then."""
    page, process, log = served
    # What a page in a browser holds open for as long as it is shown.
    with urllib.request.urlopen(f"{page}gradio_api/heartbeat/abc", timeout=LIMIT_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == -signal.SIGINT
    assert log.read_text().splitlines()[2:] == ["stopped by Ctrl-C"]
    assert not list(log.parent.glob("aura-demo-*")), "uploads are left"


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_cleans_up_and_ends_the_command_at_once(number, word):
    code = f"""
import atexit, os, sys, time, types
sys.modules["aura.demo.page"] = page = types.ModuleType("aura.demo.page")
def serve(*_, **__):
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(1200)
    finally:
        print("cleaned up")
page.serve = serve
from tools.demo import main
atexit.register(print, "put away what was imported")
main(["--model", "none"])
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (found.returncode, found.stdout, found.stderr) == (-number, "cleaned up\n", f"stopped by {word}\n")


def test_a_space(tmp_path):
    demo.main(["--space", str(tmp_path / "space"), "--model", "user/name", "--aura", "git+https://host/user/aura"])
    found = {path.name: path.read_text() for path in (tmp_path / "space").iterdir()}
    assert set(found) == {"app.py", "requirements.txt", "README.md"}
    assert found["requirements.txt"] == "aura[demo] @ git+https://host/user/aura\n"
    head = yaml.safe_load(found["README.md"].split("---\n")[1])
    assert head["sdk"] == "gradio"
    assert (head["app_file"], head["models"]) == ("app.py", ["user/name"])
    calls = []
    stub = "import sys, types; page = types.ModuleType('aura.demo.page'); sys.modules['aura.demo.page'] = page\n"
    space: dict = {"calls": calls}
    exec(stub + "page.serve = lambda *a, **k: calls.append((a, k))\n" + found["app.py"], space)
    sys.modules.pop("aura.demo.page")
    assert calls == [(("user/name",), {"host": "0.0.0.0", "port": 7860, "max_mb": 50})]
    for model, requirement, match in (("runs/a/b", "x", "user/name"), ("user/name", "a\nb", "one line")):
        with pytest.raises(ValueError, match=match):
            write_space(tmp_path, model, requirement, 50)
