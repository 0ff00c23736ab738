"""The page in a real browser: a dropped picture becomes maps and a cloud."""

import io
import os
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


def pixels(element):
    """What an element shows, RGB."""
    shot = element.screenshot(timeout=1000 * PATIENCE_S)
    return np.asarray(image.open(io.BytesIO(shot)).convert("RGB"))


def wait_for_points(canvas):
    """Wait until a canvas shows the colours of a street; without points it has some hundred."""
    end = time.monotonic() + PATIENCE_S
    while len(np.unique(pixels(canvas).reshape(-1, 3), axis=0)) < 2000:
        assert time.monotonic() < end, "the cloud does not appear"


@needs_chromium
def test_a_dropped_picture_becomes_four_maps_and_a_cloud(address, browser, street, tmp_path):
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    page.set_default_timeout(1000 * PATIENCE_S)
    hosts = set()
    page.on("request", lambda request: hosts.add(urlparse(request.url).hostname))
    page.goto(address)
    page.wait_for_selector("input[type=file]", state="attached")
    start = time.monotonic()
    page.set_input_files("input[type=file]", street)
    page.wait_for_function(LOADED)
    maps_s = time.monotonic() - start
    page.wait_for_selector("#cloud canvas")
    wait_for_points(page.locator("#cloud canvas"))
    print(f"\nmaps after {maps_s:.1f} s, cloud after {time.monotonic() - start:.1f} s")
    assert "scale of depth is a guess" in page.inner_text("#note")
    assert "road" in page.inner_text("#seen")
    page.screenshot(path=tmp_path / "page.png", timeout=1000 * PATIENCE_S)
    print(f"see {tmp_path / 'page.png'}")

    source = "document.querySelector('#depth img').src"
    before = page.evaluate(source)
    slider = page.locator("#certainty input[type=range]")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_function(f"{source} !== '{before}'")
    page.wait_for_function(LOADED)
    assert hosts <= {"127.0.0.1", None}  # None: data and blobs
