"""A person with a browser: what they do, and what their browser complains about."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

# The browser's own line about an HTTP status; that the page handles it is what tests look at.
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of (40|50)\d")


class Visitor:
    """One person's browser window on the console, and everything that went wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page = context.new_page()
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) =>"
            " console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

    def visit(self, fragment: str = "") -> Page:
        self.page.goto(f"{self.url}/{fragment}")
        self.page.wait_for_selector(".picker .dot[data-state=ready]", state="attached")
        return self.page

    def ask(self, text: str) -> None:
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def ask_and_wait(self, text: str) -> str:
        """The answer as it is shown."""
        before = self.page.locator(".message.assistant").count()
        self.ask(text)
        answer = self.page.locator(".message.assistant:not(.streaming)").nth(before)
        answer.wait_for()
        return answer.locator(".prose").inner_text()

    def forgive(self, complaint: str) -> None:
        """The test caused it."""
        self.complaints = [line for line in self.complaints if complaint not in line]

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.match(message.text):
            self.complaints.append(message.text)


@contextmanager
def visiting(browser: Browser, url: str, **options: object) -> Iterator[Visitor]:
    context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce", **options})  # pyright: ignore[reportArgumentType]
    context.set_default_timeout(10_000)
    visitor = Visitor(context, url)
    yield visitor
    context.close()
    assert visitor.complaints == []
    assert visitor.hosts <= {url.split("/")[2]}
