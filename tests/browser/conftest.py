"""Fixtures: Chromium, one JupyterLab for all tests here, and notebooks open in it.

Without Playwright or Chromium the tests are skipped; with REQUIRE_BROWSER=1 in the environment they
fail.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_helpers.history import describe_hardware, describe_versions, name_hardware

from .lab import OpenNotebook, Server

FAILURES = Path(__file__).parent / "failures"
CHROMIUM_NAMES = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome",
                  "google-chrome-stable", "chrome", "msedge")
OTHER_HOSTS = re.compile(r"^(?!(file|data|blob|about):|http://127\.0\.0\.1:)")
VIOLATIONS = """element => axe.run(element).then(result => result.violations.map(
    found => `${found.id}: ${found.nodes.slice(0, 3).map(node => node.html.slice(0, 120))}`))"""
OPEN = pytest.StashKey[list]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """All tests of this folder are the browser's."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


def unavailable(reason):
    """Skip, or fail where a browser is required."""
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(f"REQUIRE_BROWSER=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def find_chromium(playwright):
    """Path of Chromium or a relative of it: the system's, else the one Playwright has downloaded,
    else None.
    """
    paths = [*map(shutil.which, CHROMIUM_NAMES), playwright.chromium.executable_path]
    return next((path for path in paths if path and Path(path).is_file()), None)


# The scope is the package, not the session: while Playwright is active an event loop is running in
# this thread, and the notebooks that pytest executes after these tests need one of their own.

@pytest.fixture(scope="package")
def browser():
    """Playwright's browser."""
    if importlib.util.find_spec("playwright") is None:
        unavailable("Playwright is not installed (pip install playwright)")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            unavailable(f"no Chromium was found as {', '.join(CHROMIUM_NAMES)}, nor where "
                        "Playwright puts its own "
                        "(apt-get install chromium, or playwright install chromium)")
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def from_npm(tmp_path_factory):
    """`from_npm("axe-core@4")` installs a package of npm; returns its folder."""
    def install(package):
        npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("npm")
        if npm is None:
            unavailable(f"npm is not here to install {package}")
        done = subprocess.run([npm, "install", "--prefix", str(folder), package],
                              capture_output=True, text=True, timeout=300)
        if done.returncode:
            unavailable(f"{package} could not be installed: {done.stderr[-300:]}")
        return folder / "node_modules" / package.rpartition("@")[0]
    return install


@pytest.fixture(scope="package")
def axe(from_npm):
    """The script of axe, which finds what keeps people out."""
    return (from_npm("axe-core@4") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def open_page(browser):
    """`open_page(address, **options of the context)` opens a page to which other hosts are refused;
    it fails at the end if a page asked one, or had an error.
    """
    contexts, complaints = [], []

    def refuse(route):
        complaints.append(route.request.url)
        route.abort()

    def open_page(address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.route(OTHER_HOSTS, refuse)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="package")
def server(browser, tmp_path_factory):
    """JupyterLab; it asks for the browser first, so that none is started in vain."""
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture(scope="package")
def violations(axe):
    """`violations(locator)` gives what keeps people out of an element, as axe says."""
    def violations(locator):
        locator.page.evaluate(axe)
        return locator.evaluate(VIOLATIONS)

    return violations


class Lab:
    """What a test opens; all of it is closed at the end of the test."""

    def __init__(self, browser, server):
        self.browser, self.server, self.notebooks = browser, server, []

    def open(self, name, theme="light", width=1280):
        """Open a fresh copy of a notebook of `notebooks/`, with a kernel of its own."""
        return self._open(self.server.fresh_copy(name), theme, width)

    def new(self, cells, theme="light", width=1280):
        """Open a notebook with these code cells, which nothing has run."""
        return self._open(self.server.write(cells), theme, width)

    def _open(self, path, theme, width):
        self.notebooks.append(OpenNotebook(self.browser, self.server, path, theme, width))
        return self.notebooks[-1]


def open_lab(request, browser, server):
    lab = Lab(browser, server)
    request.node.stash[OPEN] = lab.notebooks
    with contextlib.ExitStack() as stack:
        yield lab
        for notebook in lab.notebooks:
            stack.callback(notebook.close)  # the others, too, if one cannot be closed


@pytest.fixture
def lab(request, browser, server):
    """`lab.open("02_residual_block.ipynb", theme="dark", width=1280)` gives an `OpenNotebook`,
    `lab.new` another.
    """
    yield from open_lab(request, browser, server)


@pytest.fixture(scope="module")
def shared_lab(request, browser, server):
    """The same for notebooks that all tests of a file share, because it takes long to open one."""
    yield from open_lab(request, browser, server)


@pytest.fixture
def report(record_property, browser):
    """`report(line)` prints a line at the end of the test run, where `tests/conftest.py` collects
    them.
    """
    record_property("time in the browser", machine(browser))
    return functools.partial(record_property, "time in the browser")


@pytest.fixture
def measure(report):
    """`measure(label, times)` prints median and 95th percentile of times in ms at the end of the
    test run.
    """
    def measure(label, times):
        median, p95 = (float(value) for value in np.percentile(times, [50, 95]))
        report(f"{label}: {median:.0f} ms" if len(times) == 1 else
               f"{label}: median {median:.0f} ms, 95th percentile {p95:.0f} ms ({len(times)} times)")
        return median, p95
    return measure


def machine(browser):
    hardware, versions = describe_hardware(torch.device("cpu")), describe_versions()
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}"
                         for name in ("jupyterlab", "ipywidgets"))
    return (f"on {name_hardware(hardware)}, {versions['system']}, "
            f"Python {versions['python']}, {packages}, Chromium {browser.version}:")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep a picture of every open notebook when a test fails, and say where it is."""
    report = yield
    if report.failed and report.when != "teardown":
        notebooks = [notebook for node in item.listchain() for notebook in node.stash.get(OPEN, [])]
        for n, notebook in enumerate(notebooks, start=1):
            report.sections.append((f"{notebook.name} in the browser",
                                    keep_screenshot(item, n, notebook)))
    return report


def keep_screenshot(item, n, notebook):
    FAILURES.mkdir(exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", item.name).strip("_") + ("" if n == 1 else f"-{n}")
    path = FAILURES / f"{name}.png"
    try:
        notebook.screenshot(path)
    except Exception as error:  # the page may be what has failed; the test's own error matters more
        return f"no picture: {error}"
    return f"picture: {path}\nconsole errors: {notebook.console_errors}"
