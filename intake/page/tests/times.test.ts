import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { speak } from "../src/language.ts";
import { inLondon } from "../src/times.ts";

afterEach(() => speak("en"));

test("a time is London's, in summer and in winter, on the day it is there", () => {
  assert.equal(inLondon("2026-07-05T22:59:59Z"), "Sunday, 5 July 2026 at 23:59");
  assert.equal(inLondon("2026-07-05T23:00:00Z"), "Monday, 6 July 2026 at 00:00");
  assert.equal(inLondon("2026-12-31T23:59:59Z"), "Thursday, 31 December 2026 at 23:59");
});

test("a receipt's time has its seconds, whatever its decimals", () => {
  assert.equal(inLondon("2026-02-28T12:34:56.789012Z", "second"), "Saturday, 28 February 2026 at 12:34:56");
});

test("Welsh has Welsh names, on every device", () => {
  speak("cy");
  assert.equal(inLondon("2026-11-23T04:58:00Z"), "ddydd Llun 23 Tachwedd 2026 am 04:58");
});

test("what is no time stays as it is", () => {
  assert.equal(inLondon("soon"), "soon");
});
