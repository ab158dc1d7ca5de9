"""The doctor says what is there and what to change, changes nothing itself, and its exit code can be used."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ballot import complaint
from ballot.encoding import b64encode, canonical_json
from ballot.suite import SigningKey, key_id
from ops.doctor import command
from ops.doctor.command import doctor
from ops.doctor.finding import Finding
from ops.doctor.home import home, secrets
from ops.doctor.keys import desk_key
from ops.doctor.page import look
from ops.doctor.served import served
from runtime import built_page
from runtime.built_page import digest_of_sources, read
from runtime.home import Home
from tests.made_page import make, sha256
from tests.vectors.make import PUBLIC_KEY

DESK = SigningKey.from_seed(b"d" * 32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home as a deployment has it: the desk's key made and published, the complaints key too."""
    made = Home(tmp_path / "home")
    made.make()
    (made.secrets / "desk.key").write_text((b"d" * 32).hex() + "\n")
    (made.secrets / "desk.key").chmod(0o600)
    entry = {"id": key_id(DESK.public), "use": "desk", "alg": "Ed25519", "public_key": b64encode(DESK.public)}
    made.public_key_file.write_bytes(canonical_json(entry))
    made.complaints_key_file.write_bytes(canonical_json(complaint.key_entry(PUBLIC_KEY, DESK)))
    return made.path


def changes(found: list[Finding]) -> list[str]:
    """Return what each finding that is not ok says must be changed."""
    return [f"{finding.says}; {finding.change}" for finding in found if not finding.ok]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> Result:
    """Run the command on that home, with a built page of our own."""
    monkeypatch.setenv("BALLOT_HOME", str(folder))
    monkeypatch.delenv("BALLOT_PUBLIC_URL", raising=False)
    built = make(folder.parent / "page" / "built")
    monkeypatch.setattr(built_page, "FOLDER", built)
    monkeypatch.setattr(command, "CHECKS", (lambda _home: look(built), home, secrets, desk_key))
    return CliRunner().invoke(doctor, arguments)


def test_all_is_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each, the files' digests among them, and exit 0."""
    result = run(monkeypatch, folder)

    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert any(line.endswith(f"has sha256 {sha256(b'vote()')}") for line in lines)
    assert any("page version " in line for line in lines)
    assert any(key_id(DESK.public) in line for line in lines)


def test_as_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same findings for a program, with the same exit code."""
    (folder / "secrets").chmod(0o750)

    result = run(monkeypatch, folder, "--json")

    assert result.exit_code == 1
    found = json.loads(result.output)
    assert {frozenset(each) for each in found} == {frozenset({"ok", "about", "says", "change"})}
    assert [each["change"] for each in found if not each["ok"]] == [f"chmod 700 {folder / 'secrets'}"]


def test_nothing_is_there_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what would make it."""
    nothing = tmp_path / "none"

    result = run(monkeypatch, nothing)

    assert result.exit_code == 1
    assert f"CHANGE  home: {nothing} is not there; set BALLOT_HOME" in result.output
    assert not nothing.exists()


def test_modes(folder: Path) -> None:
    """Whatever others could open is named, with the command that closes it."""
    assert not changes([*home(folder), *secrets(folder)])
    folder.chmod(0o755)
    (folder / "logs").chmod(0o711)
    (folder / "secrets" / "desk.key").chmod(0o640)
    (folder / "secrets" / "link.key").symlink_to(folder / "secrets" / "desk.key")

    assert changes([*home(folder), *secrets(folder)]) == [
        f"{folder} has mode 0755; chmod 700 {folder}",
        f"{folder / 'logs'} has mode 0711; chmod 700 {folder / 'logs'}",
        f"desk.key has mode 0640; chmod 600 {folder / 'secrets' / 'desk.key'}",
        "link.key is no plain file; put the file itself there",
    ]


def test_another_user_s(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs a deployment owns its home."""
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)

    assert all("is another user's" in each for each in changes([*home(folder), *secrets(folder)]))
    assert changes([*home(folder)])


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("public/desk.json", None, "is not there; put it back"),
        ("public/desk.json", "{}", "is damaged"),
        ("secrets/desk.key", "00" * 32, "is not the key in"),
        ("secrets/desk.key", "00", "does not hold 32 bytes in hex"),
        ("public/complaints.json", None, "run `ballot complaints key`"),
        ("public/complaints.json", "{}", "is damaged or not signed"),
    ],
)
def test_keys(folder: Path, file: str, content: str | None, says: str) -> None:
    """A key that voters cannot compare, or that is another than the desk's."""
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)

    (change,) = changes([*desk_key(folder)])

    assert says in change


def test_an_edge_s_home_has_no_secret_of_the_desk(folder: Path) -> None:
    """The published keys are enough there; and before the desk's first act there are none at all."""
    (folder / "secrets" / "desk.key").unlink()
    assert not changes([*desk_key(folder)])
    assert "not held here" in next(desk_key(folder)).says
    for name in ("desk.json", "complaints.json"):
        (folder / "public" / name).unlink()

    (finding,) = desk_key(folder)

    assert finding.ok


def test_a_page_of_other_sources(tmp_path: Path) -> None:
    """Words or templates that changed after the build are said."""
    for name in ("src/vote.ts", "text/en.json", "templates/vote.html"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("as built")
    built = make(tmp_path / "built", sources_sha256=digest_of_sources(tmp_path))
    assert not changes([*look(built)])

    (tmp_path / "text" / "en.json").write_text("changed")

    (change,) = changes([*look(built)])
    assert change.startswith("built from other sources")
    (built / "manifest.json").unlink()
    (change,) = changes([*look(built)])
    assert "the page has not been built; run `node build.mjs`" in change


@pytest.fixture
def files() -> dict[str, bytes]:
    """What the edge of these tests serves, by path."""
    return {}


@pytest.fixture
def url(files: dict[str, bytes]) -> Iterator[str]:
    """Where it serves them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def put(files: dict[str, bytes], built: Path) -> None:
    """Serve that page."""
    page = read(built)
    files.clear()
    files["/assets/hashes.json"] = page.manifest
    files.update({f"/assets/{file.path}": file.identity for file in page.files.values()})


def test_what_is_served(tmp_path: Path, files: dict[str, bytes], url: str) -> None:
    """The same files as built here, or a change for each that differs; another page is one finding."""
    built = make(tmp_path / "built")
    put(files, built)
    (finding,) = served(url, built)
    assert (finding.ok, read(built).version in finding.says) == (True, True)

    script, style = (f"/assets/{read(built).files[name].path}" for name in ("vote.js", "style.css"))
    files[script] += b";evil()"
    del files[style]
    found = [change.split("; ")[0] for change in changes([*served(url, built)])]
    assert sorted(found) == sorted(
        f"{url} serves another {path.removeprefix('/assets/')} than was built here"
        for path in (script, style)
    )

    put(files, make(tmp_path / "other", more="x"))
    (change,) = changes([*served(url, built)])
    assert "serves another page than version" in change
    files.clear()
    (change,) = changes([*served(url, built)])
    assert "serves no page" in change


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "ftp://127.0.0.1", "http://[", "nonsense"])
def test_what_does_not_answer_was_not_looked_at(tmp_path: Path, address: str) -> None:
    """Said either way; only who asked for it by --url must change something."""
    built = make(tmp_path / "built")

    (asked,), (set_,) = served(address, built), served(address, built, must_answer=False)

    assert "not looked at" in asked.says
    assert (asked.ok, set_.ok) == (False, True)
    assert "not looked at" in next(served("", built)).says
    assert "no page here to compare" in next(served(address, tmp_path)).says


def test_the_exit_code_says_whether_what_is_served_differs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], url: str
) -> None:
    """By --url as by BALLOT_PUBLIC_URL."""
    assert run(monkeypatch, folder, "--url", url).exit_code == 1
    put(files, make(folder.parent / "page" / "built"))
    result = run(monkeypatch, folder, "--url", url)
    assert result.exit_code == 0
    assert f"{url} serves version" in result.output
