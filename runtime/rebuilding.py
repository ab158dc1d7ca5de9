"""A queue rebuilt aside: on a copy of its data, by a private server, and put in place by one rename.

The caller holds the queue stopped (runtime/offline.py) from `prepare` to `put_in_place`. Killed anywhere it
is run again: what was being built is thrown away, unless it was complete and the old data had been moved
aside already; then the move is finished. The old data is kept.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from runtime import append_only, processes, written
from runtime import home as home_files
from runtime.addresses import ADMIN
from runtime.append_only import FILES, MANIFEST
from runtime.preparation import admin_client, load_into
from runtime.private_queue import STOP_WAIT_S, DamagedError, PrivateQueue
from runtime.processes import in_directory
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runtime.addresses import ValkeyAddress
    from runtime.home import Home, Redacted
    from runtime.processes import Process

COMPLETE = "rebuilt"
ANSWER_S = 600.0
FSYNC_WAIT_MS = 60_000
ROOM_MARGIN = 256 << 20


class Rebuilding:
    """The directory beside the queue's own, and the private server that runs on it.

    `tied` puts before a command what ends it with us. `without_file` is a person's word that files
    which cannot be read are given up.
    """

    def __init__(
        self,
        home: Home,
        *,
        tied: Callable[[Sequence[str]], Sequence[str]] = list,
        without_file: bool = False,
    ) -> None:
        self._home = home
        self._server = ValkeyServer(home)
        self._without_file = without_file
        self.place = self._server.data
        self.directory = home.data / "valkey.rebuilding"
        self._queue = PrivateQueue(home, self.directory, tied=tied)
        self._short = ""
        self.notes: list[str] = []

    def finish(self) -> bool:
        """Finish the move that somebody was killed in; say whether there was one."""
        self._stop_left_over()
        if self.place.exists() or not (self.directory / COMPLETE).exists():
            return False
        self._move_in()
        return True

    def prepare(self) -> None:
        """Begin anew, on a copy of what the queue's own directory holds."""
        self._stop_left_over()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700)
        files = self.place / FILES
        if not (files / MANIFEST).exists():
            self.notes.append("the queue's own files hold nothing: all is taken from the voter database")
            return
        size = sum(path.stat().st_size for path in files.iterdir())
        if shutil.disk_usage(self.directory).free < size + ROOM_MARGIN:
            raise click.ClickException(
                f"There is not enough room beside {self.place} for a copy of it ({size:,} bytes): make room, "
                "and run this again. Nothing was changed."
            )
        shutil.copytree(files, self.directory / FILES)
        self._short = self._server.lost()
        if self._short:
            self.notes.append(f"accepted votes may be lost that a better copy would have: {self._short}")

    @contextmanager
    def server(self) -> Iterator[tuple[ValkeyAddress, Redacted]]:
        """Run the private server while the block runs; its address, and the admin's password of this run.

        It has no other user and its own port, so no edge and no worker reaches it. The newest file is cut
        where it stops being whole, if the server says that it cannot read it. Whatever else keeps the server
        from loading is raised in a sentence, and the copy goes: nothing has changed.
        """
        try:
            process, address, password = self._start()
        except click.ClickException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        try:
            yield address, password
        finally:
            self._queue.stop(process)

    def complete(self, address: ValkeyAddress, password: Redacted) -> None:
        """Have all that was written on disk; called last in the block of `server`."""
        with admin_client(address, user=ADMIN, password=password, timeout_s=ANSWER_S) as client:
            client.set(COMPLETE, b"1")
            client.delete(COMPLETE)
            local, _ = client.execute_command("WAITAOF", 1, 0, FSYNC_WAIT_MS)
            if local != 1:
                raise click.ClickException(
                    "The rebuilt queue is not on disk; look at the disk, and try again."
                )

    def aside(self) -> Path | None:
        """Where the queue's data will be kept; None if there is none."""
        if not self.place.exists() or not any(self.place.iterdir()):
            return None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return self._home.data / f"{self.place.name}.before-{stamp}-{secrets.token_hex(2)}"

    def put_in_place(self, aside: Path | None) -> None:
        """Move the old data to `aside`, and what was built to where the server looks."""
        _sync(self.directory)
        home_files.write_once(self.directory / COMPLETE, "complete\n")
        written.forget(self._server.written)
        if aside is not None:
            self.place.rename(aside)
        elif self.place.exists():
            self.place.rmdir()
        self._move_in()

    def _move_in(self) -> None:
        home_files.sync_directory(self._home.data)
        self.directory.rename(self.place)
        home_files.sync_directory(self._home.data)
        (self.place / COMPLETE).unlink(missing_ok=True)

    def _stop_left_over(self) -> None:
        """Stop the private server of somebody who was killed."""
        for process in in_directory(self.directory, executable=self._server.executable):
            processes.stop(process, self._server.stop_signal, wait_s=STOP_WAIT_S)

    def _start(self) -> tuple[Process, ValkeyAddress, Redacted]:
        """Start on the copy; on one cut where it stops being whole; without it, if that was asked for."""
        why = ""
        for attempt in (None, self._cut, self._leave_out):
            if attempt is not None and not attempt():
                continue
            try:
                started = self._queue.start()
            except DamagedError as damage:
                why = why or str(damage)
                continue
            _, address, password = started
            with admin_client(address, user=ADMIN, password=password, timeout_s=ANSWER_S) as client:
                load_into(client)
            return started
        raise click.ClickException(
            f"The queue's files are damaged where nothing can be cut off ({why}), so nothing was changed: "
            "look for a better copy of them (runbook recovery), or give up what in them is not stored yet "
            "with `ballot recover --without-file`."
        )

    def _cut(self) -> bool:
        """Cut the newest file off where it stops being whole; say whether anything was cut."""
        end = append_only.broken_end(self.directory / FILES, executable=self._server.executable)
        if end is None:
            return False
        end.cut()
        gone = f"its last {end.size - end.whole:,} bytes"
        if end.torn and not self._short:
            self.notes.append(
                f"the newest of the queue's files, {end.path.name}, ends in a write that was under way and "
                f"never answered: {gone} were taken away"
            )
        else:
            self.notes.append(
                f"the newest of the queue's files, {end.path.name}, is damaged: {gone}, from the damage on, "
                "were cut off; what was accepted in them is lost unless the kept file gives it up"
            )
        return True

    def _leave_out(self) -> bool:
        """Go on without the files, if a person said so."""
        if not self._without_file or not (self.directory / FILES).exists():
            return False
        shutil.rmtree(self.directory / FILES)
        self.notes = [
            "the queue's files cannot be read and were left out as asked: all comes from the voter database"
        ]
        return True


def _sync(directory: Path) -> None:
    """Have every file below on disk, and every name."""
    for folder, _, files in os.walk(directory):
        for name in files:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)  # noqa: PTH118  # os.walk gives texts
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
