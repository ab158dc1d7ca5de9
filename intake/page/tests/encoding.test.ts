// Bytes and JSON have one spelling each, the same as in ballot/encoding.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as limits from "../src/limits.ts";
import {
  b64url,
  canonicalJson,
  fromB64url,
  fromHex,
  fromUtf8,
  hex,
  Malformed,
  same,
} from "../src/encoding.ts";
import { Drawn } from "./drawn.ts";
import { encoding } from "./vectors.ts";

/** What `read` makes of `text` in hexadecimal, null if it is refused as Malformed. */
function readOrNull(read: (text: string) => Uint8Array, text: string): string | null {
  try {
    return hex(read(text));
  } catch (error) {
    assert.ok(error instanceof Malformed);
    return null;
  }
}

test("base64url and hexadecimal are read as Python reads them, and only in their one spelling", () => {
  for (const { text, hex: expected } of encoding.base64url) {
    assert.equal(readOrNull(fromB64url, text), expected, JSON.stringify(text));
    if (expected !== null) assert.equal(b64url(fromHex(expected)), text);
  }
  for (const { text, hex: expected } of encoding.hex) {
    assert.equal(readOrNull(fromHex, text), expected, JSON.stringify(text));
  }
});

test("any bytes survive both spellings, and base64url is what Node writes", () => {
  const drawn = new Drawn(1);
  for (let length = 0; length < 200; length += 1) {
    const bytes = drawn.bytes(length);
    assert.equal(b64url(bytes), Buffer.from(bytes).toString("base64url"));
    assert.equal(hex(bytes), Buffer.from(bytes).toString("hex"));
    assert.ok(same(fromB64url(b64url(bytes), length), bytes));
    assert.ok(same(fromHex(hex(bytes), length), bytes));
  }
});

test("another length than was asked for is refused", () => {
  for (const length of [0, 1, 3]) {
    assert.throws(() => fromB64url("AAA", length), Malformed);
    assert.throws(() => fromHex("0000", length), Malformed);
  }
});

test("canonical JSON is byte for byte Python's, and reads as what it was", () => {
  for (const { value, json } of encoding.canonical) {
    assert.equal(canonicalJson(value), json);
    assert.deepEqual(JSON.parse(json), value);
  }
});

test("what has no canonical form here is refused, and nothing makes it run for ever", () => {
  const deep = "[".repeat(10_000) + "]".repeat(10_000);
  const others = [
    null,
    true,
    0.5,
    2 ** 53,
    NaN,
    Infinity,
    undefined,
    "\ud800",
    { "\udc00": 1 },
    JSON.parse(deep),
  ];
  for (const value of others) assert.throws(() => canonicalJson(value), Malformed);
});

test("what is not UTF-8 is refused, and a byte-order mark is not lost in silence", () => {
  assert.throws(() => fromUtf8(Uint8Array.of(0xff)), Malformed);
  assert.throws(() => fromUtf8(Uint8Array.of(0xed, 0xa0, 0x80)), Malformed);
  assert.equal(fromUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x41)), "\ufeffA");
});

test("the bounds are those of ballot/limits.py", () => {
  const source = readFileSync(new URL("../../../ballot/limits.py", import.meta.url), "utf8");
  for (const [name, value] of Object.entries(limits)) {
    const written = new RegExp(`^${name}: Final = ([\\d* ]+)$`, "m").exec(source)?.[1];
    assert.ok(written, name);
    const product = written.split("*").reduce((whole, factor) => whole * Number(factor), 1);
    assert.equal(product, value, name);
  }
});
