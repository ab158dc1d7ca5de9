// Two taps are a double tap when they come soon after one another at one place, and only then.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isMeantForAnother, isSecond, leadsAway } from "../src/taps.ts";

const FIRST = { at: 1_000, x: 100, y: 600 };

test("a second tap at the place of the first is none of its own", () => {
  assert.ok(isSecond(FIRST, { at: 1_080, x: 104, y: 596 }));
});

test("the first tap, a later one and one elsewhere are taps of their own", () => {
  assert.ok(!isSecond(null, FIRST));
  assert.ok(!isSecond(FIRST, { at: 1_600, x: 100, y: 600 }));
  assert.ok(!isSecond(FIRST, { at: 1_080, x: 100, y: 540 }));
});

test("a second tap is kept from a screen that the first has brought, and from no other", () => {
  const [here, gone] = [{ isConnected: true }, { isConnected: false }];
  assert.ok(isMeantForAnother({ tap: FIRST, target: gone, kept: false }));
  assert.ok(!isMeantForAnother({ tap: FIRST, target: here, kept: false }));
  assert.ok(isMeantForAnother({ tap: FIRST, target: here, kept: true }), "the third of three taps");
});

test("only a plain click on a link leads away from the page", () => {
  const plain = { button: 0, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false };
  assert.ok(leadsAway(plain));
  for (const more of [
    { button: 1 },
    { ctrlKey: true },
    { metaKey: true },
    { shiftKey: true },
    { altKey: true },
  ]) {
    assert.ok(!leadsAway({ ...plain, ...more }));
  }
});
