"""The watch over the browser sees what it is there to see: each thing that a voter's page may never do."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.watch import Watch

ORIGIN = "http://ballot.example"
PAGE = "<!doctype html><title>Page</title><p>Page</p>"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; img-src http://*; connect-src *"
KEEP = """
const asked = indexedDB.open("kept", 1);
asked.onupgradeneeded = () => asked.result.createObjectStore("things").put(1, "one");
asked.onsuccess = () => { asked.result.close(); document.title = "Ready"; };
"""
DONE = "; document.title = 'Ready'"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.error('a slip')" + DONE, "console: a slip"),
        ("console.log('a trace')" + DONE, "console: a trace"),
        ("console.debug('more')" + DONE, "console: more"),
        ("setTimeout(() => { document.title = 'Ready'; throw new Error('lost') })", "error: lost"),
        ("Promise.reject(new Error('unheard'))" + DONE, "error: unheard"),
        ("document.body.append(Object.assign(new Image(), {src: 'data:,'}))" + DONE, "CSP: img-src"),
        ("fetch('http://elsewhere.example/').catch(() => {})" + DONE, "request to another origin"),
        ("document.cookie = 'seen=1'" + DONE, "cookies"),
        ("localStorage.setItem('seen', '1')" + DONE, "kept for ever"),
        (KEEP, "kept for ever"),
    ],
    ids=[
        "console",
        "log",
        "debug",
        "error",
        "promise",
        "policy",
        "elsewhere",
        "cookie",
        "local storage",
        "database",
    ],
)
def test_the_watch_sees(browser: Browser, script: str, told: str) -> None:
    """A page that does one forbidden thing fails its test, and the test says what it was."""
    with browser.new_context() as context:
        watch = Watch(context, ORIGIN)
        body = f"{PAGE}<script>{script}</script>"
        headers = {"Content-Security-Policy": POLICY}
        context.route(
            "**/*", lambda route: route.fulfill(body=body, content_type="text/html", headers=headers)
        )
        page = context.new_page()
        page.goto(f"{ORIGIN}/")
        expect(page).to_have_title("Ready")
        with pytest.raises(AssertionError, match=told):
            watch.finish()


def test_the_watch_lets_a_good_page_pass(browser: Browser) -> None:
    """A page that only remembers for the session, and asks its own server, is fine."""
    with browser.new_context() as context:
        watch = Watch(context, ORIGIN)
        context.route("**/*", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page = context.new_page()
        page.goto(f"{ORIGIN}/")
        page.evaluate("sessionStorage.setItem('seen', '1')")
        page.evaluate("fetch('/api/v1/keys')")
        watch.finish()
        assert [one.url for one in watch.sent("/keys", "GET")] == [f"{ORIGIN}/api/v1/keys"]
