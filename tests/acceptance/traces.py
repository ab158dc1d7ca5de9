"""Every form in which a secret could lie in a file: as it is, in another case, in hex, in base64."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

CHUNK_BYTES = 8 * 1024 * 1024
# Shorter forms would be found by chance in gigabytes of ciphertext.
FORM_BYTES_MIN = 8
# Servers lay their files out in blocks that are mostly empty; no secret has this many zero bytes.
ZEROS = bytes(64)


def forms(secret: bytes) -> set[bytes]:
    """`secret` raw, in lower and upper case, in hex, and as base64 wherever in a longer text it began."""
    plain = {secret, secret.lower(), secret.upper()}
    coded: set[bytes] = set()
    for text in plain:
        coded |= {text.hex().encode(), text.hex().upper().encode()}
        for offset in range(3):
            # Drop the symbols that also depend on the bytes before and after the secret.
            start, end = (0, 2, 3)[offset], (len(text) + offset) * 8 // 6
            shifted = b"\0" * offset + text
            coded |= {encode(shifted)[start:end] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return {form for form in plain | coded if len(form) >= FORM_BYTES_MIN}


class Search:
    """Looks for any form of any secret; `secrets` is what it is -> its bytes."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._forms = [(name, form) for name, secret in secrets.items() for form in forms(secret)]
        self._overlap = max(len(form) for _, form in self._forms) - 1

    def in_bytes(self, data: bytes) -> set[str]:
        """The names of the secrets that are in `data`."""
        return {name for name, form in self._forms if form in data}

    def in_file(self, path: Path) -> set[str]:
        """The names of the secrets that are in the file, read in overlapping pieces."""
        found: set[str] = set()
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(CHUNK_BYTES):
                piece = tail + chunk.replace(ZEROS, b"\0")
                found |= self.in_bytes(piece)
                tail = piece[-self._overlap :]
        return found

    def in_files(self, paths: Iterable[Path]) -> Iterator[str]:
        """One line for each secret in each file; of files with the same bytes only the first is read."""
        seen: set[bytes] = set()
        for path in paths:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            if digest in seen:
                continue
            seen.add(digest)
            for name in sorted(self.in_file(path)):
                yield f"{name} in {path}"
