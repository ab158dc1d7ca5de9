// Two taps are a double tap when they come soon after one another at one place, and only then.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isSecond } from "../src/taps.ts";

const FIRST = { at: 1_000, x: 100, y: 600 };

test("a second tap at the place of the first is none of its own", () => {
  assert.ok(isSecond(FIRST, { at: 1_080, x: 104, y: 596 }));
});

test("the first tap, a later one and one elsewhere are taps of their own", () => {
  assert.ok(!isSecond(null, FIRST));
  assert.ok(!isSecond(FIRST, { at: 1_600, x: 100, y: 600 }));
  assert.ok(!isSecond(FIRST, { at: 1_080, x: 100, y: 540 }));
});
