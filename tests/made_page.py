"""A built page of a test's own, in the form that the build has, made without the page's tools."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Final

CONTENTS: Final = {
    "vote.js": b"vote()",
    "check.js": b"check()",
    "complain.js": b"complain()",
    "style.css": b"p { color: black }",
    "icon.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


def sha256(data: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(data).hexdigest()


def make(folder: Path, contents: dict[str, bytes] = CONTENTS, **more: object) -> Path:
    """Write the page into `folder`; `more` goes into the manifest. The brotli is not real."""
    folder.mkdir(parents=True, exist_ok=True)
    files, compressed = {}, {}
    for name, data in contents.items():
        stem, kind = name.split(".")
        path = f"{stem}-{sha256(data)[:12]}.{kind}"
        forms = {"": data, ".gz": gzip.compress(data, mtime=0), ".br": b"br " + data}
        for ending, form in forms.items():
            (folder / f"{path}{ending}").write_bytes(form)
        files[name] = {"path": path, "sha256": sha256(data), "bytes": len(data)}
        compressed[path] = {"gzip": sha256(forms[".gz"]), "br": sha256(forms[".br"])}
    manifest = {"esbuild": "0", "sources_sha256": "0" * 64, "files": files, **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "compressed.json").write_text(json.dumps(compressed))
    return folder
