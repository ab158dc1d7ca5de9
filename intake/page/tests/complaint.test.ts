// A complaint is sealed to the desk's key alone, always at one length.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COMPLAINT_BYTES_MAX, complaintBytes, sealComplaint } from "../src/complaint.ts";
import { fromB64url, Malformed, Untrue, utf8 } from "../src/encoding.ts";
import { complaint, DESK_KEY } from "./vectors.ts";

const KEY = { public_key: complaint.key.public_key, signature: complaint.key.signature };
const WRITTEN = { text: "My link did not work.", contact: "a.voter@example.org" };

test("a complaint takes as many bytes as Python counts", () => {
  for (const { text, contact, json } of complaint.plaintexts) {
    assert.equal(complaintBytes(text, contact), utf8(json).length, text);
  }
  assert.equal(complaint.bytes_max, COMPLAINT_BYTES_MAX);
});

test("the request has one length, whatever is written, with and without a ballot", async () => {
  for (const written of [WRITTEN, { text: "x", contact: "" }, { text: "é".repeat(2000), contact: "" }]) {
    const { body } = await sealComplaint(written, KEY, DESK_KEY, "tube-2025");
    const request = JSON.parse(body) as { ballot: string; sealed: string };
    assert.deepEqual(Object.keys(request), ["ballot", "sealed"]);
    assert.equal(request.ballot, "tube-2025");
    assert.equal(fromB64url(request.sealed).length, complaint.sealed_bytes);
  }
  const { body } = await sealComplaint(WRITTEN, complaint.key, DESK_KEY, null);
  assert.deepEqual(Object.keys(JSON.parse(body) as object), ["sealed"]);
});

test("a key that the desk did not sign is never sealed to", async () => {
  const other = `${KEY.public_key.slice(0, -2)}AA`;
  await assert.rejects(sealComplaint(WRITTEN, { ...KEY, public_key: other }, DESK_KEY, null), Untrue);
  await assert.rejects(sealComplaint(WRITTEN, { ...KEY, signature: "A".repeat(86) }, DESK_KEY, null), Untrue);
  await assert.rejects(sealComplaint(WRITTEN, KEY, DESK_KEY.slice().fill(1), null), Untrue);
});

test("what is no key, no ballot, too long or empty is refused", async () => {
  for (const key of [null, {}, "key", { ...KEY, public_key: 5 }, { ...KEY, public_key: "AAAA" }]) {
    await assert.rejects(sealComplaint(WRITTEN, key, DESK_KEY, null), Malformed);
  }
  await assert.rejects(sealComplaint(WRITTEN, KEY, DESK_KEY, "No Ballot"), Malformed);
  await assert.rejects(sealComplaint({ text: "", contact: "" }, KEY, DESK_KEY, null), Malformed);
  const room = COMPLAINT_BYTES_MAX - complaintBytes("", "");
  await sealComplaint({ text: "x".repeat(room), contact: "" }, KEY, DESK_KEY, null);
  await assert.rejects(
    sealComplaint({ text: "x".repeat(room + 1), contact: "" }, KEY, DESK_KEY, null),
    Malformed,
  );
});

test("half a character is written as a whole one that says so", () => {
  assert.equal(complaintBytes("\ud83d", ""), complaintBytes("\ufffd", ""));
  assert.equal(complaintBytes("\ud83d\ude00", ""), complaintBytes("", "") + 4);
});
