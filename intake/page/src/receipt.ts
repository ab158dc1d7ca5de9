// The receipt: reference, time and digest, signed alone or in a batch; nothing of voter or choice.

import { keyId, SIGNATURE_BYTES, verify } from "./credential.ts";
import { canonicalJson, concat, fromB64url, fromHex, Malformed, sha256, Untrue, utf8 } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";
import { RECEIPT_PATH_STEPS_MAX } from "./limits.ts";
import { id, list, object, oneOf, string, time } from "./parsing.ts";

/** One step from a leaf to the root: "L" when the listed hash is the left operand. */
export type Step = readonly ["L" | "R", Bytes];

/** A receipt in its one form; only `verifyReceipt` says whether it is true. */
export interface Receipt {
  ballot: string;
  reference: string;
  acceptedAt: string;
  sealedSha256: string;
  signature: Bytes;
  keyId: string;
  path: Step[];
}

/** What the receipt must be about, and the pinned key that must have signed it. */
export interface Expected {
  ballot: string;
  sealedSha256: string;
  receiptsKey: Bytes;
}

const REFERENCE = /^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$/;
const FIELDS = [
  "ballot",
  "reference",
  "accepted_at",
  "sealed_sha256",
  "signature",
  "key_id",
  "path",
] as const;

/** The receipt in `value`, of this vote and signed: Malformed or Untrue otherwise. */
export async function verifyReceipt(value: unknown, expected: Expected): Promise<Receipt> {
  const receipt = parseReceipt(value);
  if (receipt.ballot !== expected.ballot || receipt.sealedSha256 !== expected.sealedSha256) {
    throw new Untrue("This receipt is for another vote.");
  }
  if (receipt.keyId !== (await keyId(expected.receiptsKey)))
    throw new Untrue("This receipt names another key.");
  const root = await rootFromPath(await leafHash(leaf(receipt)), receipt.path);
  const message = concat(utf8("strike-ballot/v1/receipts\0"), root);
  if (!(await verify(expected.receiptsKey, receipt.signature, message))) {
    throw new Untrue("This receipt is not signed by its key.");
  }
  return receipt;
}

/** The receipt in `value`, not verified; Malformed unless every field is in its one form. */
export function parseReceipt(value: unknown): Receipt {
  const given = object(value, FIELDS);
  const reference = string(given.reference);
  if (!REFERENCE.test(reference)) throw new Malformed("This is not a reference.");
  const [sealedSha256, key] = [string(given.sealed_sha256), string(given.key_id)];
  fromHex(sealedSha256, 32);
  fromHex(key, 8);
  return {
    ballot: id(given.ballot),
    reference,
    acceptedAt: time(given.accepted_at, 6),
    sealedSha256,
    signature: fromB64url(string(given.signature), SIGNATURE_BYTES),
    keyId: key,
    path: list(given.path, 0, RECEIPT_PATH_STEPS_MAX, step),
  };
}

/** The bytes that a receipt's leaf hash is taken over. */
export function leaf(receipt: Pick<Receipt, "ballot" | "reference" | "acceptedAt" | "sealedSha256">): Bytes {
  const { ballot, reference, acceptedAt, sealedSha256 } = receipt;
  return utf8(canonicalJson({ accepted_at: acceptedAt, ballot, reference, sealed_sha256: sealedSha256 }));
}

/** SHA-256(0x00 ‖ leaf). */
export function leafHash(data: Bytes): Promise<Bytes> {
  return sha256(concat(Uint8Array.of(0), data));
}

/** The root that a leaf's hash and its steps lead to: a node is SHA-256(0x01 ‖ left ‖ right). */
export async function rootFromPath(start: Bytes, path: readonly Step[]): Promise<Bytes> {
  let hash = start;
  for (const [side, sibling] of path) {
    hash = await sha256(concat(Uint8Array.of(1), ...(side === "L" ? [sibling, hash] : [hash, sibling])));
  }
  return hash;
}

function step(value: unknown): Step {
  const [side, sibling] = list(value, 2, 2, string);
  return [oneOf(side, ["L", "R"]), fromB64url(string(sibling), 32)];
}
