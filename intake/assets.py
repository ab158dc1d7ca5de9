"""The page's files as they are served: exactly what was built, in the smallest form that the client takes."""

from typing import Final

from intake import replies
from intake.answer import Answer, Shared, Typed, lines
from intake.preferences import accepts
from runtime.built_page import BuiltFile, BuiltPage

_KINDS: Final = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
"""A file's name has its digest in it: another content has another name."""

_ALL: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'",
}


class Assets:
    """Every file, ready to send; without a page there is none."""

    def __init__(self, built: BuiltPage | None) -> None:
        files = {} if built is None else built.files
        self._forms = {file.path: _forms(file) for file in files.values()}
        self._manifest = None if built is None else built.manifest
        self._listed = lines({"Content-Type": "application/json", "Cache-Control": "no-store", **_ALL})

    def file(self, path: str, accepted: str) -> Answer:
        """The file called `path`, by the client's `Accept-Encoding`."""
        forms = self._forms.get(path)
        if forms is None:
            raise replies.not_found()
        for encoding in ("br", "gzip"):
            if accepts(accepted, encoding):
                return Shared(*forms[encoding])
        return Shared(*forms[""])

    def hashes(self) -> Answer:
        """The manifest, for whoever compares the files with their own build."""
        if self._manifest is None:
            raise replies.not_found()
        return Typed(self._manifest, self._listed)


def _forms(file: BuiltFile) -> dict[str, tuple[bytes, bytes]]:
    """Body and headers by encoding; '' is as it is."""
    kind = _KINDS[file.path.rpartition(".")[2]]
    headers = {"Content-Type": kind, "Cache-Control": _FOREVER, "Vary": "Accept-Encoding", **_ALL}
    bodies = {"": file.identity, "gzip": file.gzip, "br": file.brotli}
    return {
        encoding: (body, lines({**headers, "Content-Encoding": encoding} if encoding else headers))
        for encoding, body in bodies.items()
    }
