"""The same commands through both doors, and what must be equal afterwards.

Left out of a comparison is only what the server is free in: the order of a hash's fields, the shape of a
stream's index, and the fields of INFO that nobody looks at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from intake.durability import information
from intake.wire import Wire
from tests.contract.queue_script import Script
from tests.simulation.queue_model import QueueModel
from tests.simulation.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.contract.queue_script import Command, Op
    from tests.contract.real_queue import RealQueue

ANY_ORDER: Final = frozenset({"HKEYS"})
INFO_FIELDS: Final = (
    "role",
    "connected_slaves",
    "aof_enabled",
    "aof_last_write_status",
    "aof_rewrite_in_progress",
)

Step = tuple[int, "list[Command]", list[Any]]
"""A time, the commands at that time, and the model's answers."""


def modelled(ops: Sequence[Op], salt: bytes) -> list[Step]:
    """Do the operations on the model, and write down when each command was done and what it answered."""
    script: Script
    model = QueueModel(lambda: script.now_us)
    script = Script(model, salt)
    session, steps = model.session(), []
    for op in ops:
        commands = script.commands(op)
        steps.append((script.now_us, commands, [model.execute(session, command) for command in commands]))
        model.sync()
    end = everything(model)
    steps.append((script.now_us, end, [model.execute(session, command) for command in end]))
    return steps


def everything(model: QueueModel) -> list[Command]:
    """The commands that read all there is."""
    commands: list[Command] = []
    for key, value in sorted(model.data.items()):
        commands.append(("TYPE", key))
        if isinstance(value, dict):
            commands.append(("HGETALL", key))
        elif isinstance(value, Stream):
            commands += [("XINFO", "STREAM", key), ("XRANGE", key, "-", "+"), ("XINFO", "GROUPS", key)]
            for group in value.groups:
                commands += [("XPENDING", key, group, "-", "+", 10_000), ("XINFO", "CONSUMERS", key, group)]
        else:
            commands.append(("GET", key))
    return commands


async def real(queue: RealQueue, steps: Sequence[Step]) -> list[list[Any]]:
    """The server's answers to the same commands at the same times."""
    queue.empty()
    wire = Wire(
        lambda: Redis(unix_socket_path=queue.socket, single_connection_client=True, protocol=2),
        timeout_s=20.0,
    )
    now_us = 0
    answers: list[list[Any]] = []
    try:
        queue.clock.show(steps[0][0])
        await wire.open()
        for at_us, commands, _ in steps:
            if at_us != now_us:
                queue.clock.show(at_us)
                now_us = at_us
            split = [(*str(c[0]).split(), *c[1:]) for c in commands]
            answers.append(await wire.exchange(split))
        keys = sum(command[0] == "TYPE" for command in steps[-1][1])
        ((size,),) = [await wire.exchange([("DBSIZE",)])]
        assert size == keys, f"{size} keys in the server, {keys} in the model"
    finally:
        await wire.drop()
    return answers


def normal(command: Command, answer: Any) -> Any:  # noqa: PLR0911  # one a kind of answer
    """The answer without what the server is free in."""
    if isinstance(answer, Exception):
        return type(answer).__name__, str(answer)
    name = str(command[0])
    if name in ANY_ORDER and isinstance(answer, list):
        return sorted(answer)
    if name == "HGETALL" or (name, *command[1:2]) == ("CONFIG", "GET"):
        return dict(zip(answer[::2], answer[1::2], strict=True))
    if name == "INFO":
        said = information(answer)
        return [said.get(each) for each in INFO_FIELDS]
    if name == "FUNCTION":
        (library,) = answer
        return library[1], library[3], sorted((each[1], tuple(each[5])) for each in library[5])
    if (name, *command[1:2]) == ("XINFO", "STREAM"):
        found = dict(zip(answer[::2], answer[1::2], strict=True))
        return {key: value for key, value in found.items() if not key.startswith(b"radix")}
    return answer


def compare(steps: Sequence[Step], answers: Sequence[Sequence[Any]]) -> None:
    """Every answer, in order; the first that differs is named."""
    for number, ((at_us, commands, said), found) in enumerate(zip(steps, answers, strict=True)):
        for command, ours, theirs in zip(commands, said, found, strict=True):
            expected, came = normal(command, theirs), normal(command, ours)
            assert came == expected, (
                f"step {number} at {at_us}: {shown(command)}: model {came!r}, server {expected!r}"
            )


def shown(command: Command) -> str:
    """A command, short enough to read."""
    return " ".join(repr(word)[:60] for word in command)[:600]
