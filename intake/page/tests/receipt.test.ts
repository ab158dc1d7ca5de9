// A receipt that Python signed verifies; one that was changed, or is for another vote, does not.

import assert from "node:assert/strict";
import { test } from "node:test";
import { nobleKey } from "../src/credential.ts";
import { fromB64url, fromUtf8, hex, Malformed, sha256, Untrue } from "../src/encoding.ts";
import { leaf, leafHash, parseReceipt, rootFromPath, verifyReceipt } from "../src/receipt.ts";
import { bytes, merkle, receipt } from "./vectors.ts";
import type { ReceiptText } from "./vectors.ts";

const KEY = fromB64url(receipt.public_key);
const ALL = [...receipt.receipts, receipt.alone];
const [FIRST] = receipt.receipts as [ReceiptText];

/** `value` verified as the receipt of the vote that `about` is of. */
function verified(value: unknown, about: ReceiptText = FIRST): ReturnType<typeof verifyReceipt> {
  return verifyReceipt(value, { ballot: about.ballot, sealedSha256: about.sealed_sha256, receiptsKey: KEY });
}

test("receipts signed together and alone verify", async () => {
  for (const one of ALL) {
    const { reference, acceptedAt, sealedSha256, ballot } = await verified(one, one);
    assert.deepEqual(
      [reference, acceptedAt, sealedSha256, ballot],
      [one.reference, one.accepted_at, one.sealed_sha256, one.ballot],
    );
  }
});

test("leaves and roots are Python's", async () => {
  for (const [at, one] of receipt.receipts.entries()) {
    const parsed = parseReceipt(one);
    assert.equal(fromUtf8(leaf(parsed)), receipt.leaves[at]);
    const hash = await leafHash(leaf(parsed));
    assert.equal(hex(hash), receipt.leaf_hashes[at]);
    assert.equal(hex(await rootFromPath(hash, parsed.path)), receipt.root);
  }
  for (const tree of merkle.trees) {
    for (const [at, path] of tree.paths.entries()) {
      const steps = path.map(([side, sibling]) => [side, bytes(sibling)] as const);
      const start = await leafHash(bytes(merkle.leaves[at] ?? ""));
      assert.equal(hex(await rootFromPath(start, steps)), tree.root);
    }
  }
});

test("a receipt for another vote or ballot, or by another key, is untrue", async () => {
  const expected = { ballot: FIRST.ballot, sealedSha256: FIRST.sealed_sha256, receiptsKey: KEY };
  const other = nobleKey(new Uint8Array(32)).publicKey;
  const otherId = hex(await sha256(other)).slice(0, 16);
  await assert.rejects(verifyReceipt(FIRST, { ...expected, ballot: "tube-2026" }), Untrue);
  await assert.rejects(verifyReceipt(FIRST, { ...expected, sealedSha256: "0".repeat(64) }), Untrue);
  await assert.rejects(verifyReceipt(FIRST, { ...expected, receiptsKey: other }), Untrue);
  await assert.rejects(
    verifyReceipt({ ...FIRST, key_id: otherId }, { ...expected, receiptsKey: other }),
    Untrue,
  );
  await assert.rejects(verified(receipt.receipts[1]), Untrue);
});

test("any change of a receipt that keeps its form is untrue", async () => {
  const [step, ...rest] = FIRST.path as [[string, string], ...[string, string][]];
  const changes = [
    { reference: "27VV-5M2V-3PMX-B5JA" },
    { accepted_at: "2025-07-08T18:40:00.123457Z" },
    { key_id: "0".repeat(16) },
    { signature: "A".repeat(86) },
    { signature: receipt.alone.signature },
    { path: [] },
    { path: rest },
    { path: [step, ...rest, step] },
    { path: [...rest, step] },
    { path: [["L", step[1]], ...rest] },
    { path: [["R", "A".repeat(43)], ...rest] },
  ];
  for (const change of changes) {
    await assert.rejects(verified({ ...FIRST, ...change }), Untrue, JSON.stringify(change));
  }
});

test("what is not in a receipt's one form is malformed", async () => {
  const { path: _, ...pathless } = FIRST;
  const step = FIRST.path[0];
  const changes: Record<string, unknown>[] = [
    { more: 1 },
    { ballot: "Tube" },
    { ballot: 5 },
    { reference: "27vv-5m2v-3pmx-b5j9" },
    { reference: "27VV5M2V3PMXB5J9" },
    { reference: "27VV-5M2V-3PMX-B5JU" },
    { reference: "27VV-5M2V-3PMX-B5J9\n" },
    { accepted_at: "2025-07-08T18:40:00Z" },
    { accepted_at: "2025-07-08T18:40:00.123456+00:00" },
    { accepted_at: "2025-02-30T18:40:00.123456Z" },
    { sealed_sha256: FIRST.sealed_sha256.toUpperCase() },
    { sealed_sha256: FIRST.sealed_sha256.slice(2) },
    { signature: FIRST.signature.slice(1) },
    { signature: `${FIRST.signature.slice(0, -1)}h` },
    { signature: null },
    { key_id: FIRST.key_id.toUpperCase() },
    { path: {} },
    { path: new Array(17).fill(step) },
    { path: [["X", step?.[1]]] },
    { path: [["L"]] },
    { path: [["L", "AAAA"]] },
    { path: [["L", step?.[1], step?.[1]]] },
  ];
  for (const change of changes) {
    await assert.rejects(verified({ ...FIRST, ...change }), Malformed, JSON.stringify(change));
  }
  for (const odd of [null, undefined, "", 5, [], {}, pathless])
    await assert.rejects(verified(odd), Malformed);
});
