"""On which line of a TOML text each table and key stands, so that a fault can be shown where it was written.

`tomllib` keeps no positions. This walks a text that `tomllib` has already accepted, so it checks nothing and
never decides what a definition means; at worst a fault is shown on its table's line.
"""

import re
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_SPACE: Final = re.compile(r"[ \t]*")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_STRING: Final = re.compile(
    r'"""(?:\\[\s\S]|[^\\])*?"{3,5}(?!")' r"|'''[\s\S]*?'{3,5}(?!')" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'"
)
_BARE: Final = re.compile(r"[^,\]}#\n]*")


class LineIndex:
    """Lines (from 1) by path: names of tables and keys, and positions (from 0) in arrays."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_at = 0
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        self._walk()

    def line(self, path: Path) -> int:
        """The line of `path`, else of the nearest thing around it, else 1."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 1

    def _walk(self) -> None:
        """Statement by statement; anything not understood ends the walk, and what is known so far stands."""
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            elif not self._pair(table):
                return
            self._skip(_BLANK)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path of the table that follows."""
        line = self._current_line()
        repeated = self._text.startswith("[[", self._at)
        self._at += 2 if repeated else 1
        *around, last = self._dotted() or ("",)
        path: Path = ()
        for name in around:
            path = self._inside((*path, name))
        path = (*path, last)
        if repeated:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self._lines.setdefault(path, line)
        path = self._inside(path)
        self._lines.setdefault(path, line)
        self._skip(re.compile(r"[ \t]*\]{1,2}"))
        return path

    def _inside(self, path: Path) -> Path:
        """`path`, or its newest element when it is an array of tables."""
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _pair(self, table: Path) -> bool:
        """`key = value`; False when there is none."""
        line = self._current_line()
        names = self._dotted()
        if not names or not self._text.startswith("=", self._at):
            return False
        self._at += 1
        for length in range(1, len(names) + 1):
            self._lines.setdefault((*table, *names[:length]), line)
        self._value((*table, *names))
        return True

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        first = self._text[self._at : self._at + 1]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_STRING if first in {'"', "'"} else _BARE)

    def _array(self, path: Path) -> None:
        self._at += 1
        position = 0
        self._skip(_BLANK)
        while self._at < len(self._text) and self._text[self._at] != "]":
            self._lines[*path, position] = self._current_line()
            self._value((*path, position))
            position += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._at < len(self._text) and self._text[self._at] != "}" and self._pair(path):
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
        self._skip(_BLANK)

    def _dotted(self) -> tuple[str, ...]:
        """The names of a dotted key at this point, with the space after them passed over."""
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            if match is None:
                return tuple(names)
            names.append(match.group().strip("\"'"))
            self._at = match.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(names)
            self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _current_line(self) -> int:
        self._line += self._text.count("\n", self._line_at, self._at)
        self._line_at = self._at
        return self._line
