"""Debian's chromium, driven by playwright: it draws WebGL in software, and no page may reach outside this machine."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

# Software WebGL everywhere, so that the tests see the same on a machine without a GPU; no traffic of chromium's own.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()
# A page with a WebGL picture, and the seconds that it takes on two idle cores.
PICTURE = """() => {
  const gl = document.createElement('canvas').getContext('webgl2');
  gl.clear(gl.COLOR_BUFFER_BIT);
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
}"""
PICTURE_SECONDS = 0.5
PATIENCE = 120  # seconds that anything may take where a picture takes PICTURE_SECONDS
LOCAL = ("127.0.0.1", "localhost", "")  # "": files, data: and blob:


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of chromium, installed from Debian's packages where it is missing and that is possible; else a skip."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    found = shutil.which("chromium")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"], capture_output=True)
        found = shutil.which("chromium")
    return found or pytest.skip("chromium is missing, and no Debian package manager is there to install it")


@pytest.fixture(scope="module")
def browser(chromium: str):
    """A playwright Browser. For one module only: while it lives, no test may start an event loop of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def slowness(browser) -> float:
    """How many times as long as on two idle cores things take here and now, at least 1."""
    started = time.perf_counter()
    page = browser.new_page()
    page.set_default_timeout(0)  # that it takes long is what is asked
    page.goto("data:text/html,<p>")
    page.evaluate(PICTURE)
    page.close()
    return max(1.0, (time.perf_counter() - started) / PICTURE_SECONDS)


@pytest.fixture(scope="module")
def patience(slowness) -> float:
    """Seconds to wait for anything before a test gives up: what is awaited is a condition, never a time."""
    return PATIENCE * slowness


@pytest.fixture
def new_page(browser, patience) -> Iterator[Callable]:
    """``new_page(color_scheme="light", width=1280, height=720)`` -> (page, problems).

    ``problems`` collects console errors, uncaught exceptions and requests that leave this machine, which are aborted.
    """
    contexts = []

    def open_page(color_scheme: str = "light", width: int = 1280, height: int = 720):
        context = browser.new_context(color_scheme=color_scheme, viewport={"width": width, "height": height})
        context.set_default_timeout(1000 * patience)
        contexts.append(context)
        problems: list[str] = []
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))

        def guard(route):
            if (urlsplit(route.request.url).hostname or "") in LOCAL:
                route.continue_()
            else:
                problems.append(f"request outside: {route.request.url}")
                route.abort()

        context.route("**/*", guard)
        return page, problems

    yield open_page
    for context in contexts:
        context.close()
