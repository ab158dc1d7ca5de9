"""The page's files as they are served: exactly what was built, in the smallest form that the client takes."""

from typing import Final

from intake import replies
from intake.answer import Answer, Shared, Typed, lines
from intake.page_finder import KeptFiles
from intake.preferences import accepts
from runtime.built_page import BuiltFile, BuiltPage

_KINDS: Final = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
"""A file's name has its digest in it: another content has another name."""

Forms = dict[str, tuple[bytes, bytes]]
"""Body and headers by encoding; '' is as it is."""

_ALL: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'",
}


class Assets:
    """Every file, ready to send; without a page those of other versions that this host keeps."""

    def __init__(self, kept: KeptFiles) -> None:
        self._kept = kept
        self._forms: dict[str, Forms] = {}
        self._manifest: bytes | None = None
        self._listed = lines({"Content-Type": "application/json", "Cache-Control": "no-store", **_ALL})

    def adopt(self, built: BuiltPage | None) -> None:
        """Serve the files of this page."""
        files = {} if built is None else built.files
        self._forms = {file.path: _forms(file) for file in files.values()}
        self._manifest = None if built is None else built.manifest

    def file(self, path: str, accepted: str) -> Answer:
        """The file called `path`, by the client's `Accept-Encoding`."""
        forms = self._forms.get(path) or self._other(path)
        for encoding in ("br", "gzip"):
            if accepts(accepted, encoding):
                return Shared(*forms[encoding])
        return Shared(*forms[""])

    def _other(self, path: str) -> Forms:
        """A file that another process's page asks for: while processes are replaced there are two."""
        file = self._kept.find(path)
        if file is None:
            raise replies.not_found()
        return _forms(file)

    def hashes(self) -> Answer:
        """The manifest, for whoever compares the files with their own build."""
        if self._manifest is None:
            raise replies.not_found()
        return Typed(self._manifest, self._listed)


def _forms(file: BuiltFile) -> Forms:
    kind = _KINDS[file.path.rpartition(".")[2]]
    headers = {"Content-Type": kind, "Cache-Control": _FOREVER, "Vary": "Accept-Encoding", **_ALL}
    bodies = {"": file.identity, "gzip": file.gzip, "br": file.brotli}
    return {
        encoding: (body, lines({**headers, "Content-Encoding": encoding} if encoding else headers))
        for encoding, body in bodies.items()
    }
