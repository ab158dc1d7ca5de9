"""The search for what must not be sent finds what it looks for, however it is spelt."""

import base64
import json
from urllib.parse import quote, quote_plus

from tests.browser.marked import found_in


def test_the_search_knows_every_spelling() -> None:
    """A choice is found raw, in base64 at any offset, in hex, as in JSON, an address or a browser's file."""
    secret = "Bergamot “Jasper” Ó Fágáin"
    data = f'{{"v":1,"answers":{{"single":["{secret}"]}}}}'.encode()
    for start in range(3):
        for spelt in (
            data,
            data.hex().encode(),
            base64.b64encode(data[start:]),
            base64.urlsafe_b64encode(data[start:]),
            json.dumps(secret).encode(),
            quote(secret).encode(),
            quote_plus(secret).encode(),
            secret.encode("utf-16-le"),
            b"".join(b"%%%02x" % byte for byte in secret.encode()),
        ):
            assert found_in(
                [b"before " + spelt + b" after"], {"it": secret.encode(), "not it": b"not there"}
            ) == {"it"}
