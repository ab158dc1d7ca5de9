"""Watches everything a browser says and sends, and knows what a voter's page may never do."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

_TELL_VIOLATIONS: Final = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.effectiveDirective} forbids ${event.blockedURI} ${event.sample}`);
});
"""
# The browser's own line for an answer that is not 2xx: the page handles it, and the tests say what it shows.
_ANSWERED: Final = "Failed to load resource: the server responded with a status of"
_LOST: Final = "Failed to load resource: net::ERR_"
# The browser's own line for the second half of a double tap, whose form the first half has replaced.
_REPLACED: Final = "Form submission canceled because the form is not connected"


@dataclass
class Watch:
    """What happened in one context; `faults` must be empty when its test ends."""

    context: BrowserContext
    origin: str
    faults: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    may_lose_connection: bool = False
    """Set by a test that takes the network away: the browser then says so on the console."""

    def __post_init__(self) -> None:
        self.context.add_init_script(_TELL_VIOLATIONS)
        self.context.on("console", self._console)
        self.context.on("weberror", self._error)
        self.context.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        """Whatever it says and however quietly: the pages write nothing there."""
        address = str(message.location.get("url", ""))
        answered = message.text.startswith(_ANSWERED) and address.startswith(f"{self.origin}/")
        lost = message.text.startswith(_LOST) and self.may_lose_connection
        if not answered and not lost and message.text != _REPLACED:
            self.faults.append(f"console: {message.text} ({address})")

    def _error(self, error: WebError) -> None:
        self.faults.append(f"error: {error.error.message}")

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        url = request.url.removeprefix("blob:")
        if urlsplit(url)._replace(path="", query="", fragment="").geturl() != self.origin:
            self.faults.append(f"request to another origin: {url[:200]}")

    def sent(self, ending: str, method: str = "POST") -> list[Request]:
        """The requests to a path with this ending, in order."""
        return [
            one for one in self.requests if one.method == method and urlsplit(one.url).path.endswith(ending)
        ]

    def asked(self) -> list[Request]:
        """The requests to the interface that votes go to: everything but the page's own files."""
        return [one for one in self.requests if urlsplit(one.url).path.startswith("/api/")]

    def finish(self) -> None:
        """Look at what the pages left behind, and fail if anything was ever wrong."""
        self.context.remove_listener("request", self._request)
        self.context.remove_listener("console", self._console)
        kept = self.context.storage_state(indexed_db=True)
        if kept.get("cookies"):
            self.faults.append(f"cookies: {kept['cookies']}")
        if kept.get("origins"):
            self.faults.append(f"kept for ever: {kept['origins']}")
        assert not self.faults, "\n".join(self.faults)
