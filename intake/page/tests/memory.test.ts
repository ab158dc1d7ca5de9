import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answering, type Kept, memory } from "../src/memory.ts";
import { MapStorage } from "./storage.ts";

const ANSWERING: Answering = {
  is: "answering",
  seed: "c2VlZA",
  fields: { strike: { yes: "chosen" }, order: { a: "2", b: "1" } },
  step: 2,
  reached: 3,
};
const SEALED: Kept = { is: "sealed", body: '{"sealed":"…"}', sealedSha256: "ab" };

test("what is kept is read again by the next page of the tab, for its ballot alone", () => {
  const storage = new MapStorage();
  for (const kept of [ANSWERING, SEALED] as const) {
    memory("tube-2025", () => storage).keep(kept);
    assert.deepEqual(memory("tube-2025", () => storage).read(), kept);
    assert.equal(memory("other", () => storage).read(), null);
    assert.deepEqual(storage.keys, ["ballot/tube-2025"]);
  }
});

test("the sealed request takes the place of seed and answers", () => {
  const storage = new MapStorage();
  const one = memory("tube-2025", () => storage);
  one.keep(ANSWERING);
  one.keep(SEALED);
  assert.ok(!storage.all.includes(ANSWERING.seed) && !storage.all.includes("chosen"));
});

test("what is forgotten leaves nothing", () => {
  const storage = new MapStorage();
  const one = memory("tube-2025", () => storage);
  one.keep(SEALED);
  one.forget();
  assert.equal(one.read(), null);
  assert.equal(storage.length, 0);
});

test("how it ended is carried into another language", () => {
  const storage = new MapStorage();
  const receipt = { reference: "0000-1111-2222-3333", accepted_at: "2026-03-01T12:00:00.123456Z" };
  for (const end of [
    { is: "done", receipt },
    { is: "submitted" },
    {
      is: "refused",
      refusal: { name: "not_open", closes: "2026-03-01T12:00:00Z", early: false },
      sent: true,
    },
  ] as const) {
    memory("tube-2025", () => storage).keep({ is: "ended", end });
    assert.deepEqual(memory("tube-2025", () => storage).read(), { is: "ended", end });
  }
});

test("what another page or version wrote is as nothing", () => {
  const storage = new MapStorage();
  const one = memory("tube-2025", () => storage);
  for (const text of [
    "",
    "{",
    "null",
    "[]",
    '"answering"',
    "{}",
    '{"is":"sealed","body":1,"sealedSha256":"ab"}',
    '{"is":"answering","seed":"x","fields":{"q":[]},"step":0,"reached":0}',
    '{"is":"answering","seed":"x","fields":{"q":{"a":1}},"step":0,"reached":0}',
    '{"is":"answering","seed":"x","fields":{},"step":-1,"reached":0}',
    '{"is":"answering","seed":"x","fields":{},"step":0.5,"reached":0}',
    '{"is":"ended","end":{"is":"refused","refusal":{"name":"?"},"sent":true}}',
    '{"is":"ended","end":{"is":"done","receipt":{"reference":"<b>"}}}',
  ]) {
    storage.setItem("ballot/tube-2025", text);
    assert.equal(one.read(), null, text);
  }
});

test("a browser that refuses storage loses nothing but reloads", () => {
  const one = memory("tube-2025", () => {
    throw new DOMException("The operation is insecure.", "SecurityError");
  });
  assert.equal(one.read(), null);
  one.keep(ANSWERING);
  assert.deepEqual(one.read(), ANSWERING);
  one.keep(SEALED);
  assert.deepEqual(one.read(), SEALED);
  one.forget();
  assert.equal(one.read(), null);
});

test("storage that is full keeps no answers beside a sealed request that does not fit", () => {
  const storage = new MapStorage();
  const one = memory("tube-2025", () => storage);
  one.keep(ANSWERING);
  storage.full = true;
  one.keep(SEALED);
  assert.equal(storage.length, 0);
  assert.deepEqual(one.read(), SEALED);
  storage.full = false;
  one.keep(SEALED);
  assert.deepEqual(memory("tube-2025", () => storage).read(), SEALED);
});
