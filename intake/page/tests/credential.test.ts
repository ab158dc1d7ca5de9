// Credentials and signatures are those of ballot/, whoever makes them; odd signatures are refused as strictly.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Code } from "../src/code.ts";
import { keyId, nobleKey, seedOf, signer, verify } from "../src/credential.ts";
import { b64url, hex, utf8 } from "../src/encoding.ts";
import { Drawn } from "./drawn.ts";
import { bytes, code, DESK_KEY, document, signature } from "./vectors.ts";

// RFC 8032, 7.1: seed, public key, message, signature.
const STANDARD = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
      "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac" +
      "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
] as const;

/** credential.ts as a browser loads it whose own Ed25519 is `sign`; what it found out is forgotten. */
async function inBrowser(
  name: string,
  sign: SubtleCrypto["sign"],
): Promise<typeof import("../src/credential.ts")> {
  mock.method(crypto.subtle, "sign", sign);
  return (await import(`../src/credential.ts?${name}`)) as typeof import("../src/credential.ts");
}

test("code to seed to credential, as Python derives them", async () => {
  for (const one of code.codes) {
    const parsed = Code.parse(one.code);
    const { credential, credentialSha256 } = await signer(await seedOf(parsed, one.ballot));
    assert.equal(b64url(credential), one.credential);
    assert.equal(credentialSha256, one.credential_sha256);
    const elsewhere = await signer(await seedOf(parsed, "another-ballot"));
    assert.equal(b64url(elsewhere.credential), one.credential_elsewhere);
  }
});

test("the standard's own vectors, by the browser's Ed25519 and by noble", async () => {
  for (const [seed, publicKey, message, expected] of STANDARD) {
    const noble = nobleKey(bytes(seed));
    const own = await signer(bytes(seed));
    assert.equal(hex(noble.publicKey), publicKey);
    assert.equal(hex(own.credential), publicKey);
    assert.equal(hex(await noble.sign(bytes(message))), expected);
    assert.equal(hex(await own.sign(bytes(message))), expected);
    assert.ok(await verify(bytes(publicKey), bytes(expected), bytes(message)));
  }
});

test("both make the same bytes of any seed and message, and they verify", async () => {
  const drawn = new Drawn(2);
  for (let round = 0; round < 20; round += 1) {
    const [seed, message] = [drawn.bytes(32), drawn.bytes(drawn.below(200))];
    const [noble, own] = [nobleKey(seed), await signer(seed)];
    const signed = await own.sign(message);
    assert.deepEqual(noble.publicKey, own.credential);
    assert.deepEqual(await noble.sign(message), signed);
    assert.ok(await verify(own.credential, signed, message));
    const bit = drawn.below(512);
    const forged = signed.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
    assert.ok(!(await verify(own.credential, forged, message)));
  }
});

test("odd signatures are refused and taken exactly where libsodium does", async () => {
  for (const { what, public_key, signature: signed, good } of signature.signatures) {
    assert.equal(await verify(bytes(public_key), bytes(signed), bytes(signature.message)), good, what);
  }
});

test("a browser without Ed25519, or with one that mixes in randomness, is not asked to sign", async () => {
  const [seed, publicKey, message, expected] = STANDARD[1];
  const browsers: [string, () => Promise<ArrayBuffer>][] = [
    ["none", () => Promise.reject(new DOMException("", "NotSupportedError"))],
    [
      "throws",
      () => {
        throw new TypeError("Unrecognized algorithm name");
      },
    ],
    ["random", () => Promise.resolve(new Drawn(3).bytes(64).buffer)],
  ];
  for (const [name, sign] of browsers) {
    const { signer: signerThere } = await inBrowser(name, sign);
    const there = await signerThere(bytes(seed));
    assert.equal(hex(there.credential), publicKey, name);
    assert.equal(hex(await there.sign(bytes(message))), expected, name);
    mock.restoreAll();
  }
});

test("where the browser can sign, it is asked to, and its key cannot be read again", async () => {
  const asked = mock.method(crypto.subtle, "importKey");
  const there = await signer(new Drawn(4).bytes(32));
  await there.sign(utf8("a vote"));
  const [last] = asked.mock.calls.slice(-1);
  assert.deepEqual(last?.arguments.slice(2), ["Ed25519", false, ["sign"]]);
  mock.restoreAll();
});

test("what was made of the code and the seed on the way is zero afterwards", async () => {
  const asked = mock.method(crypto.subtle, "importKey");
  const seed = await seedOf(Code.parse(code.codes[0]?.code ?? ""), "tube-2025");
  await signer(seed);
  const given = asked.mock.calls.map((call) => call.arguments[1] as unknown as Uint8Array);
  mock.restoreAll();
  assert.ok(given.length >= 3);
  for (const bytes of given) assert.ok(bytes.every((byte) => byte === 0));
});

test("the seed is left as it was, and a seed of another length is our own mistake", async () => {
  const seed = new Drawn(5).bytes(32);
  const before = hex(seed);
  await signer(seed);
  assert.equal(hex(seed), before);
  await assert.rejects(signer(seed.slice(1)), RangeError);
});

test("key ids", async () => {
  assert.equal(await keyId(DESK_KEY), document.desk_key_id);
});
