"""Settings come from the environment once, at start, and every fault is reported in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUE = frozenset({"1", "yes", "true", "on"})
FALSE = frozenset({"0", "no", "false", "off"})


class Environment:
    """Reads settings, collects what is wrong with them, and says it all when `done()` is called."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._faults: list[str] = []

    def fault(self, sentence: str) -> None:
        """Add a fault of the caller's own, such as two settings that do not go together."""
        self._faults.append(sentence)

    def text(self, name: str, default: str = "", *, choices: tuple[str, ...] = ()) -> str:
        """Return a text; with `choices`, one of them."""
        value = self._env.get(name) or default
        if choices and value not in choices:
            self.fault(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
            return default
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._env.get(name)
        if not value:
            return default
        if not value.lstrip("-").isdecimal() or not value.isascii() or not low <= int(value) <= high:
            self.fault(f"{name} is {value!r}; it must be a whole number from {low} to {high}.")
            return default
        return int(value)

    def seconds(self, name: str, default: float, low: float = 0.0, high: float = 86_400.0) -> float:
        """Return a number of seconds from `low` to `high`."""
        value = self._env.get(name)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            self.fault(f"{name} is {value!r}; it must be a number of seconds from {low:g} to {high:g}.")
            return default
        return number

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return whether a setting is on."""
        value = (self._env.get(name) or "").lower()
        if not value:
            return default
        if value not in TRUE | FALSE:
            self.fault(f"{name} is {value!r}; it must be on or off.")
            return default
        return value in TRUE

    def url(self, name: str, default: str = "", *, schemes: tuple[str, ...] = ("http", "https")) -> str:
        """Return an address with one of `schemes` and a host; a fault never repeats it (a password!)."""
        value = self._env.get(name) or default
        if value and not _is_address(value, schemes):
            self.fault(f"{name} must be an address such as {schemes[0]}://host:port.")
            return default
        return value

    def urls(self, name: str, *, schemes: tuple[str, ...]) -> tuple[str, ...]:
        """Return one address for each host of an address that names several, separated by commas."""
        value = self._env.get(name) or ""
        parts = urlsplit(value)
        userinfo, at, hosts = parts.netloc.rpartition("@")
        found = tuple(parts._replace(netloc=f"{userinfo}{at}{host}").geturl() for host in hosts.split(","))
        if value and not all(_is_address(each, schemes) for each in found):
            self.fault(f"{name} must be an address such as {schemes[0]}://host:port,host:port.")
            return ()
        return found

    def done(self) -> None:
        """Raise one ClickException that lists every fault, if there was any."""
        if self._faults:
            raise click.ClickException("\n".join(self._faults))


def _is_address(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
