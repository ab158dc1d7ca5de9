// A sealed vote on its way: sent until there is a receipt that is true, or a refusal that nothing speaks against.
//
// An answer about another vote is no receipt at all. One about this vote that the pinned key did not sign may be true
// (the key was changed since the page was loaded) or somebody's between us and the server: it is shown for what it is,
// and the same request is sent again until an answer can be confirmed.

import type { Answers } from "./answers.ts";
import type { Bytes } from "./encoding.ts";
import type { Sealed } from "./memory.ts";
import type { Done, OnItsWay, Refused, Unconfirmed, World } from "./screen.ts";
import { type End, type Progress, Sending } from "./sending.ts";
import type { CastOutcome, Received } from "./server.ts";

/** The vote of `seed`'s voter, sealed: made once. */
export async function sealedVote({ crypto, ballot }: World, seed: Bytes, answers: Answers): Promise<Sealed> {
  return { is: "sealed", ...(await crypto.seal(ballot, await crypto.signer(seed), answers)) };
}

/** Who is told how it goes, and how it ended. */
export interface Listener {
  show: (screen: OnItsWay | Unconfirmed) => void;
  ended: (screen: Done | Refused) => void;
}

/** The sending of `sealed`; `kept` for a page after this one, and `resumed` if one before it may have sent it. */
export function delivery(
  world: World,
  sealed: Sealed,
  { kept, resumed }: { kept: boolean; resumed: boolean },
  listener: Listener,
): Sending {
  const { server, clock, random, ballot, crypto } = world;
  let unconfirmed: Received | null = null;
  const cast = async (body: string): Promise<CastOutcome> => {
    const outcome = await server.cast(body);
    if (outcome.is === "refused" && unconfirmed !== null) {
      return { is: "again", cause: "unclear", retryAfter: 0 };
    }
    if (outcome.is !== "receipt") return outcome;
    const { receipt } = outcome;
    if (receipt["ballot"] !== ballot.id || receipt["sealed_sha256"] !== sealed.sealedSha256) {
      return { is: "again", cause: "busy", retryAfter: 0 };
    }
    try {
      await crypto.verifyReceipt(receipt, sealed.sealedSha256);
      return outcome;
    } catch {
      unconfirmed = receipt;
      return { is: "again", cause: "unconfirmed", retryAfter: 0 };
    }
  };
  const told = (progress: Progress): void => {
    const receipt = unconfirmed;
    if (receipt === null) listener.show({ is: "sending", progress, kept });
    else listener.show({ is: "unconfirmed", receipt, progress, kept });
  };
  const ended = (end: End): void => {
    if (end.is === "received") listener.ended({ is: "done", receipt: end.receipt });
    else listener.ended({ is: "refused", refusal: end.refusal, sent: true });
  };
  return new Sending(sealed.body, { cast, clock, random }, { told, ended }, resumed);
}
