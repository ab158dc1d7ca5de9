"""The monitor's metrics; no label tells a voter, a code or a reference."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Gauge, Histogram

from ops.monitor.intervals import State

SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0)


class Gauges:
    """`ballot_probe_up` is not a number while nobody knows, so that nothing takes it for up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "ballot_probe_up",
            "1 if the newest probe vote was accepted within its deadline, 0 if not, NaN if unknown",
            registry=registry,
        )
        self.up.set(math.nan)
        self.stored_in_time = Gauge(
            "ballot_probe_stored_in_time",
            "1 if the newest accepted probe vote was stored within its deadline, 0 if not, NaN if unknown",
            registry=registry,
        )
        self.stored_in_time.set(math.nan)
        self.seconds = Histogram(
            "ballot_probe_seconds",
            "Seconds from sending a probe vote to its receipt, accepted probes only",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.codes_left = Gauge(
            "ballot_probe_codes_left",
            "Access codes of the probe ballot not used yet",
            registry=registry,
        )
        self.journal_pending = Gauge(
            "ballot_probe_journal_pending",
            "Availability intervals in the local journal that voterdb does not have yet",
            registry=registry,
        )

    def show(self, state: State) -> None:
        """Set the gauges to the newest verdict."""
        match state:
            case State.UP | State.SLOW:
                self.up.set(1)
                self.stored_in_time.set(1 if state is State.UP else 0)
            case State.DOWN:
                self.up.set(0)
                self.stored_in_time.set(math.nan)
            case State.UNKNOWN:
                self.up.set(math.nan)
                self.stored_in_time.set(math.nan)
