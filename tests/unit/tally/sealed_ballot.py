"""A whole sealed ballot without a server: definition, keys, shares on disk, votes, export."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from ballot import document, export_file, sealing, signed
from ballot.books import Books
from ballot.code import Code
from ballot.definition import Definition, parse_toml
from ballot.document import BallotDocument
from ballot.encoding import b64encode, canonical_json, parse_time
from ballot.suite import SigningKey
from tally import ceremony
from tally.custody import BallotKeys, derive
from tally.shares import read, secret_of

NOW_US = parse_time("2025-07-29T12:00:05Z")
TWO_QUESTIONS = """
[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [{id = "yes", text = "Yes"}, {id = "no", text = "No"}]

[[question]]
id = "seats"
text = "Choose up to two."
form = "multiple"
max = 2
options = [{id = "a", text = "A"}, {id = "b", text = "B"}, {id = "c", text = "C"}]
"""


def toml(ballot: str, questions: str = TWO_QUESTIONS) -> str:
    """Return the definition of a ballot by all methods."""
    return f"""
[ballot]
id = "{ballot}"
title = "Pay and conditions"
kind = "industrial-action"
union = "A union"
employer = "An employer"
scrutineer = "A scrutineer"
contact = "help@scrutineer.example"
opens = 2025-07-01T09:00:00Z
closes = 2025-07-29T12:00:00Z
methods = ["electronic", "postal", "workplace"]
precedence = "first-recorded"
{questions}"""


def key_file(key: SigningKey, use: str) -> bytes:
    """Return a published key as the desk writes it."""
    return orjson.dumps({"id": key.key_id, "use": use, "alg": "Ed25519", "public_key": b64encode(key.public)})


@dataclass(slots=True)
class SealedBallot:
    """One ballot with its keys; `shares` are the files of a 2 of 3 ceremony."""

    definition: Definition
    desk: SigningKey
    shares: list[Path]
    keys: BallotKeys
    page: BallotDocument
    votes: list[tuple[bytes, bytes]] = field(default_factory=list)

    @classmethod
    def make(
        cls,
        directory: Path,
        *,
        ballot: str = "tube-2025",
        questions: str = TWO_QUESTIONS,
        desk: SigningKey | None = None,
    ) -> "SealedBallot":
        """Hold a ceremony for a new ballot, its share files in `directory`."""
        definition = parse_toml(toml(ballot, questions))
        directory.mkdir()
        made = ceremony.make_key(
            ballot, threshold=2, shares=3, directory=directory, now_us=NOW_US, random=secrets.token_bytes
        )
        held = [read(path, ballot=ballot) for path in made.files]
        keys = derive(secret_of(held, ballot=ballot), ballot=ballot)
        page = document.build(definition, public_key=made.public_key, result_key=made.result_key)
        return cls(
            definition, desk or SigningKey.from_seed(secrets.token_bytes(32)), list(made.files), keys, page
        )

    def publish(self, home: Path) -> None:
        """Pin the desk's key and the ballot document, as `ballot open` does."""
        public = home / "public"
        public.mkdir(parents=True, exist_ok=True)
        (public / "desk.json").write_bytes(key_file(self.desk, "desk"))
        path = public / f"{self.definition.id}.document"
        path.write_bytes(self.page.canonical)
        Path(f"{path}.signature").write_text(b64encode(document.sign(self.page, self.desk)))

    def cast(self, answers: Mapping[str, Sequence[str]]) -> None:
        """Seal one vote as a voter's device does; what an honest one would refuse is sealed too."""
        in_order = {question.id: list(answers.get(question.id, ())) for question in self.definition.questions}
        self.cast_plaintext(orjson.dumps({"v": 1, "answers": in_order}))

    def cast_plaintext(self, plaintext: bytes) -> None:
        """Seal anything at all."""
        voter = Code.draw(secrets.token_bytes).signing_key(self.definition.id)
        vote = sealing.seal_plaintext(self.page, voter, plaintext, random=secrets.token_bytes)
        self.votes.append((sealing.bind(vote.nonce, vote.credential), vote.sealed))

    def export(
        self,
        path: Path,
        *,
        postal: int = 0,
        workplace: int = 0,
        by: SigningKey | None = None,
        change: Callable[[dict[str, object]], None] | None = None,
    ) -> Path:
        """Write a signed export of the votes; `change` edits the manifest, `by` signs it instead."""
        lines = b"".join(export_file.vote_line(bind, sealed) for bind, sealed in self.votes)
        number = len(self.votes)
        books = Books(
            entitled=number + postal + workplace + 10,
            issued=number + postal + workplace + 10,
            used=number,
            unused=postal + workplace + 10,
            revoked=0,
            accepted=number,
            unacknowledged=0,
            stored=number,
            quarantined=0,
            released=0,
            voted_electronic=number,
            returned_other=postal + workplace,
        )
        manifest = export_file.build_manifest(
            ballot=self.definition.id,
            document=self.page.canonical,
            document_signature=document.sign(self.page, self.desk),
            definition_sha256=self.definition.sha256,
            entitled=books.entitled,
            votes=number,
            votes_sha256=hashlib.sha256(lines).digest(),
            books=books,
            by_method={"electronic": number, "postal": postal, "workplace": workplace},
            quarantined={},
            exported_us=NOW_US,
        )
        if change is not None:
            change(manifest)
        whole = signed.sign_object(manifest, label=signed.EXPORT_LABEL, key=by or self.desk)
        path.write_bytes(canonical_json(whole) + b"\n" + lines)
        return path
