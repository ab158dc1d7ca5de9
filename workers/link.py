"""Runs commands at the primary that holds their key, and turns what can go wrong there into our failures."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from redis import exceptions

from runtime.lifecycle import Fatal, Retry
from runtime.nodes import Nodes

T = TypeVar("T")

PAGE_COMMANDS: Final = 200
"""So many small commands go together: votes wait no longer than for a call of them."""


class BusyGroupError(Exception):
    """The group is there already."""


class NoStreamError(Retry):
    """The stream, or our group on it, is not there (any more)."""


class OtherKindError(Retry):
    """The key holds something of another kind."""


class Link:
    """Every method raises Retry while the queue is away, and Fatal when it refuses us."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.grouped: set[str] = set()
        """The streams on which our group was seen; emptied when it is gone from one."""

    async def on(self, key: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """The answer of the primary that holds `key`."""
        return await self.asking(self._holder_does(key, work))

    async def across(
        self, keys: Iterable[str], work: Callable[[Any, list[str]], Awaitable[list[T]]]
    ) -> tuple[list[T], frozenset[str]]:
        """What each primary says for those of `keys` that it holds, all asked at once; and the others' keys.

        A primary that fails keeps the others' answers from nobody: Retry is raised only if every one failed.
        What was asked of it may have been done all the same.
        """
        shares: dict[Any, list[str]] = {}
        for key in keys:
            shares.setdefault(await self.asking(self.nodes.holder(key)), []).append(key)
        answers = await asyncio.gather(
            *(self.asking(work(client, share)) for client, share in shares.items()), return_exceptions=True
        )
        said: list[T] = []
        unheard: list[str] = []
        failures: list[BaseException] = []
        for share, answer in zip(shares.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
                unheard += share
            else:
                said += answer
        for failure in failures:
            if not isinstance(failure, Retry) or len(failures) == len(shares):
                raise failure
        return said, frozenset(unheard)

    async def each(self, keys: Sequence[str], command: Callable[[Any, str], Any]) -> dict[str, Any]:
        """What is answered for each key, many at a time; None for a stream that is not there.

        `command` adds a key's to a pipeline. Retry as soon as one primary does not answer.
        """

        async def work(client: Any, share: list[str]) -> list[tuple[str, Any]]:
            found: list[tuple[str, Any]] = []
            for first in range(0, len(share), PAGE_COMMANDS):
                page = share[first : first + PAGE_COMMANDS]
                pipeline = client.pipeline(transaction=False)
                for key in page:
                    command(pipeline, key)
                found += zip(page, await pipeline.execute(raise_on_error=False), strict=True)
            return found

        answers, unheard = await self.across(dict.fromkeys(keys), work)
        if unheard:
            raise Retry("queue: a primary does not answer")
        return {key: await self._answered(answer) for key, answer in answers}

    async def asking(self, command: Awaitable[T]) -> T:
        """The answer to `command`, or one of our failures."""
        try:
            return await command
        except (exceptions.NoPermissionError, exceptions.AuthenticationError) as error:
            raise Fatal(f"queue: {type(error).__name__}") from error
        except exceptions.ResponseError as error:
            raise self._failure(error) from error
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            self.nodes.forget()
            raise Retry(f"queue: {type(error).__name__}") from error

    async def close(self) -> None:
        """End the connections."""
        await self.nodes.aclose()

    async def _answered(self, answer: Any) -> Any:
        async def given() -> Any:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            return await self.asking(given())
        except NoStreamError:
            return None

    async def _holder_does(self, key: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        return await work(await self.nodes.holder(key))

    def _failure(self, error: exceptions.ResponseError) -> Exception:
        text = str(error)
        if text.startswith("BUSYGROUP"):
            return BusyGroupError(text)
        if text.startswith("WRONGTYPE"):
            return OtherKindError(text)
        if "NOGROUP" in text or "no such key" in text:
            # The queue has lost a stream: make its group again, and let the trust check speak.
            self.grouped.clear()
            return NoStreamError(text)
        self.nodes.forget()  # the key may have moved, or its primary become a replica
        name = type(error).__name__
        return Retry(f"queue: {text.split(' ', 1)[0] if name == 'ResponseError' else name}")
