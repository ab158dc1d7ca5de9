"""What an operator may set for the edge: read once at start, every fault reported together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from runtime.durability import replicas_awaited
from runtime.environment import Environment

DRAIN_GRACE_S: Final = 2.0
"""When we stop, who keeps a connection has so long to send one more request, whose answer is the last.

Closing one that seems idle could cross with a request, which would then go unanswered.
"""

ANSWERED_S: Final = 1.0
"""For a last answer to reach its client, after the bound on it."""

ENDED_S: Final = 3.0
"""For a process to end once it has no connection any more, and for a busy machine."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The edge's own settings; every bound but those by the minute is per process."""

    confirm_s: float = 2.0
    """A vote that is not confirmed by then is answered `not_confirmed`; the voter's device tries again."""

    replicas: int = 0
    """On the disks of so many replicas a vote must be before it is confirmed; 0: on the queue's own only."""

    inflight_max: int = 2_000
    """Votes and access requests that may wait for the queue at once; at 40 kB each that is 80 MB."""

    head_s: float = 10.0
    """A request's head must have arrived by then, and before it a proxy's header and the TLS handshake."""

    body_s: float = 10.0
    """A request's body must have arrived by then."""

    connections_max: int = 10_000
    """Connections that may be open at once; beyond it the one longest without an answer is closed."""

    failures_per_minute: int = 1_000
    """Refusals from one address in a minute, by all processes, after which the answer is `slow_down`."""

    complaints_per_minute: int = 60
    """Complaints from one address in a minute, by all processes, after which the answer is `slow_down`."""

    proxy_hops: int = 0
    """How many proxies of ours add to X-Forwarded-For; 0: nobody does, and the header is ignored."""

    proxied: bool = False
    """Every connection begins with the PROXY protocol's header, which names the client."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """PEM files; with both, the edge itself ends TLS."""

    @property
    def drain_s(self) -> float:
        """How long stopping waits for what is under way, at most: a whole request may begin in the grace."""
        return DRAIN_GRACE_S + self.head_s + self.body_s + self.confirm_s + ANSWERED_S

    @property
    def stop_s(self) -> float:
        """By then a process that was asked to stop has ended; one that has not hangs."""
        return self.drain_s + ENDED_S

    def of_one(self, processes: int) -> "Settings":
        """What one of so many processes goes by: its share of what they may let through together."""
        return replace(
            self,
            failures_per_minute=-(-self.failures_per_minute // processes),
            complaints_per_minute=-(-self.complaints_per_minute // processes),
        )

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "Settings":
        """The settings in `env`, or one ClickException with all that is wrong with them."""
        read, default = Environment(env), cls()
        certificate, key = (read.text(f"BALLOT_TLS_{name}") for name in ("CERTIFICATE", "KEY"))
        if bool(certificate) != bool(key):
            read.fault("BALLOT_TLS_CERTIFICATE and BALLOT_TLS_KEY go together; only one of them is set.")
        hops = read.integer("BALLOT_PROXY_HOPS", default.proxy_hops, 0, 16)
        proxied = read.text("BALLOT_PROXY_PROTOCOL", "off", choices=("off", "required")) == "required"
        if proxied and hops:
            read.fault(
                "BALLOT_PROXY_PROTOCOL and BALLOT_PROXY_HOPS both say where a client's address comes from; "
                "set only one of them."
            )
        settings = cls(
            confirm_s=read.seconds("BALLOT_CONFIRM_SECONDS", default.confirm_s, 0.05, 60.0),
            replicas=replicas_awaited(read),
            inflight_max=read.integer("BALLOT_INFLIGHT_MAX", default.inflight_max, 1, 100_000),
            head_s=read.seconds("BALLOT_HEAD_SECONDS", default.head_s, 0.1, 120.0),
            body_s=read.seconds("BALLOT_BODY_SECONDS", default.body_s, 0.1, 120.0),
            connections_max=read.integer("BALLOT_CONNECTIONS_MAX", default.connections_max, 16, 1_000_000),
            failures_per_minute=read.integer(
                "BALLOT_FAILURES_PER_MINUTE", default.failures_per_minute, 1, 1_000_000_000
            ),
            complaints_per_minute=read.integer(
                "BALLOT_COMPLAINTS_PER_MINUTE", default.complaints_per_minute, 1, 1_000_000_000
            ),
            proxy_hops=hops,
            proxied=proxied,
            tls_certificate=Path(certificate) if certificate else None,
            tls_key=Path(key) if key else None,
        )
        read.done()
        return settings
