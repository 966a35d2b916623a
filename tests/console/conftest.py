"""A real browser before a real node with scripted answers. Skipped where no browser is found."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.console.visitor import Visitor, visiting
from tests.fakes.scripted_service import ConsoleNode

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


# Not for the whole session: Playwright keeps a running loop in this thread while it lives.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ConsoleNode]:
    node = ConsoleNode(tmp_path / "data")
    yield node
    node.stop()


@pytest.fixture
def visitor(browser: Browser, node: ConsoleNode) -> Iterator[Visitor]:
    with visiting(browser, node.url) as visitor:
        visitor.visit()
        yield visitor
