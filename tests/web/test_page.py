"""The page in a real browser: a dropped picture becomes maps and a cloud."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlparse

import numpy as np
import pytest

pytest.importorskip("gradio", reason="needs Gradio: pip install 'emu_core[web]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: pip install playwright"
)
image = pytest.importorskip("PIL.Image", reason="needs Pillow")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium: apt install chromium"
)
# Without a graphics card, WebGL is computed by SwiftShader; root has no sandbox.
OPTIONS = ("--no-sandbox", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
PATIENCE_S = 120
"""For machines that do other things; a quiet one needs less than 5 s for a picture."""

LOADED = """() => ['classes', 'class-uncertainty', 'depth', 'depth-deviation'].every(name => {
    const image = document.querySelector(`#${name} img`);
    return image && image.complete && image.naturalWidth > 0;
})"""
CLOUD = "document.querySelector('#cloud a')?.href"


@pytest.fixture(scope="module")
def address():
    """Address of a page of this test, at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "emu_core.web", "--port", str(port)]
    environment = {**os.environ, "no_proxy": "127.0.0.1,localhost"}
    with subprocess.Popen(command, env=environment) as server:
        url, end = f"http://127.0.0.1:{port}/", time.monotonic() + PATIENCE_S
        try:
            while True:
                try:
                    urllib.request.urlopen(url, timeout=PATIENCE_S).close()
                    break
                except (urllib.error.URLError, OSError):
                    assert server.poll() is None and time.monotonic() < end
            yield url
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page; what its scripts complain about is printed, and shown if a test fails."""
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    page.set_default_timeout(1000 * PATIENCE_S)
    page.on("console", lambda message: print(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: print(f"page error: {error}"))
    yield page
    page.close()


def pixels(element):
    """What an element shows, RGB."""
    shot = element.screenshot(timeout=1000 * PATIENCE_S)
    return np.asarray(image.open(io.BytesIO(shot)).convert("RGB"))


def wait_for_points(page):
    """Wait until the cloud shows the colours of a street; without points it has some hundred."""
    end = time.monotonic() + PATIENCE_S
    page.wait_for_selector("#cloud canvas")
    while len(np.unique(pixels(page.locator("#cloud canvas")).reshape(-1, 3), axis=0)) < 2000:
        assert time.monotonic() < end, "the cloud does not appear"


def drop(page, address, street):
    """Open the page and drop a picture at once, even if parts of the page are still loaded."""
    page.goto(address, wait_until="commit")
    page.wait_for_selector("#file input[type=file]", state="attached")  # the table has one, too
    page.set_input_files("#file input[type=file]", street)


@needs_chromium
def test_a_dropped_picture_becomes_four_maps_and_a_cloud(address, page, street, tmp_path):
    hosts = set()
    page.on("request", lambda request: hosts.add(urlparse(request.url).hostname))
    start = time.monotonic()
    drop(page, address, street)
    page.wait_for_function(LOADED)
    maps_s = time.monotonic() - start
    wait_for_points(page)
    print(f"\nmaps after {maps_s:.1f} s, cloud after {time.monotonic() - start:.1f} s")
    assert "scale of depth is a guess" in page.inner_text("#note")
    assert "road" in page.inner_text("#seen")
    page.screenshot(path=tmp_path / "page.png", timeout=1000 * PATIENCE_S)
    print(f"see {tmp_path / 'page.png'}")

    sources = ("document.querySelector('#depth img').src", CLOUD)
    before = [page.evaluate(source) for source in sources]
    slider = page.locator("#certainty input[type=range]")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
    for source, old in zip(sources, before, strict=True):
        page.wait_for_function(f"{source} !== '{old}'")
    page.wait_for_function(LOADED)
    wait_for_points(page)
    page.screenshot(path=tmp_path / "moved.png", timeout=1000 * PATIENCE_S)
    assert hosts <= {"127.0.0.1", None}  # None: data and blobs


@needs_chromium
@pytest.mark.parametrize("script", ["Model3D", "Canvas3D", "lib"])
def test_a_viewer_that_arrives_after_the_cloud_shows_it(address, page, street, script):
    """Scripts of the viewer are held back until the cloud, or a second one, has arrived."""
    held, holding = [], True

    def hold(route):
        held.append(route) if holding else route.continue_()

    page.route(re.compile(rf"/{script}-[^/]*\.js$"), hold)
    drop(page, address, street)
    page.wait_for_function(LOADED)
    if script in ("Canvas3D", "lib"):  # Model3D contains the link
        page.wait_for_function(CLOUD)
        first = page.evaluate(CLOUD)
        page.click("text=Predict again")
        page.wait_for_function(f"{CLOUD} !== '{first}'")
    holding = False
    for route in held:
        route.continue_()
    assert held
    wait_for_points(page)
