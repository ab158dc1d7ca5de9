// The access code is read as ballot/code.py reads it, every slip is caught, and the code never shows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { checkSymbol, Code, CodeMistyped, grouped, read } from "../src/code.ts";
import type { Slip } from "../src/code.ts";
import { code } from "./vectors.ts";

const GOOD = "H55F-HHY7-01PH-ZGWX-T1KZ";
const SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** The slip that is found in `typed`. */
function slip(typed: string): [Slip, number] {
  try {
    Code.parse(typed);
  } catch (error) {
    assert.ok(error instanceof CodeMistyped);
    return [error.slip, error.count];
  }
  throw new Error("It was read.");
}

test("the published check symbol", () => {
  for (const { symbols, check_symbol } of code.check_symbol) assert.equal(checkSymbol(symbols), check_symbol);
});

test("a code is read from whatever Python reads it from, and from nothing else", () => {
  for (const { typed, code: expected } of code.typed) {
    if (expected === null) assert.throws(() => Code.parse(typed), CodeMistyped, JSON.stringify(typed));
    else assert.equal(Code.parse(typed).grouped(), expected, JSON.stringify(typed));
  }
});

test("a slip is named, with how much was read", () => {
  assert.deepEqual(slip(""), ["length", 0]);
  assert.deepEqual(slip(GOOD.slice(0, -1)), ["length", 19]);
  assert.deepEqual(slip(`${GOOD}0`), ["length", 21]);
  assert.deepEqual(slip(GOOD.replace("K", "U")), ["symbols", 20]);
  assert.deepEqual(slip("https://vote.example/b/x"), ["symbols", 24]);
  assert.deepEqual(slip(GOOD.replace("K", "M")), ["check", 20]);
});

test("every single wrong symbol and every swap of neighbours is caught", () => {
  const plain = GOOD.replaceAll("-", "");
  for (let at = 0; at < plain.length; at += 1) {
    for (const symbol of SYMBOLS) {
      if (symbol !== plain[at])
        assert.equal(slip(plain.slice(0, at) + symbol + plain.slice(at + 1))[0], "check");
    }
    const [one = "", other = ""] = plain.slice(at, at + 2);
    if (other && one !== other) {
      assert.equal(slip(plain.slice(0, at) + other + one + plain.slice(at + 2))[0], "check");
    }
  }
});

test("a code does not show by accident, nor does what was mistyped", () => {
  const parsed = Code.parse(GOOD);
  const error = new CodeMistyped("check", 20);
  for (const shown of [
    String(parsed),
    `${parsed}`,
    JSON.stringify({ parsed }),
    inspect(parsed),
    inspect(error),
  ]) {
    assert.doesNotMatch(shown, /H55F|T1KZ/);
  }
  assert.deepEqual(Object.keys(parsed), []);
});

test("references are read and grouped in the same way", () => {
  assert.deepEqual(read("27vv 5m2v-3PMX b5j9"), { symbols: "27VV5M2V3PMXB5J9", unknown: 0 });
  assert.equal(grouped("27VV5M2V3PMXB5J9"), "27VV-5M2V-3PMX-B5J9");
  assert.equal(grouped(""), "");
});
