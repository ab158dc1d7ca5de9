"""The bytes of an answer, by the request's method and version."""

import pytest

from intake.answer import Answer, Shared, Typed, lines


def lines_of(
    *, persistent: bool = True, keep_alive: bool = True, bodiless: bool = False, allow: str = "GET"
) -> list[bytes]:
    """Return the lines of an answer; the body is last."""
    answer = Answer(b"{}", status=405)
    if allow:
        answer.headers["Allow"] = allow
    rendered = answer.rendered(persistent=persistent, keep_alive=keep_alive, bodiless=bodiless)
    head, _, body = rendered.partition(b"\r\n\r\n")
    return [*head.split(b"\r\n"), body]


@pytest.mark.parametrize("allow", ["", "GET"], ids=["none of its own", "one of its own"])
def test_an_answer_s_lines(allow: str) -> None:
    """Status, the headers of all answers, its own, the date, the length, and the body."""
    lines = lines_of(allow=allow)

    assert lines[0] == b"HTTP/1.1 405 Method Not Allowed"
    assert lines[1:5] == [
        b"Content-Type: application/json",
        b"Cache-Control: no-store",
        b"X-Content-Type-Options: nosniff",
        b"Server: ballot",
    ]
    assert lines[5:-3] == ([b"Allow: GET"] if allow else [])
    assert lines[-3].startswith(b"Date: ")
    assert lines[-3].endswith(b" GMT")
    assert lines[-2:] == [b"Content-Length: 2", b"{}"]


@pytest.mark.parametrize("allow", ["", "GET"], ids=["none of its own", "one of its own"])
def test_head_has_no_body(allow: str) -> None:
    """The same head, and nothing after it."""
    assert lines_of(bodiless=True, allow=allow)[-2:] == [b"Content-Length: 2", b""]


@pytest.mark.parametrize(
    ("persistent", "keep_alive", "said"),
    [
        (True, True, None),
        (True, False, b"Connection: close"),
        (False, False, None),
        (False, True, b"Connection: keep-alive"),
    ],
)
def test_whether_the_connection_goes_on(*, persistent: bool, keep_alive: bool, said: bytes | None) -> None:
    """Said only where the version does not say it already."""
    for allow in ("", "GET"):
        lines = lines_of(persistent=persistent, keep_alive=keep_alive, allow=allow)

        assert [line for line in lines if line.startswith(b"Connection")] == ([] if said is None else [said])


def test_another_kind_of_body_has_only_its_own_lines() -> None:
    """Nothing of what a JSON answer says about itself, the rest as ever; HEAD has no body."""
    answer = Typed(b"<p>", lines({"Content-Type": "text/html", "Cache-Control": "no-store"}), status=404)
    answer.headers["Allow"] = "GET"

    for bodiless, body in ((False, b"<p>"), (True, b"")):
        head, _, rest = answer.rendered(keep_alive=False, bodiless=bodiless).partition(b"\r\n\r\n")
        found = head.split(b"\r\n")
        assert found[:4] == [
            b"HTTP/1.1 404 Not Found",
            b"Content-Type: text/html",
            b"Cache-Control: no-store",
            b"Allow: GET",
        ]
        assert found[4:6] == [b"Connection: close", b"Server: ballot"]
        assert found[6].startswith(b"Date: ")
        assert (found[7:], rest) == ([b"Content-Length: 3"], body)


def test_a_shared_body_follows_its_head() -> None:
    """The very same bytes, never a copy; and nothing follows the head that HEAD asked for."""
    body, fixed = b"x" * 100_000, lines({"Content-Type": "text/css"})
    answer, whole = Shared(body, fixed), Typed(body, fixed)

    assert answer.rendered() + answer.tail == whole.rendered()
    assert answer.tail is body
    assert (answer.rendered(bodiless=True), answer.tail) == (whole.rendered(bodiless=True), b"")
    assert (Answer(b"{}").tail, whole.tail) == (b"", b"")


def test_the_date_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head that stands ready is made anew as the second changes."""
    dates = []
    for now_s in (1_750_000_000.5, 1_750_000_001.5):
        monkeypatch.setattr("time.time", lambda now_s=now_s: now_s)
        dates.append(lines_of(allow="")[-3])
    assert dates == [b"Date: Sun, 15 Jun 2025 15:06:40 GMT", b"Date: Sun, 15 Jun 2025 15:06:41 GMT"]
