// One spelling for each value: base64url, hexadecimal, canonical JSON; anything else is refused.
//
// What comes from outside is `unknown` until a function here or built on these has returned it.

import { JSON_DEPTH_MAX } from "./limits.ts";

/** Bytes in memory of their own, as crypto.subtle takes them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Not in the one form we accept; the message is one plain sentence without the value. */
export class Malformed extends Error {
  override name = "Malformed";
}

/** Well formed perhaps, but not what was signed, or not by whom it should be. */
export class Untrue extends Error {
  override name = "Untrue";
}

const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUES = new Map([...BASE64URL].map((symbol, value) => [symbol, value]));
const NOT_CANONICAL = "This is not canonical base64url without padding.";
const NO_FORM = "This has no canonical JSON form.";

/** `text` in UTF-8. */
export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

/** The text of UTF-8 `bytes`, a byte-order mark kept; Malformed if they are not UTF-8. */
export function fromUtf8(bytes: Bytes): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed("This is not UTF-8.");
  }
}

/** `parts`, one after the other. */
export function concat(...parts: Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Whether two byte strings, neither of them secret, are the same. */
export function same(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** SHA-256. */
export async function sha256(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** `bytes` in lower-case hexadecimal. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of lower-case hexadecimal `text`, exactly `length` of them when given. */
export function fromHex(text: string, length?: number): Bytes {
  if (text.length % 2 || !/^[0-9a-f]*$/.test(text) || (length !== undefined && text.length !== 2 * length)) {
    throw new Malformed("This is not lower-case hexadecimal of the right length.");
  }
  return Uint8Array.from({ length: text.length / 2 }, (_, at) =>
    parseInt(text.slice(2 * at, 2 * at + 2), 16),
  );
}

/** `bytes` in base64url without padding. */
export function b64url(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const [first = 0, second = 0, third = 0] = bytes.subarray(at, at + 3);
    const group = (first << 16) | (second << 8) | third;
    for (let shift = 18; shift >= 0; shift -= 6) text += BASE64URL[(group >> shift) & 63];
  }
  return text.slice(0, Math.ceil((bytes.length * 4) / 3));
}

/** The bytes of canonical base64url `text`, exactly `length` of them when given; Malformed otherwise. */
export function fromB64url(text: string, length?: number): Bytes {
  const bytes = new Uint8Array(Math.floor((text.length * 3) / 4));
  if (text.length % 4 === 1) throw new Malformed(NOT_CANONICAL);
  let at = 0;
  let bits = 0;
  let held = 0;
  for (const symbol of text) {
    const value = VALUES.get(symbol);
    if (value === undefined) throw new Malformed(NOT_CANONICAL);
    held = (held << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  if (held !== 0) throw new Malformed(NOT_CANONICAL); // loose bits
  if (length !== undefined && bytes.length !== length) {
    throw new Malformed(`This must be ${length} bytes in base64url, not ${bytes.length}.`);
  }
  return bytes;
}

/** `value` as RFC 8785 canonical JSON: text, whole numbers, lists and objects are all that we have. */
export function canonicalJson(value: unknown): string {
  return written(value, 0);
}

function written(value: unknown, depth: number): string {
  if (typeof value === "string") {
    if (/\p{Surrogate}/u.test(value)) throw new Malformed(NO_FORM);
    return JSON.stringify(value); // RFC 8785 takes its escapes from here
  }
  if (Number.isSafeInteger(value)) return String(value);
  if (typeof value !== "object" || value === null || depth === JSON_DEPTH_MAX) throw new Malformed(NO_FORM);
  if (Array.isArray(value)) return `[${value.map((item) => written(item, depth + 1)).join(",")}]`;
  const members = value as Record<string, unknown>;
  const names = Object.keys(members).sort(); // by UTF-16 code units, as RFC 8785 asks
  return `{${names.map((name) => `${written(name, depth)}:${written(members[name], depth + 1)}`).join(",")}}`;
}
