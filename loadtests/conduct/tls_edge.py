"""One more edge for a run, beside the plain one: it ends TLS, with a certificate made for the run."""

import subprocess
from pathlib import Path
from typing import Self

from loadtests.faults.servers import listens
from loadtests.staging.stage import (
    READY_SECONDS_MAX,
    STOP_SECONDS_MAX,
    Stage,
    StageFault,
    ballot_command,
    end,
    free_ports,
    wait_until,
)

CERTIFICATE_SECONDS_MAX = 30.0
DAYS = "2"
HOST = "127.0.0.1"


class TlsEdge:
    """A context manager; `url` is None where no certificate could be made, and nothing runs then."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._folder = stage.files / "tls"
        self._process: subprocess.Popen[bytes] | None = None
        self.url: str | None = None
        self.ca = self._folder / "certificate.pem"

    def __enter__(self) -> Self:
        key = self._folder / "key.pem"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if not certificate(self.ca, key):
            return self
        port = free_ports(2)
        environment = {"BALLOT_TLS_CERTIFICATE": str(self.ca), "BALLOT_TLS_KEY": str(key)}
        command = [*ballot_command(), "intake", "--port", str(port), "--metrics-port", str(port + 1)]
        with (self._folder / "edge.err").open("wb") as err:
            process = subprocess.Popen(
                [*command, "--processes", "1"],
                env=self._stage.env | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                process_group=0,
            )
        self._process = process

        def ready() -> bool:
            if process.poll() is not None:
                raise StageFault(f"The edge with TLS ended with {process.returncode}.")
            return listens(port)

        try:
            wait_until(ready, seconds=READY_SECONDS_MAX, what="the edge with TLS")
        except BaseException:
            self.__exit__()
            raise
        self.url = f"https://{HOST}:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            end(self._process, seconds=STOP_SECONDS_MAX)
            self._process = None


def certificate(path: Path, key: Path) -> bool:
    """Make a certificate for this machine's loopback with the `openssl` there is; whether there is one."""
    name = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", *curve, "-days", DAYS, *name, "-keyout", str(key), "-out", str(path)],  # noqa: S607  # whichever there is
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=CERTIFICATE_SECONDS_MAX,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    key.chmod(0o600)
    return True
