"""The desk's journal of the issue register, outside `voterdb`: what it signed, how far each batch came.

`desk/roots/<ballot>.jsonl` holds one line an act, synced before the next step; `<ballot>.<batch>.leaves`
the leaf hashes of a signed batch, 32 bytes each, so that a changed row can be named and not only noticed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ballot import merkle, register
from ballot.encoding import b64decode, b64encode
from ballot.signed import sign_object
from ballot.suite import SigningKey
from runtime.home import Home
from scrutineer.files import append_synced, write_private

Kind = Literal["issue", "revoke"]
HASH_BYTES = 32
ELECTORATE_LABEL = "electorate"


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """One batch as the desk signed it."""

    batch: int
    kind: Kind
    leaves: int
    root: bytes
    signature: bytes


class RootJournal:
    """One ballot's journal; reading it gives the state that a crash left."""

    def __init__(self, home: Home, ballot: str) -> None:
        self.ballot = ballot
        self.directory = home.desk / "roots"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.path = self.directory / f"{ballot}.jsonl"
        self.roots: dict[int, SignedRoot] = {}
        self.files: dict[int, str] = {}
        self.pushed: set[int] = set()
        self.abandoned: set[int] = set()
        self.batch_last = 0
        self.electorate: dict[str, Any] | None = None
        if self.path.exists():
            written = self.path.read_bytes()
            whole = written[: written.rfind(b"\n") + 1]
            if whole != written:
                # A line without its end was being written when the power went: the step after it never began.
                write_private(self.path, whole)
            for line in whole.splitlines():
                self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        batch = int(entry["batch"])
        self.batch_last = max(self.batch_last, batch)
        match entry["act"]:
            case "drawing":
                self.files[batch] = entry["file"]
            case "signed":
                root, signature = (
                    b64decode(entry["root"], length=HASH_BYTES),
                    b64decode(entry["signature"], length=64),
                )
                self.roots[batch] = SignedRoot(batch, entry["kind"], entry["leaves"], root, signature)
            case "pushed":
                self.pushed.add(batch)
            case "abandoned":
                self.abandoned.add(batch)
            case "electorate":
                self.electorate = entry
            case other:
                raise ValueError(f"the desk's journal {self.path} has an unknown act {other!r}")

    def _append(self, entry: dict[str, Any]) -> None:
        append_synced(self.path, json.dumps(entry, sort_keys=True).encode())
        self._take(entry)

    def drawing(self, file: Path) -> int:
        """Note that codes are about to be drawn into `file`; gives the first batch number they may use."""
        batch = self.batch_last + 1
        self._append({"act": "drawing", "batch": batch, "file": str(file.absolute())})
        return batch

    def sign(self, batch: int, kind: Kind, leaves: Sequence[bytes], key: SigningKey) -> SignedRoot:
        """Sign a batch's root and keep it, with its leaf hashes, before the register learns of it."""
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        self.keep_leaves(batch, b"".join(hashes))
        return self.sign_root(batch, kind, len(leaves), merkle.root_of_hashes(hashes), key)

    def keep_leaves(self, batch: int, hashes: bytes) -> None:
        """Keep the leaf hashes of a batch that is to be signed."""
        write_private(self.leaves_path(batch), hashes)

    def sign_root(self, batch: int, kind: Kind, leaves: int, root: bytes, key: SigningKey) -> SignedRoot:
        """Sign the root of a batch whose leaf hashes are kept."""
        signature = key.sign(register.root_message(self.ballot, batch, kind, leaves, root))
        self._append(
            {
                "act": "signed",
                "batch": batch,
                "kind": kind,
                "leaves": leaves,
                "root": b64encode(root),
                "signature": b64encode(signature),
            }
        )
        return self.roots[batch]

    def push_done(self, batch: int) -> None:
        """Note that the gate knows all of a batch."""
        self._append({"act": "pushed", "batch": batch})

    def abandon(self, batch: int) -> None:
        """Note that a signed batch never reached the register, so its codes are worthless."""
        self._append({"act": "abandoned", "batch": batch})

    def live(self) -> list[SignedRoot]:
        """Give the signed batches that the register must hold, in order."""
        return [self.roots[batch] for batch in sorted(self.roots) if batch not in self.abandoned]

    def live_files(self) -> list[Path]:
        """Give the dispatch files whose codes were issued, in order: for a voter in two the later holds."""
        return [Path(self.files[batch]) for batch in sorted(self._live_drawings())]

    def abandoned_files(self) -> list[Path]:
        """Give the files, still there, of issues that never came to the register; none may be under way."""
        live = self._live_drawings()
        names = {self.files[batch] for batch in self.files.keys() - live} - {self.files[one] for one in live}
        return [path for path in map(Path, sorted(names)) if path.exists()]

    def _live_drawings(self) -> set[int]:
        """The batches with which the drawings began whose codes were issued."""
        issued = [root.batch for root in self.live() if root.kind == "issue"]
        return {max(first for first in self.files if first <= batch) for batch in issued}

    def sign_electorate(self, *, count: int, sha256: str, key: SigningKey) -> None:
        """Sign who is entitled to vote, before the ballot is armed; the newest line holds."""
        line = {"act": "electorate", "ballot": self.ballot, "batch": 0, "count": count, "sha256": sha256}
        self._append(sign_object(line, label=ELECTORATE_LABEL, key=key))

    def leaves_path(self, batch: int) -> Path:
        """Where the leaf hashes of a batch are kept."""
        return self.directory / f"{self.ballot}.{batch}.leaves"

    def leaf_hashes(self, batch: int) -> list[bytes]:
        """Give the kept leaf hashes of a batch; empty if the file is lost."""
        path = self.leaves_path(batch)
        kept = path.read_bytes() if path.exists() else b""
        return [kept[start : start + HASH_BYTES] for start in range(0, len(kept), HASH_BYTES)]
