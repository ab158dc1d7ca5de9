"""The real gate, run by the Lua that Valkey has (5.1), against a model's keys.

The source is compiled once a process. A server that starts runs it anew, so that what the gate keeps in its
own memory (`recent` tries) is gone, as after a real start; that takes some microseconds. Strings are bytes
throughout, and the answer is written in RESP2 inside Lua and read by hiredis, as one from the network is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hiredis
import lupa.lua51  # type: ignore[import-untyped]  # it has no stubs
from redis._parsers.base import BaseParser

from tests.simulation.streams import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.keyspace import Command, Keyspace

GATE: Final = Path(__file__).resolve().parents[2] / "ops" / "valkey" / "gate.lua"
TRIMMING: Final = GATE.with_name("trim.lua")
RECOVERY: Final = GATE.with_name("recovery.lua")
ON_STACK_MAX: Final = 2000
"""More arguments than that go in as a table: Lua's stack has an end."""

SUPPORT: Final = rb"""
local dispatch, pack, unpack_struct, table_from = ...
local registered

local function answer(kind, ...)
  if kind == 0 then return (...) end          -- a plain value
  if kind == 1 then return { ... } end        -- an array of plain values
  if kind == 2 then return { err = (...) } end
  error({ err = (...) })
end

local redis = {
  call = function(...) return answer(dispatch(...)) end,
  error_reply = function(text) return { err = text } end,
  status_reply = function(text) return { ok = text } end,
  register_function = function(name, callback)
    if type(name) == 'table' then
      registered[name.function_name] = { name.callback, name.flags or {} }
    else
      registered[name] = { callback, {} }
    end
  end,
}
redis.pcall = function(...)
  local ok, found = pcall(redis.call, ...)
  return found
end

local function resp(value, out)
  local kind = type(value)
  if kind == 'string' then
    out[#out + 1] = '$' .. #value .. '\r\n'
    out[#out + 1] = value
    out[#out + 1] = '\r\n'
  elseif kind == 'number' then
    out[#out + 1] = string.format(':%.0f\r\n', value < 0 and math.ceil(value) or math.floor(value))
  elseif kind == 'boolean' then
    out[#out + 1] = value and ':1\r\n' or '$-1\r\n'
  elseif kind == 'table' then
    if value.err then
      out[#out + 1] = '-' .. value.err .. '\r\n'
    elseif value.ok then
      out[#out + 1] = '+' .. value.ok .. '\r\n'
    else
      local place, size = #out + 1, 0
      out[place] = ''
      while value[size + 1] ~= nil do
        size = size + 1
        resp(value[size], out)
      end
      out[place] = '*' .. size .. '\r\n'
    end
  else
    out[#out + 1] = '$-1\r\n'
  end
end

local function load_library(chunk)
  registered = {}
  chunk()
  return registered
end

local function invoke(callback, count, ...)
  local keys, args = {}, { ... }
  if count < 0 then
    args, count = args[1], -count
  end
  local all = #args
  for i = 1, count do
    keys[i] = args[i]
  end
  local rest = {}
  for i = count + 1, all do
    rest[i - count] = args[i]
  end
  local out = {}
  resp(callback(keys, rest), out)
  return table.concat(out)
end

_G.redis = redis
_G.struct = { pack = pack, unpack = unpack_struct }
return load_library, invoke
"""


@cache
def _widths(form: bytes) -> tuple[int, ...]:
    """The widths in a format: big-endian unsigned integers are all that the gate uses."""
    if form[:1] != b">" or not form[1:].replace(b"I", b"").isdigit():
        raise NotImplementedError(f"struct format {form!r}")
    widths = tuple(int(width) for width in form[1:].split(b"I")[1:])
    if not widths or form != b">" + b"".join(b"I%d" % width for width in widths):
        raise NotImplementedError(f"struct format {form!r}")
    return widths


def _pack(form: bytes, *numbers: float) -> bytes:
    return b"".join(
        (int(number) & ((1 << 8 * width) - 1)).to_bytes(width, "big")
        for width, number in zip(_widths(form), numbers, strict=True)
    )


def _unpack(form: bytes, data: bytes, start: float = 1) -> tuple[int, ...]:
    at = int(start) - 1
    found = []
    for width in _widths(form):
        if len(data) < at + width:
            raise Refusal("data string too short")
        found.append(int.from_bytes(data[at : at + width], "big"))
        at += width
    return (*found, at + 1)


def _text(value: Any) -> bytes:
    """An argument as the server writes it: numbers without a fraction as integers."""
    if type(value) is bytes:
        return value
    if type(value) is int:
        return b"%d" % value
    if type(value) is float:
        return b"%d" % value if value.is_integer() else b"%.17g" % value
    raise Refusal("ERR Command arguments must be strings or integers")


class LuaGate:
    """One Lua for a whole process: sources compiled, and whose keys the call under way is about."""

    def __init__(self, commands: dict[bytes, Command]) -> None:
        self.commands = commands
        self._lua: Any = lupa.lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._keys: Keyspace | None = None
        self._read_only = False
        self._chunks: dict[bytes, Any] = {}
        self._reader = hiredis.Reader(replyError=BaseParser.parse_error)
        start = self._lua.eval(b"function(text) return assert(loadstring(text, '@support')) end")(SUPPORT)
        self._load, self._invoke = start(self._dispatch, _pack, _unpack, None)

    def library(self, source: bytes) -> Library:
        """The functions of a library, with memory of their own."""
        if source not in self._chunks:
            compile_ = self._lua.eval(b"function(text) return assert(loadstring(text, '@user_function')) end")
            text = b"--" + source if source.startswith(b"#!") else source
            self._chunks[source] = compile_(text)
        found = self._load(self._chunks[source])
        return Library(self, {name: (each[1], [*each[2].values()]) for name, each in found.items()})

    def run(
        self, keys: Keyspace, callback: Any, count: int, args: Sequence[bytes], *, read_only: bool
    ) -> Any:
        """What a function answers; an error as the server gives it."""
        self._keys, self._read_only = keys, read_only
        try:
            if len(args) <= ON_STACK_MAX:
                text = self._invoke(callback, count, *args)
            else:
                text = self._invoke(callback, -count, self._lua.table_from(args))
        finally:
            self._keys = None
        self._reader.feed(text)
        return self._reader.gets()

    def _dispatch(self, name: bytes, *args: Any) -> Any:
        keys = self._keys
        if keys is None:
            raise RuntimeError("the gate runs outside of a call")
        command = self.commands.get(name)
        if command is None:
            raise NotImplementedError(f"redis.call {name!r}")
        if command.writes and self._read_only:
            return 3, b"ERR Write commands are not allowed from read-only scripts."
        try:
            reply = command.run(keys, [arg if type(arg) is bytes else _text(arg) for arg in args])
        except Refusal as refusal:
            return 3, str(refusal).encode()
        if type(reply) is not list:
            return 0, False if reply is None else reply
        if any(type(part) is list for part in reply):
            return 0, self._table(reply)
        return (1, *(False if part is None else part for part in reply))

    def _table(self, reply: list[Any]) -> Any:
        parts = [
            self._table(part) if type(part) is list else False if part is None else part for part in reply
        ]
        return self._lua.table_from(parts)


class Library:
    """The functions of one library as one server has loaded them."""

    def __init__(self, gate: LuaGate, functions: dict[bytes, tuple[Any, list[bytes]]]) -> None:
        self._gate = gate
        self.functions = functions

    def call(self, keys: Keyspace, name: bytes, count: int, args: Sequence[bytes], *, read_only: bool) -> Any:
        """Call a function that is there."""
        callback, flags = self.functions[name]
        return self._gate.run(keys, callback, count, args, read_only=read_only or b"no-writes" in flags)

    def writes(self, name: bytes) -> bool:
        """Whether the function may write."""
        return b"no-writes" not in self.functions[name][1]

    def grows(self, name: bytes) -> bool:
        """Whether the function is refused when memory is used up."""
        return not {b"no-writes", b"allow-oom"} & {*self.functions[name][1]}


@cache
def trimming_source() -> bytes:
    """The trimmer's function as it is in the repository."""
    return TRIMMING.read_bytes()


@cache
def recovery_source() -> bytes:
    """The functions of `ballot recover` as they are in the repository."""
    return RECOVERY.read_bytes()


def gate_source(change: Callable[[str], str] | None = None) -> bytes:
    """The gate as it is in the repository, or changed for a test of the tests."""
    text = GATE.read_text()
    return (change(text) if change else text).encode()
