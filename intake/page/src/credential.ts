// The voter's signing key, derived from the code on this device; and the one way in which signatures are verified.
//
// Keys and signatures are made by the browser's own Ed25519 where it gives the bytes of RFC 8032 (some browsers have
// none, some mix in randomness), else by noble: the bytes are the same. The browser's keeps the key out of reach of
// scripts and of timing; noble's arithmetic on big integers does not, and is no worse than no vote on an old phone.
//
// Verifying is always ours, so that it does not depend on the browser: they differ in which odd signatures they accept.
// It is as strict as ballot/suite.py (libsodium): `s` below the group order, the key's coordinate reduced, neither key
// nor R of small order, the equation without the cofactor.
//
// Zeroing: byte arrays that we make for secrets are set to zero after use. What JavaScript cannot zero are strings
// (the typed code, the seed as text in sessionStorage), noble's big integers, and copies that the engine made.

import { ed25519 } from "@noble/curves/ed25519.js";
import type { Code } from "./code.ts";
import { concat, fromB64url, fromHex, hex, same, sha256, utf8 } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";

export const SEED_BYTES = 32;
export const KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** Who signs: `credential` is the public key, the only thing of it that leaves this device. */
export interface Signer {
  readonly credential: Bytes;
  readonly credentialSha256: string;
  sign(message: Bytes): Promise<Bytes>;
}

interface KeyPair {
  publicKey: Bytes;
  sign(message: Bytes): Promise<Bytes>;
}

const { Point } = ed25519;
// The base point without noble's table of its multiples: to make that takes longer than the two or three
// verifications of a visit take without.
const BASE = Point.fromAffine(Point.BASE.toAffine());
// An Ed25519 private key in PKCS #8 is this and the seed (RFC 8410).
const PKCS8_HEAD = fromHex("302e020100300506032b657004220420");
// RFC 8032, 7.1, test 2.
const KNOWN_SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
const KNOWN_KEY = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const KNOWN_SIGNATURE =
  "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
  "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

/** The seed of the signing key of `code` on one ballot: HKDF-SHA256 as in ballot/code.py. */
export async function seedOf(code: Code, ballot: string): Promise<Bytes> {
  const material = code.keyMaterial();
  try {
    const key = await crypto.subtle.importKey("raw", material, "HKDF", false, ["deriveBits"]);
    const salt = utf8(`strike-ballot/v1/${ballot}`);
    const parameters = { name: "HKDF", hash: "SHA-256", salt, info: utf8("credential") };
    return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, 8 * SEED_BYTES));
  } finally {
    material.fill(0);
  }
}

/** Who signs with the key of the 32-byte `seed`; the caller keeps the seed, or sets it to zero. */
export async function signer(seed: Bytes): Promise<Signer> {
  if (seed.length !== SEED_BYTES) throw new RangeError("A signing key's seed is 32 bytes.");
  const { publicKey, sign } = (await browserSigns()) ? await browserKey(seed) : nobleKey(seed);
  return { credential: publicKey, credentialSha256: hex(await sha256(publicKey)), sign };
}

/** Whether the holder of `publicKey` signed `message`; of any lengths and bytes. */
export async function verify(publicKey: Bytes, signature: Bytes, message: Bytes): Promise<boolean> {
  if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  const [claimed, s] = [signature.slice(0, 32), number(signature.slice(32))];
  if (s >= Point.Fn.ORDER) return false;
  try {
    const key = Point.fromBytes(publicKey); // strict: a coordinate not below the prime is refused
    const nonce = Point.fromBytes(claimed);
    if (key.isSmallOrder() || nonce.isSmallOrder()) return false;
    const digest = await crypto.subtle.digest("SHA-512", concat(claimed, publicKey, message));
    const challenge = Point.Fn.create(number(new Uint8Array(digest)));
    const expected = BASE.multiplyUnsafe(s).subtract(key.multiplyUnsafe(challenge));
    return same(expected.toBytes(), claimed);
  } catch {
    return false; // not points of the curve
  }
}

/** The first 16 hex digits of SHA-256 of a public key. */
export async function keyId(publicKey: Bytes): Promise<string> {
  return hex(await sha256(publicKey)).slice(0, 16);
}

let known: Promise<boolean> | undefined;

/** Whether the browser's Ed25519 gives the bytes of RFC 8032; found out once. */
function browserSigns(): Promise<boolean> {
  known ??= browserKey(fromHex(KNOWN_SEED))
    .then(async ({ publicKey, sign }) => {
      const signature = await sign(fromHex("72"));
      return hex(publicKey) === KNOWN_KEY && hex(signature) === KNOWN_SIGNATURE;
    })
    .catch(() => false);
  return known;
}

async function browserKey(seed: Bytes): Promise<KeyPair> {
  const pkcs8 = concat(PKCS8_HEAD, seed);
  try {
    const readable = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
    const { x = "" } = await crypto.subtle.exportKey("jwk", readable); // the only way to the public half
    const key = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", false, ["sign"]);
    return {
      publicKey: fromB64url(x, KEY_BYTES),
      sign: async (message) => new Uint8Array(await crypto.subtle.sign("Ed25519", key, message)),
    };
  } finally {
    pkcs8.fill(0);
  }
}

/** The same without the browser's help; for browsers without Ed25519, and exported for tests. */
export function nobleKey(seed: Bytes): KeyPair {
  const own = seed.slice();
  return {
    publicKey: Uint8Array.from(ed25519.getPublicKey(own)),
    sign: async (message) => Uint8Array.from(ed25519.sign(message, own)),
  };
}

function number(littleEndian: Bytes): bigint {
  return BigInt(`0x${hex(littleEndian.slice().reverse())}`);
}
