// A vote is bound, sealed and signed as ballot/sealing.py does it; lengths tell nothing.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { Answers } from "../src/answers.ts";
import { Code } from "../src/code.ts";
import { seedOf, signer, verify } from "../src/credential.ts";
import { fromB64url, fromUtf8, hex, Malformed, sha256 } from "../src/encoding.ts";
import { bind, hpkeInfo, seal, signedMessage } from "../src/sealing.ts";
import { vectorBallot, vote } from "./vectors.ts";

type Request = Record<"credential" | "suite" | "nonce" | "sealed" | "signature", string>;

const REQUEST = JSON.parse(vote.request) as Request;

async function voter(): Promise<Awaited<ReturnType<typeof signer>>> {
  return signer(await seedOf(Code.parse(vote.code), vote.ballot));
}

test("what is bound, derived and signed is what Python binds, derives and signs", async () => {
  const ballot = await vectorBallot();
  const [nonce, credential] = [fromB64url(REQUEST.nonce, 16), fromB64url(REQUEST.credential, 32)];
  const bound = await bind(nonce, credential);
  const digest = await sha256(fromB64url(REQUEST.sealed));
  const message = signedMessage(ballot, nonce, digest);
  assert.equal(hex(bound), vote.bind);
  assert.equal(fromUtf8(hpkeInfo(ballot, bound)), vote.info);
  assert.equal(hex(digest), vote.sealed_sha256);
  assert.equal(hex(message), vote.signed_message);
  assert.equal(hex(await (await voter()).sign(message)), hex(fromB64url(REQUEST.signature)));
});

test("the request has the form, the order and the lengths of the one in the vectors", async () => {
  const { body } = await seal(await vectorBallot(), await voter(), vote.answers);
  const request = JSON.parse(body) as Request;
  assert.equal(body.length, vote.request.length);
  assert.equal(JSON.stringify(request), body);
  assert.deepEqual(Object.keys(request), Object.keys(REQUEST));
  assert.equal(request.suite, REQUEST.suite);
  assert.equal(request.credential, REQUEST.credential);
});

test("the signature is the voter's over what was sealed, and the digest is the sealed vote's", async () => {
  const ballot = await vectorBallot();
  const own = await voter();
  const { body, sealedSha256 } = await seal(ballot, own, vote.answers);
  const request = JSON.parse(body) as Request;
  const digest = await sha256(fromB64url(request.sealed));
  assert.equal(sealedSha256, hex(digest));
  const message = signedMessage(ballot, fromB64url(request.nonce, 16), digest);
  assert.ok(await verify(own.credential, fromB64url(request.signature), message));
});

test("sealed twice, nothing is the same but the credential and the lengths", async () => {
  const [ballot, own] = [await vectorBallot(), await voter()];
  const choices: Answers[] = [vote.answers, vote.answers, {}, { strike: ["no"] }];
  const requests = await Promise.all(
    choices.map(async (choice) => JSON.parse((await seal(ballot, own, choice)).body) as Request),
  );
  for (const name of ["nonce", "sealed", "signature"] as const) {
    assert.equal(new Set(requests.map((request) => request[name])).size, choices.length);
    assert.equal(new Set(requests.map((request) => request[name].length)).size, 1);
  }
});

test("the answers are zero in memory once they are sealed", async () => {
  const [ballot, own] = [await vectorBallot(), await voter()];
  const given = mock.method(crypto.subtle, "encrypt");
  await seal(ballot, own, vote.answers);
  const plain = given.mock.calls.map((call) => call.arguments[2] as Uint8Array);
  mock.restoreAll();
  assert.deepEqual(
    plain.map((bytes) => bytes.length),
    [ballot.paddedSize],
  );
  for (const bytes of plain) assert.ok(bytes.every((byte) => byte === 0));
});

test("answers that would be spoilt are never sealed", async () => {
  const [ballot, own] = [await vectorBallot(), await voter()];
  for (const spoilt of [{ strike: ["yes", "no"] }, { strike: ["maybe"] }, { other: [] }]) {
    await assert.rejects(seal(ballot, own, spoilt), Malformed);
  }
});
