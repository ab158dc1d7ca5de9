"""Pictures as the browser makes them (PNG, 8 bits): read, compared, and written in fewer colours."""

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
COLOURS_MAX: Final = 256
_CHANNELS: Final = {2: 3, 6: 4}
_LINEAR: Final = [
    value / 255 / 12.92 if value / 255 <= 0.04045 else ((value / 255 + 0.055) / 1.055) ** 2.4
    for value in range(256)
]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's pixels, row by row."""

    width: int
    height: int
    pixels: list[Colour]


def read(png: bytes) -> Picture:
    """The picture in a PNG file."""
    header, packed, position = b"", b"", len(SIGNATURE)
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        kind, body = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        header, packed = (body, packed) if kind == b"IHDR" else (header, packed + body * (kind == b"IDAT"))
        position += length + 12
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if depth != 8 or interlaced or colours not in _CHANNELS:
        raise ValueError(
            f"not a picture that we read: depth {depth}, colours {colours}, interlaced {interlaced}"
        )
    step = _CHANNELS[colours]
    data, above = zlib.decompress(packed), bytearray(width * step)
    pixels: list[Colour] = []
    for start in range(0, len(data), width * step + 1):
        above = _row(data[start], bytearray(data[start + 1 : start + 1 + width * step]), above, step)
        pixels += zip(above[0::step], above[1::step], above[2::step], strict=True)
    return Picture(width, height, pixels)


def _row(kind: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    if kind == 1:
        for at in range(step, len(row)):
            row[at] = (row[at] + row[at - step]) & 255
    elif kind == 2:
        row = bytearray((one + other) & 255 for one, other in zip(row, above, strict=True))
    elif kind >= 3:
        for at in range(len(row)):
            left = row[at - step] if at >= step else 0
            guess = (
                (left + above[at]) // 2
                if kind == 3
                else _nearest(left, above[at], above[at - step] if at >= step else 0)
            )
            row[at] = (row[at] + guess) & 255
    return row


def _nearest(left: int, up: int, corner: int) -> int:
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner


def contrast(one: Colour, other: Colour) -> float:
    """The contrast of two colours as WCAG reckons it: from 1, the same, to 21, black on white."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (_LINEAR[part] for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def changed(before: Picture, after: Picture, *, contrast_min: float) -> int:
    """How many pixels differ with at least this contrast between the two pictures."""
    pairs = Counter(zip(before.pixels, after.pixels, strict=True))
    return sum(
        count
        for (one, other), count in pairs.items()
        if one != other and contrast(one, other) >= contrast_min
    )


def in_few_colours(png: bytes) -> bytes:
    """The same picture as a PNG with a palette: at most 256 colours, each pixel the nearest that is kept."""
    picture = read(png)
    found = [colour for colour, _ in Counter(picture.pixels).most_common()]
    kept = found[:COLOURS_MAX]
    index = {colour: number for number, colour in enumerate(kept)}
    for colour in found[COLOURS_MAX:]:
        index[colour] = min(
            range(len(kept)),
            key=lambda number: sum((a - b) ** 2 for a, b in zip(kept[number], colour, strict=True)),
        )
    rows = bytearray()
    for start in range(0, len(picture.pixels), picture.width):
        rows.append(0)
        rows += bytes(index[colour] for colour in picture.pixels[start : start + picture.width])
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(part for colour in kept for part in colour)),
        (b"IDAT", zlib.compress(bytes(rows), 9)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
