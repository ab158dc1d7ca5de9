// Answers in, one sealed and signed vote out: made once, and from then on only ever sent as it is.

import { pad, plaintext } from "./answers.ts";
import type { Answers } from "./answers.ts";
import type { Ballot } from "./ballot.ts";
import type { Signer } from "./credential.ts";
import { b64url, concat, fromHex, hex, sha256, utf8 } from "./encoding.ts";
import type { Bytes } from "./encoding.ts";
import { hpkeSeal } from "./hpke.ts";

export const NONCE_BYTES = 16;

/** `body` is the vote request, byte for byte; `sealedSha256` is the digest that the receipt must name. */
export interface SealedVote {
  body: string;
  sealedSha256: string;
}

/** `answers` padded, sealed to the ballot's key, bound to this credential, signed. */
export async function seal(ballot: Ballot, signer: Signer, answers: Answers): Promise<SealedVote> {
  const padded = pad(plaintext(ballot.questions, answers), ballot.paddedSize);
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const info = hpkeInfo(ballot, await bind(nonce, signer.credential));
  const sealed = await hpkeSeal(ballot.publicKey, padded, info);
  padded.fill(0);
  const digest = await sha256(sealed);
  const signature = await signer.sign(signedMessage(ballot, nonce, digest));
  const body = JSON.stringify({
    credential: b64url(signer.credential),
    suite: ballot.suite,
    nonce: b64url(nonce),
    sealed: b64url(sealed),
    signature: b64url(signature),
  });
  return { body, sealedSha256: hex(digest) };
}

type Named = Pick<Ballot, "id" | "definitionSha256">;

/** SHA-256(nonce ‖ credential): ties a sealed vote to its sender; all that the count learns of either. */
export function bind(nonce: Bytes, credential: Bytes): Promise<Bytes> {
  return sha256(concat(nonce, credential));
}

/** The HPKE `info`: a vote sealed for one ballot, definition and credential opens nowhere else. */
export function hpkeInfo(ballot: Named, bound: Bytes): Bytes {
  return utf8(`strike-ballot/v1/${ballot.id}/${ballot.definitionSha256}/${hex(bound)}`);
}

/** What the voter signs: label ‖ 0x00 ‖ ballot id ‖ 0x00 ‖ definition digest ‖ nonce ‖ SHA-256(sealed). */
export function signedMessage(ballot: Named, nonce: Bytes, sealedSha256: Bytes): Bytes {
  const head = utf8(`strike-ballot/v1/vote\0${ballot.id}\0`);
  return concat(head, fromHex(ballot.definitionSha256, 32), nonce, sealedSha256);
}
