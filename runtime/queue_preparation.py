"""What each server of a configured queue needs: our users and their rules, and a primary the functions.

Done by whoever holds the admin's password, at the start of every command, and by `ballot up` again for a
server that has come, been started again or been promoted: users are kept by each node for itself, and neither
users nor functions come with slots that move to a new primary.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click
import redis

from runtime import home as home_files
from runtime.addresses import ADMIN, REPLICA, ValkeyAddress
from runtime.nodes import described
from runtime.preparation import admin_client, load_into, user_names, user_rules
from runtime.valkey_server import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.home import Home, Redacted
    from runtime.nodes import Place

READABLE = ("masteruser", "masterauth", "requirepass")
"""What CONFIG GET answers in clear, also to the edge's user."""

NEEDED = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy")
LOOK_S = 2.0
ANSWER_S = 5.0
NODE_ANSWER_S = 2.0
"""One of several: the others must not wait long for it."""


class QueuePreparation:
    """Prepares the servers of one queue; what was done to which is remembered in the home."""

    def __init__(self, home: Home, address: ValkeyAddress, *, user: str, password: Redacted) -> None:
        self._home = home
        self._address = address
        self._user = user
        self._password = password
        self._warned: set[str] = set()
        self._looked_s = 0.0

    def look(self) -> tuple[str, ...]:
        """Do as `prepare` does, if it is time to: for who asks many times a second."""
        if time.monotonic() - self._looked_s < LOOK_S:
            return ()
        return self.prepare()

    def prepare(self) -> tuple[str, ...]:
        """Prepare what is not; the servers that were not known in this state before, by address.

        A node of a Cluster that does not answer is left for later, and the others do not wait for it; one
        server alone must answer.
        """
        self._looked_s = time.monotonic()
        done = self._done()
        new = []
        faults: list[click.ClickException] = []
        places = self._places()
        with ThreadPoolExecutor(max_workers=len(places)) as threads:
            begun = [threads.submit(self._prepare_one, place, done.get(_name(place))) for place in places]
        for place, preparing in zip(places, begun, strict=True):
            try:
                state = preparing.result()
            except redis.RedisError as error:
                fault = _not_prepared(place, error)
                if not self._address.cluster or not isinstance(
                    error, redis.ConnectionError | redis.TimeoutError
                ):
                    raise fault from error
                faults.append(fault)
                continue
            if done.get(_name(place)) != state:
                new.append(_name(place))
                done[_name(place)] = state
        if faults and len(faults) == len(places):
            raise faults[0]
        if new:
            home_files.replace(self._file, json.dumps(done, indent=2, sort_keys=True))
        return tuple(new)

    def _prepare_one(self, place: Place, done: str | None) -> str:
        """Prepare one server; a digest of what was done, and to which run of it."""
        with self._client(place) as client:
            about = client.info("server")
            primary = client.info("replication")["role"] == "master"
            rules = user_rules(self._home)
            state = home_files.digest(str(about["run_id"]).encode(), repr((primary, rules)).encode())
            if state != done:
                self._set_users(client, rules)
            if primary:
                load_into(client)
            self._warn(place, client)
        return state

    def _set_users(self, client: redis.Redis, rules: dict[str, list[str]]) -> None:
        for name, rule in rules.items():
            if name != ADMIN:  # whoever runs the servers has made that one
                client.execute_command("ACL SETUSER", name, "reset", *rule)  # type: ignore[no-untyped-call]
        try:
            client.acl_save()
        except redis.ResponseError:
            return  # the server has no file for its users: they are set again after its next start

    def _warn(self, place: Place, client: redis.Redis) -> None:
        """Say once what is set otherwise than votes need; the edge takes none while a primary is.

        And whose passwords the edge could read there, if they are worth more than a replica's.
        """
        answer = client.config_get(*NEEDED, *READABLE)
        found = {_text(name): _text(value) for name, value in answer.items()}
        wrong = ", ".join(f"{name} {SETTINGS[name]}" for name in NEEDED if found.get(name) != SETTINGS[name])
        if wrong:
            self._say(f"Valkey at {_name(place)} must be set to: {wrong}.")
        with_rights = {self._user, "default", *user_names()} - {REPLICA}
        user = found.get("masteruser") or "default"
        if found.get("masterauth") and user in with_rights:
            self._say(
                f"Valkey at {_name(place)} replicates as {user}, and the edge's user can read that password "
                f"(CONFIG GET masterauth): set masteruser to {REPLICA}, and change the password of {user}."
            )
        if found.get("requirepass"):
            self._say(
                f"Valkey at {_name(place)} has requirepass set, which the edge's user can read: "
                "take it out, and switch the user default off."
            )

    def _say(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            click.echo(sentence, err=True)

    def _places(self) -> list[Place]:
        """Every node of the Cluster; the one server, if it is none."""
        if not self._address.cluster:
            return [(self._address.host, self._address.port)]
        failure: Exception | None = None
        for seed in self._address.seeds:
            try:
                with self._client(seed) as client:
                    return [*described(client.cluster("NODES"), seed)]
            except (redis.AuthenticationError, redis.ResponseError) as error:
                raise _not_prepared(seed, error) from error
            except redis.RedisError as error:
                failure = error
        raise click.ClickException(
            f"No node of the Cluster answers at {self._address.url} ({type(failure).__name__})."
        ) from failure

    def _client(self, place: Place) -> redis.Redis:
        address = ValkeyAddress(*place, db=self._address.db, tls=self._address.tls)
        timeout_s = NODE_ANSWER_S if self._address.cluster else ANSWER_S
        return admin_client(address, user=self._user, password=self._password, timeout_s=timeout_s)

    @property
    def _file(self) -> Path:
        return self._home.run / "queue-prepared.json"

    def _done(self) -> dict[str, str]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _not_prepared(place: Place, error: redis.RedisError) -> click.ClickException:
    return click.ClickException(f"Valkey at {_name(place)} was not prepared: {str(error).rstrip('.')}.")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]}"
